"""Askers: they answer batches of queries, with a compiled program or on the host."""

from __future__ import annotations

import dataclasses
import functools
import types
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from .. import ops
from ..check import foreign, warn
from ..cpu import suited
from ..lifetime import Wrapper, hashable, jit, remembered
from ..model import TRACED_ROWS, UNTRACEABLE, Model, called
from ..trace.compare import changes, unwrapped
from ..types import Answer, canonical, pytree, static
from . import kernels
from .answers import check_shape

# What tracing raises in a function that wants to see its inputs' values.
NOT_TRACEABLE = (
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


def as_model(model: Any, x: Any, outputs: str | None = None) -> Model:
    """The model, marked as a host callable where JAX cannot trace it, which a warning says.

    Args:
      outputs: what a function gives, which a `Model` says itself.
    """
    if isinstance(model, Model) and outputs not in (None, model.outputs):
        raise ValueError(
            f"outputs={outputs!r} is for functions given as models; this one is a Model with "
            f"outputs={model.outputs!r}: give Model(outputs={outputs!r})"
        )
    if not isinstance(model, Model):
        if (way := foreign(model)) is not None:
            raise TypeError(f"model is {way}")
        if not callable(model):
            raise TypeError(
                f"model must be a jaxeval.Model or a function x [N, ...] -> outputs [N, K], got "
                f"{type(model).__name__}"
            )
        model = Model(Bare(hashable(model)), {}, outputs=outputs or "logits")
    elif (way := foreign(model.apply)) is not None:
        raise TypeError(f"Model(apply=...) is {way}")
    if model.host:
        return model
    try:
        out = model.traced(x)
    except NOT_TRACEABLE as e:
        why = f"it asks for the value of an array ({_what(e).splitlines()[0]})"
    except Exception as e:
        raise EvaluationError(
            f"the model failed while JAX traced it on inputs {[TRACED_ROWS, *x.shape]}: {_what(e)}"
            f"\nWhere it takes JAX arrays, check that it takes inputs of this shape; where it is "
            "NumPy or another framework's, give jaxeval.Model(apply, params, host=True)"
        ) from e
    else:
        check_shape(out, TRACED_ROWS, model.outputs)
        if not _changes(model, x):
            return model
        why = "it draws numbers outside of JAX, or changes from call to call"
    warn(
        f"JAX cannot compile this model: {why}. It is called on the host, once a batch, which is "
        "slower; jaxeval.Model(apply, params, host=True) says that this is meant"
    )
    return dataclasses.replace(model, host=UNTRACEABLE)


def _changes(model: Model, x: Any) -> bool:
    """Whether a model that is a plain function changes from call to call; each is traced once."""
    fn = model.apply.fn if isinstance(model.apply, Bare) else model.apply
    if not isinstance(unwrapped(fn), types.FunctionType):
        return False
    rows = jax.ShapeDtypeStruct((TRACED_ROWS, *x.shape), x.dtype)
    return _varies(fn, *((rows,) if fn is not model.apply else (model.params, rows)))


def _varies(fn: Any, *given: Any) -> bool:
    """Whether two traces of a function differ; one that was found steady is not traced again."""
    known = remembered(fn)
    if "steady" not in known and not changes(fn, *given):
        known["steady"] = True
    return "steady" not in known


@dataclasses.dataclass(frozen=True)
class Bare(Wrapper):
    """A function of x alone as an `apply`; equal functions share compiled programs."""

    fn: Callable[..., Any]

    def __call__(self, params: Any, x: Any) -> Any:
        return self.fn(x)


@jit()
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
    if hasattr(given, "attribute") and not callable(given):
        raise TypeError(
            f"explainer {name!r} is an object with .attribute ({type(given).__name__}): give "
            "jaxeval_torch.captum_explainer(method, module) of captum's"
        )
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
    if not plain and not model.host and isinstance(output := getattr(given, "output", None), str):
        ops.check_output(output, model.outputs, model.traced(x).shape[-1])
    explainer = Traced(fn=hashable(given)) if plain else canonical(given)
    if model.host:
        return Source(name, explainer, eager=True)
    rows = TRACED_ROWS
    spec = jax.ShapeDtypeStruct((rows, *x.shape), x.dtype)
    keys = _keys(rows)
    labels = jax.ShapeDtypeStruct((rows,), jnp.int32)
    try:
        out = _explained.eval_shape(explainer, model, spec, labels, keys)
    except NOT_TRACEABLE:
        return Source(name, Host(given), eager=True)
    except Exception as e:
        raise EvaluationError(
            f"explainer {name!r} failed while JAX traced it: {_what(e)}\nA function that needs "
            "the values of its inputs, or calls torch or another framework, runs on the host: give "
            "jaxeval.Host(fn), which hands it NumPy arrays"
        ) from e
    if plain and _varies(hashable(given), model, spec, labels, keys):
        warn(
            f"explainer {name!r} draws numbers outside of JAX (np.random, say) or keeps a state, "
            "which a compiled program would freeze: it is called on the host, once a batch, and "
            "its maps may depend on the batch. Draw from keys, one JAX key a sample, instead"
        )
        return Source(name, Host(unwrapped(given)), eager=True)
    if not hasattr(out, "shape") or out.shape[:1] != (rows,):
        got = f"{list(out.shape)}" if hasattr(out, "shape") else type(out).__name__
        raise EvaluationError(
            f"explainer {name!r} must give an array with one map a sample: for inputs "
            f"{[rows, *x.shape]} it gave {got}"
        )
    return Source(name, explainer, features=tuple(out.shape[1:]))


def _what(e: BaseException) -> str:
    return f"{type(e).__name__}: {e}"


@dataclasses.dataclass(frozen=True)
class Compiled:
    """The forward pass as a compiled program, for host explainers, which may keep it."""

    fn: Callable[..., Any]
    given: Callable[..., Any]
    """What `fn` calls, which must stay for as long as this does."""

    def __call__(self, params: Any, x: Any) -> Any:
        return called(self.fn, params, x)


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
        compiled = Compiled(self.model.apply, self.given.apply)
        return dataclasses.replace(self.model, apply=compiled)

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
            out = model(np.asarray(x)[real])
            check_shape(out, n, model.outputs)
            return np.asarray(out)

        out = self._fill(self._on_host(f"the model on {where}", ask).astype(np.float32), real)
        if model.outputs in ("probabilities", "binary"):
            out = kernels.as_logits(self.mesh, model.outputs, out)
        return Answer(logits=out, outputs=model.outputs)

    def maps(self, source: Source, model: Model, x: Any, y: Any, keys: Any) -> Any:
        """The maps of one traced explainer, not counted."""
        if getattr(source.explainer, "compiles_itself", False):
            with kernels.precise(self.precision):
                explain = getattr(source.explainer, "unchecked", source.explainer)
                return explain(model, x, y, kernels.explainer_keys(keys))
        return kernels.explain(self.mesh, self.precision, source.explainer, model, x, y, keys)

    def attribution(
        self, source: Source, model: Model, x: Any, y: Any, keys: Any, real: np.ndarray, where: str
    ) -> Any:
        """The maps of one explainer; see `output`."""
        self.asked["attribution"] += (n := int(real.sum()))
        if not source.eager:
            return self.maps(source, model, x, y, keys)
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
        if a.dtype.kind not in "iufbV":  # V: bfloat16 and its kin
            raise EvaluationError(f"{name} gave values that are no numbers, but {a.dtype}")
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
