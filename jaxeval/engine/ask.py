"""Askers: they answer batches of queries, with a compiled program or on the host."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from ..cpu import suited
from ..types import Answer, Model, canonical, pytree, shapes_of, static
from . import kernels

# What tracing raises in a function that wants to see its inputs' values.
UNTRACEABLE = (
    jax.errors.TracerArrayConversionError,
    jax.errors.TracerBoolConversionError,
    jax.errors.TracerIntegerConversionError,
    jax.errors.ConcretizationTypeError,
)


class EvaluationError(RuntimeError, ValueError):
    """An explainer or a model failed during a run.

    The message names it and the batch; `partial` holds the results scored until then, and
    ``__cause__`` the original error.
    """

    partial: Any = None


@dataclasses.dataclass(frozen=True)
class Host:
    """An explainer that is answered in Python, outside compiled programs.

    ``fn(model, x, y, keys) -> a`` gets NumPy arrays of one batch's real rows (keys stay a JAX
    array) and may do anything. Functions that JAX cannot trace are treated so without being
    wrapped; wrap one that could be traced but must not be (a random stream of its own, a
    cache, a call to another framework). With ``arrays="jax"`` x and y stay `jax.Array`s.
    """

    fn: Callable[..., Any]
    arrays: str = "numpy"

    def __call__(self, model: Model, x: Any, y: Any, keys: Any) -> Any:
        if self.arrays == "numpy":
            x, y = np.asarray(x), np.asarray(y)
        return self.fn(model, x, y, keys)


@pytree
class Traced:
    """A plain traceable function as an explainer pytree."""

    fn: Any = static()

    def __call__(self, model: Model, x: Any, y: Any, keys: Any) -> Any:
        return self.fn(model, x, y, keys)


@dataclasses.dataclass
class Source:
    """Where the maps of one explainer come from: it is asked, or its maps are stored, or both."""

    name: str
    explainer: Any = None
    stored: np.ndarray | None = None
    features: tuple[int, ...] | None = None
    """The shape of one map; None until a host explainer has answered once."""
    eager: bool = False
    """Answered outside compiled programs."""


def as_model(model: Any, x: Any) -> Model:
    """The model, marked as a host callable where JAX cannot trace it."""
    if not isinstance(model, Model):
        if not callable(model):
            raise TypeError(
                f"model must be a jaxeval.Model or a function x [N, ...] -> logits [N, K], got "
                f"{type(model).__name__}"
            )
        model = Model(Bare(model), {})
    if model.host:
        return model
    try:
        out = traced_output(model, x)
    except UNTRACEABLE:
        return dataclasses.replace(model, host="numpy")
    check_logits(out, TRACED_ROWS)
    return model


TRACED_ROWS = 2
"""Rows of the batch on which a function is traced to learn the shape of what it gives."""


def traced_output(model: Model, x: Any) -> jax.ShapeDtypeStruct:
    """The shape and type of the logits of a few samples like x; each model is traced once."""
    shape, dtype = (TRACED_ROWS, *x.shape), jnp.dtype(x.dtype)
    return _traced_output(model.apply, shapes_of(model.params), shape, dtype)


@functools.lru_cache(maxsize=64)
def _traced_output(apply: Any, params: Any, shape: Any, dtype: Any) -> Any:
    treedef, leaves = params
    given = jax.tree.unflatten(treedef, [jax.ShapeDtypeStruct(*v) for v in leaves])
    return jax.eval_shape(apply, given, jax.ShapeDtypeStruct(shape, dtype))


@dataclasses.dataclass(frozen=True)
class Bare:
    """A function of x alone as an `apply`; equal functions share compiled programs."""

    fn: Callable[..., Any]

    def __call__(self, params: Any, x: Any) -> Any:
        return self.fn(x)


def check_logits(out: Any, n: int) -> None:
    """Logits are [N, K] floats."""
    shape = getattr(out, "shape", None)
    if shape is None or len(shape) != 2 or shape[0] != n or jnp.dtype(out.dtype).kind not in "fV":
        got = f"{out.dtype}{list(shape)}" if shape is not None else type(out).__name__
        raise ValueError(
            f"the model must give floating-point logits [N, K]; for N = {n} it gave {got}"
        )


def _explained(explainer: Any, *given: Any) -> Any:
    # One function for all explainers: what JAX has traced of it before, it does not trace again.
    return explainer(*given)


@functools.lru_cache
def _keys(rows: int) -> Any:
    return jax.eval_shape(lambda: jax.random.split(jax.random.key(0), rows))


def as_source(name: str, given: Any, model: Model, x: Any) -> Source:
    """How the explainer `given` is answered; traces it once to learn the shape of its maps."""
    if hasattr(given, "shape"):
        return Source(name, stored=given)
    if not callable(given):
        raise TypeError(
            f"explainer {name!r} must be an array of attributions or a callable "
            f"(model, x, y, keys) -> attributions, got {type(given).__name__}"
        )
    if isinstance(given, type):
        raise TypeError(
            f"explainer {name!r} is the class {given.__name__}: give an instance, "
            f"{given.__name__}()"
        )
    if isinstance(given, Host):
        return Source(name, given, eager=True)
    plain = jax.tree_util.all_leaves((given,))
    explainer = Traced(fn=given) if plain else canonical(given)
    if model.host:
        return Source(name, explainer, eager=True)
    rows = TRACED_ROWS
    spec = jax.ShapeDtypeStruct((rows, *x.shape), x.dtype)
    keys = _keys(rows)
    labels = jax.ShapeDtypeStruct((rows,), jnp.int32)
    try:
        out = jax.eval_shape(_explained, explainer, model, spec, labels, keys)
    except UNTRACEABLE:
        return Source(name, Host(given), eager=True)
    except Exception as e:
        raise EvaluationError(f"explainer {name!r} failed while it was traced: {_what(e)}") from e
    if not hasattr(out, "shape") or out.shape[:1] != (rows,):
        got = f"{list(out.shape)}" if hasattr(out, "shape") else type(out).__name__
        raise EvaluationError(
            f"explainer {name!r} must give an array with one map a sample: for inputs "
            f"{[rows, *x.shape]} it gave {got}"
        )
    return Source(name, explainer, features=tuple(out.shape[1:]))


def _what(e: BaseException) -> str:
    return f"{type(e).__name__}: {e}"


@functools.lru_cache(maxsize=16)
def _compiled(apply: Callable[..., Any]) -> Callable[..., Any]:
    return jax.jit(apply)


class Asker:
    """Answers a run's batches and counts what was asked, in samples x steps."""

    def __init__(self, model: Model, x: Any, mesh: Any, precision: str):
        """x: one sample, or its shape and dtype."""
        self.mesh, self.precision = mesh, precision
        self.rows = NamedSharding(mesh, P("data"))
        self.everywhere = NamedSharding(mesh, P())
        self.given = model
        self.suited = suited(model, x, mesh.devices.flat[0].platform)
        self.asked = {"output": 0, "attribution": 0, "hidden": 0}

    @functools.cached_property
    def model(self) -> Model:
        """The model, its parameters on every device of the mesh from the first question on."""
        return self.given if self.given.host else jax.device_put(self.suited, self.everywhere)

    @functools.cached_property
    def outside(self) -> Model:
        """The model for host explainers, which call it eagerly: its forward pass is compiled."""
        if self.given.host:
            return self.given
        return dataclasses.replace(self.model, apply=_compiled(self.model.apply))

    def put(self, tree: Any) -> Any:
        """Arrays with a leading sample axis, sharded over the mesh."""
        return jax.device_put(tree, self.rows)

    def output(self, model: Model, x: Any, hidden: bool, real: np.ndarray, where: str) -> Answer:
        """The logits, and the hidden layers if wanted.

        Args:
          real: which rows are real, [rows].
          where: the name of the batch, for errors.
        """
        self.asked["output"] += (n := int(real.sum()))
        self.asked["hidden"] += n if hidden else 0
        if not model.host:
            return kernels.forward(self.mesh, (hidden, self.precision), model, x)
        if hidden:
            raise ValueError("a host model has no hidden layers to look at")

        def ask() -> Any:
            logits = model(np.asarray(x)[real])
            check_logits(logits, n)
            return np.asarray(logits)

        logits = self._on_host(f"the model on {where}", ask)
        return Answer(logits=self._fill(logits.astype(np.float32), real))

    def attribution(
        self, source: Source, model: Model, x: Any, y: Any, keys: Any, real: np.ndarray, where: str
    ) -> Any:
        """The maps of one explainer; see `output`."""
        self.asked["attribution"] += (n := int(real.sum()))
        if not source.eager:
            if getattr(source.explainer, "compiles_itself", False):
                with kernels.precise(self.precision):
                    unchecked = getattr(source.explainer, "unchecked", source.explainer)
                    return unchecked(model, x, y, kernels.explainer_keys(keys))
            return kernels.explain(self.mesh, self.precision, source.explainer, model, x, y, keys)
        at = np.flatnonzero(real)
        x, y, keys = (jax.device_get(v)[at] if v is not keys else v[at] for v in (x, y, keys))
        model = self.outside if model is self.model else model

        def explain() -> Any:
            with kernels.precise(self.precision):
                own = kernels.explainer_keys(keys)
                return source.explainer(model, jnp.asarray(x), jnp.asarray(y), own)

        name = f"explainer {source.name!r} on {where}"
        a = np.asarray(self._on_host(name, explain))
        wanted = None if source.features is None else (n, *source.features)
        if a.shape[:1] != (n,) or (wanted is not None and a.shape != wanted):
            raise EvaluationError(
                f"{name} gave an array of shape {list(a.shape)}, wanted "
                f"{list(wanted) if wanted else f'one map for each of the {n} samples'}"
            )
        if a.dtype.kind not in "iufb" or not np.isfinite(a).all():
            raise EvaluationError(f"{name} gave values that are not finite numbers")
        return self._fill(a.astype(np.float32), real)

    def _on_host(self, name: str, call: Callable[[], Any]) -> Any:
        try:
            return call()
        except Exception as e:
            raise EvaluationError(f"{name} failed: {_what(e)}") from e

    def _fill(self, values: np.ndarray, real: np.ndarray) -> Any:
        """The values of the real rows, put back in their places among all rows."""
        full = np.zeros((len(real), *values.shape[1:]), values.dtype)
        full[real] = values
        return self.put(full)
