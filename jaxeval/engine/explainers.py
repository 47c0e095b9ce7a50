"""Sources of an explainer's maps: stored, compiled, or computed on the host."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import types
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .. import ops
from ..check import warn
from ..lifetime import Wrapper, hashable, jit
from ..model import TRACED_ROWS, Model, with_inputs
from ..trace.compare import unwrapped
from ..types import canonical, pytree, static
from . import kernels
from .data import Data
from .errors import NOT_TRACEABLE, EvaluationError, named
from .models import varies
from .shapes import check_unambiguous, map_shapes
from .stored import is_stored, read_maps

if TYPE_CHECKING:
    from .evaluator import Evaluator


@dataclasses.dataclass(frozen=True)
class Host:
    """An explainer that is called in Python, outside compiled programs.

    ``fn(model, x, y, keys) -> a`` gets NumPy arrays with the real rows of a batch (keys are a JAX
    array) and may run any Python code. Functions that JAX cannot trace are handled like this
    automatically; wrap functions that can be traced but must not be (its own random state, a
    cache, a call to another framework). With ``arrays="jax"``, x and y are `jax.Array`s.
    """

    fn: Callable[..., Any]
    arrays: str = "numpy"

    def __call__(self, model: Model, x: Any, y: Any, keys: Any) -> Any:
        if self.arrays == "numpy":
            x, y = np.asarray(x), np.asarray(y)
        return self.fn(model, x, y, keys)


@dataclasses.dataclass(frozen=True)
class WithoutKeys(Wrapper):
    """``fn(model, inputs, targets, **kwargs) -> a`` as an explainer; equal ones share programs."""

    fn: Callable[..., Any]

    def __call__(self, model: Model, x: Any, y: Any, keys: Any) -> Any:
        return self.fn(model, x, y)


def _without_keys(fn: Callable[..., Any]) -> bool:
    """Whether a function takes (model, inputs, targets) and no keys of the samples."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = list(inspect.signature(fn).parameters.values())
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return False
    ordered = [p for p in parameters if p.kind in kinds]
    if len(ordered) < 3 or any(p.default is p.empty for p in ordered[4:]):
        return False  # the error of the call says what is missing
    return len(ordered) == 3 or ordered[3].default is not inspect.Parameter.empty


@pytree
class Traced:
    """A traceable function as an explainer pytree."""

    fn: Any = static()

    def __call__(self, model: Model, x: Any, y: Any, keys: Any) -> Any:
        return self.fn(model, x, y, keys)


class Batch(NamedTuple):
    """What to explain [rows, ...], its classes, the samples' keys, and what comes with x.

    `real` marks the rows that are no padding; `where` is the batch's name in errors.
    """

    x: Any
    y: Any
    keys: Any
    inputs: Any
    real: np.ndarray
    where: str


class Attributor(ABC):
    """Computes the maps of one explainer.

    Attributes:
      name: the explainer's name in this run.
      explainer: explains changed inputs or models; None if they cannot be explained.
      features: the shape of one map; None until a host explainer has been called once.
      on_host: whether maps of changed inputs are computed in Python.
      asked: whether maps of the clean samples cost an evaluation.
    """

    name: str
    explainer: Any
    features: Any
    on_host: Any = False
    asked: ClassVar[bool] = True

    @abstractmethod
    def explain(self, evaluator: Evaluator, model: Model, batch: Batch) -> Any:
        """The maps [rows, features] for a batch."""

    @abstractmethod
    def using(self, name: str, explainer: Any) -> Attributor:
        """The same for an explainer derived from this one."""


@dataclasses.dataclass(frozen=True, eq=False)
class Compiled(Attributor):
    """An explainer that JAX can trace, in a compiled program."""

    name: str
    explainer: Any
    features: tuple[int, ...] | None

    def explain(self, evaluator: Evaluator, model: Model, batch: Batch) -> Any:
        evaluator.count("attribution", batch.real)
        return self.maps(evaluator, model, batch.x, batch.y, batch.keys, batch.inputs)

    def maps(
        self, evaluator: Evaluator, model: Model, x: Any, y: Any, keys: Any, inputs: Any
    ) -> Any:
        """The maps, without counting evaluations."""
        precision = evaluator.precision
        if getattr(self.explainer, "compiles_itself", False):
            with kernels.precise(precision):
                explain = getattr(self.explainer, "unchecked", self.explainer)
                model = with_inputs(model, inputs)
                return explain(model, x, y, kernels.explainer_keys(keys))
        return kernels.explain(evaluator.mesh, precision, self.explainer, model, x, y, keys, inputs)

    def using(self, name: str, explainer: Any) -> Compiled:
        return dataclasses.replace(self, name=name, explainer=explainer)


@dataclasses.dataclass(frozen=True, eq=False)
class OnHost(Attributor):
    """An explainer that is called in Python, with the real rows of a batch."""

    name: str
    explainer: Any
    features: tuple[int, ...] | None = None
    on_host: ClassVar[bool] = True

    def explain(self, evaluator: Evaluator, model: Model, batch: Batch) -> Any:
        n, at = evaluator.count("attribution", batch.real), np.flatnonzero(batch.real)
        host = jax.device_get((batch.x, batch.y, batch.inputs))
        x, y, inputs = jax.tree.map(lambda v: v[at], host)
        keys = batch.keys[at]
        model = evaluator.outside if model is evaluator.model else model
        model = with_inputs(model, inputs)

        def call() -> Any:
            with kernels.precise(evaluator.precision):
                own = kernels.explainer_keys(keys)
                return self.explainer(model, jnp.asarray(x), jnp.asarray(y), own)

        what = f"explainer {self.name!r} on {batch.where}"
        a = np.asarray(evaluator.on_host(what, call))
        wanted = None if self.features is None else (n, *self.features)
        if a.shape[:1] != (n,) or (wanted is not None and a.shape != wanted):
            raise EvaluationError(
                f"{what} gave an array of shape {list(a.shape)}, wanted "
                f"{list(wanted) if wanted else f'one map for each of the {n} samples'}"
            )
        if a.dtype.kind not in "iufbV":  # V: bfloat16 and the like
            raise EvaluationError(f"{what} gave values that are not numbers, but {a.dtype}")
        return evaluator.fill(a.astype(np.float32), batch.real)

    def using(self, name: str, explainer: Any) -> OnHost:
        return dataclasses.replace(self, name=name, explainer=explainer)


@dataclasses.dataclass(frozen=True, eq=False)
class Stored(Attributor):
    """Given maps [N, features] of the clean samples; `then`, if any, explains changed samples."""

    name: str
    maps: np.ndarray
    then: Attributor | None = None
    asked: ClassVar[bool] = False

    @property
    def explainer(self) -> Any:
        return None if self.then is None else self.then.explainer

    @property
    def features(self) -> tuple[int, ...]:
        return self.maps.shape[1:]

    @property
    def on_host(self) -> bool:  # type: ignore[override]
        return self.then is not None and self.then.on_host

    def explain(self, evaluator: Evaluator, model: Model, batch: Batch) -> Any:
        assert self.then is not None, "checked before the run"
        return self.then.explain(evaluator, model, batch)

    def using(self, name: str, explainer: Any) -> Attributor:
        assert self.then is not None
        return self.then.using(name, explainer)


def read_explainers(
    explainers: Mapping[str, Any],
    model: Model,
    data: Data,
    stored: Mapping[str, Any] | None = None,
) -> dict[str, Attributor]:
    """{name: attributor}; `stored` holds given maps of the clean samples for some explainers."""
    x, found = data.x, {}
    k = None if model.host else model.n_classes(jax.ShapeDtypeStruct(x.shape[1:], x.dtype))
    axis = model.sample_channel_axis(x.ndim - 1)
    wanted = map_shapes(x.shape[1:], axis)
    for name, given in explainers.items():
        then, maps = None, given
        if not is_stored(given):
            then = as_attributor(name, given, model, jax.ShapeDtypeStruct(x.shape[1:], x.dtype))
            maps = (stored or {}).get(name)
        if maps is None:
            found[name] = then
            continue
        what = f"the attributions of explainer {name!r}"
        maps = read_maps(what, maps, data, wanted, k, model.outputs)
        check_unambiguous(what, maps.shape[1:], x.shape[1:], axis)
        if then is not None and then.features not in (None, maps.shape[1:]):
            raise ValueError(
                f"{what} have the shape {list(maps.shape)}, but the explainer makes maps of "
                f"shape {list(then.features or ())}"
            )
        maps = maps.astype(jnp.promote_types(x.dtype, jnp.float32))
        found[name] = Stored(name, maps, then)
    return found


@jit()
def _explained(explainer: Any, *given: Any) -> Any:
    # One function for all explainers, so that JAX can reuse its traces.
    return explainer(*given)


@functools.lru_cache
def _keys(rows: int) -> Any:
    return jax.eval_shape(lambda: jax.random.split(jax.random.key(0), rows))


def as_attributor(name: str, given: Any, model: Model, x: Any) -> Compiled | OnHost:
    """The attributor of a callable explainer, which is traced once for the shape of its maps."""
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
        return OnHost(name, given)
    if isinstance(given, types.FunctionType) and _without_keys(given):
        given = WithoutKeys(given)
    plain = jax.tree_util.all_leaves((given,))
    if not plain and not model.host and isinstance(output := getattr(given, "output", None), str):
        ops.check_output(output, model.outputs, model.traced(x).shape[-1])
    explainer = Traced(fn=hashable(given)) if plain else canonical(given)
    if model.host:
        return OnHost(name, explainer)
    rows = TRACED_ROWS
    spec, labels = jax.ShapeDtypeStruct((rows, *x.shape), x.dtype), _labels(rows)
    try:
        out = _explained.eval_shape(explainer, model, spec, labels, _keys(rows))
    except NOT_TRACEABLE:
        return OnHost(name, Host(given))
    except Exception as e:
        advice = (
            "\nA function that needs the values of its inputs, or calls torch or another "
            "framework, must run on the host: give jaxeval.Host(fn), which passes it NumPy arrays"
        )
        raise EvaluationError(
            f"explainer {name!r} failed while JAX traced it: {named(e)}{advice if plain else ''}"
        ) from e
    if plain and varies(hashable(given), model, spec, labels, _keys(rows)):
        warn(
            f"explainer {name!r} draws numbers outside of JAX (for example by np.random) or keeps "
            "state, which a compiled program would freeze: it is called on the host, once per "
            "batch, and its maps may depend on the batch. Use keys, one JAX key per sample, instead"
        )
        return OnHost(name, Host(unwrapped(given)))
    if not hasattr(out, "shape") or out.shape[:1] != (rows,):
        got = f"{list(out.shape)}" if hasattr(out, "shape") else type(out).__name__
        raise EvaluationError(
            f"explainer {name!r} must give an array with one map per sample: for inputs "
            f"{[rows, *x.shape]} it gave {got}"
        )
    return Compiled(name, explainer, tuple(out.shape[1:]))


def _labels(rows: int) -> Any:
    return jax.ShapeDtypeStruct((rows,), jnp.int32)
