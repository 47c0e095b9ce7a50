"""The data types that metrics, perturbations, explainers and the engine exchange.

Metric code sees ONE sample; the engine holds the same pytrees with a leading sample axis.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, TypeVar, dataclass_transform, overload

import jax
import jax.numpy as jnp
import numpy as np
from jax.dtypes import canonicalize_dtype

T = TypeVar("T")

PYTREES: dict[type, frozenset[str]] = {}
"""Classes decorated with `pytree`, with the names of their static fields."""


def static(default: Any = dataclasses.MISSING) -> Any:
    """A static field: part of the pytree's structure, so changing its value recompiles."""
    return dataclasses.field(default=default, metadata={"static": True})


# `static` is not declared as a field specifier: type checkers would miss its positional default.
@overload
def pytree(cls: type[T]) -> type[T]: ...
@overload
def pytree(*, kw_only: bool) -> Callable[[type[T]], type[T]]: ...


@dataclass_transform(frozen_default=True, kw_only_default=True)
def pytree(cls: Any = None, *, kw_only: bool = True) -> Any:
    """Decorator: a frozen dataclass registered with JAX as a pytree.

    Whether a field is structure or a leaf depends on its value: `static()` fields, strings and
    booleans are structure; numbers and arrays are leaves. So one field can hold ``"black"``,
    ``0.3`` or an array, and changing a number never retraces. Instances compare by object
    identity, because ``==`` on arrays is ambiguous; `jaxeval.identity.identity` compares by value.
    """
    if cls is None:
        return lambda c: _register(c, kw_only)
    return _register(cls, kw_only)


def _register(cls: Any, kw_only: bool) -> Any:
    cls = dataclasses.dataclass(frozen=True, eq=False, kw_only=kw_only)(cls)
    fields = dataclasses.fields(cls)
    forced = {f.name for f in fields if f.metadata.get("static")}
    PYTREES[cls] = frozenset(forced)

    def flatten(node: Any) -> tuple[list[Any], Any]:
        names, leaves, structure = [], [], []
        for f in fields:
            value = getattr(node, f.name)
            if f.name in forced or isinstance(value, (str, bool)):
                structure.append((f.name, tuple(value) if isinstance(value, list) else value))
            else:
                names.append(f.name)
                leaves.append(value)
        return leaves, (tuple(names), tuple(structure))

    def unflatten(aux: Any, leaves: Any) -> Any:
        # Bypasses __init__: leaves may be tracers, which validation must not see.
        node = object.__new__(cls)
        for name, value in (*zip(aux[0], leaves, strict=True), *aux[1]):
            object.__setattr__(node, name, value)
        return node

    def flatten_with_keys(node: Any) -> Any:
        leaves, aux = flatten(node)
        keys = map(jax.tree_util.GetAttrKey, aux[0])
        return list(zip(keys, leaves, strict=True)), aux

    jax.tree_util.register_pytree_with_keys(cls, flatten_with_keys, unflatten, flatten)
    return cls


def canonical(tree: T) -> T:
    """The tree with all leaves as arrays, so that ``0.2`` and ``np.float32(0.2)`` share a trace."""

    def leaf(path: Any, value: Any) -> Any:
        if isinstance(value, jax.Array):
            return value
        value = on_host(value)
        if value.dtype.kind in "SUOMm":
            name = jax.tree_util.keystr(path, simple=True, separator=".")
            raise TypeError(f"{name} must be numbers, got an array of {value.dtype}")
        return jnp.asarray(value)

    return jax.tree_util.tree_map_with_path(leaf, tree)


def on_host(leaf: Any) -> np.ndarray:
    """The leaf as a NumPy array of the dtype that JAX would give it."""
    number = isinstance(leaf, (int, float)) and not isinstance(leaf, np.generic)
    value = np.asarray(leaf, jnp.result_type(type(leaf)) if number else None)
    return value.astype(canonicalize_dtype(value.dtype), copy=False)


@pytree
class Sample:
    """One sample, as a metric or a perturbation sees it.

    Attributes:
      x: [...], the input.
      y: [], the explained class (int32).
      key: the sample's own PRNG key.
      position: [], its row in the data set.
      a: [features], the attribution, normalised as the metric specifies.
      ranks: [features], the average ranks of `a`, for metrics that are `of_ranks`; else None.
      mask: [features], bool.
      draw: the user-provided draw for this step.
      extras: {name: array}.
      inputs: {name: array} of what the model is given with x; None if there is nothing.
      valid: mask of the entries of x that are not padding, broadcasts to x (usually with size 1
        along the channels); None without padding.
      features: the shape of the attribution, which defines what a feature is: a side of each axis
        of x, or 1 where all entries along the axis are one feature; the channel axis may be left
        out.
      owner: for features of several entries, such as words of several tokens: the index of the
        feature of each entry of x, that of the feature's first entry, where its attribution is;
        None: the attribution's shape says it.
      channel_axis: the axis of x that holds channels, or None.

    Padding is not a feature: there, `a` is 0, `mask` is False, queries keep x unchanged and
    rankings put it last. Other code that counts features must use `where`, `n_valid` or `filled`.
    """

    x: Any
    y: Any
    key: Any
    position: Any
    a: Any = None
    ranks: Any = None
    mask: Any = None
    draw: Any = None
    extras: Any = None
    inputs: Any = None
    valid: Any = None
    owner: Any = None
    features: tuple[int, ...] = static(())
    channel_axis: int | None = static(None)

    @property
    def n_features(self) -> int:
        return int(np.prod(self.features))

    @property
    def where(self) -> Any:
        """Mask [features] of the features that are not padding; None without padding."""
        return None if self.valid is None else self.any_entry(self.valid)

    def any_entry(self, which: Any) -> Any:
        """Mask [features] of those with an entry in `which`, which broadcasts to x."""
        found = any_entry(which, self.features, self.channel_axis)
        if self.owner is None:
            return found
        none = jnp.zeros(self.n_features, bool)
        return none.at[self.owner.ravel()].max(found.ravel()).reshape(self.features)

    @property
    def n_valid(self) -> Any:
        """The number of features that are not padding."""
        return self.n_features if self.valid is None else self.where.sum(dtype=jnp.int32)

    def filled(self, value: Any) -> Any:
        """The attribution with padding set to `value`, e.g. -inf to rank it last."""
        return self.a if self.valid is None else jnp.where(self.where, self.a, value)

    def at_features(self, v: Any) -> Any:
        """Scatter v [F], which lists the valid features first, to the features' positions."""
        return v if self.valid is None else v[jnp.cumsum(self.where) - 1]

    def step_mask(self, valid: Any) -> Any:
        """Valid-step mask [S], or None if all steps are valid (samples without padding)."""
        return None if self.valid is None else valid

    @property
    def map_channel_axis(self) -> int | None:
        """The channel axis of the attribution; None if it has none, or nothing but channels."""
        none = len(self.features) < self.x.ndim or self.per_channel
        return None if none else self.channel_axis

    @property
    def per_channel(self) -> bool:
        """Whether each channel is one feature, of all its positions."""
        axis = self.channel_axis
        if axis is None or len(self.features) < self.x.ndim or self.x.ndim < 2:
            return False
        space = [n for i, n in enumerate(self.features) if i != axis]
        return self.features[axis] > 1 and all(n == 1 for n in space)

    def to_input(self, v: Any) -> Any:
        """v [features] at the entries of each feature, so that it broadcasts against x."""
        v = v.reshape(self.features)
        v = v if self.owner is None else v.ravel()[self.owner]
        return v if v.ndim == self.x.ndim else jnp.expand_dims(v, self.channel_axis or 0)

    def replace_features(self, gone: Any, values: Any) -> Any:
        """x with the features selected by the mask gone [F] (or [features]) set to `values`."""
        return jnp.where(self.to_input(gone), values, self.x)


def any_entry(which: Any, features: tuple[int, ...], axis: int | None, lead: int = 0) -> Any:
    """Mask [features] of the features with an entry in the mask `which`.

    Args:
      which: has the axes of the input, and `lead` further ones in front; broadcasts to them.
      axis: of the channels, which `features` may lack.
    """
    lacking = len(features) < which.ndim - lead
    full = (*features[: axis or 0], 1, *features[axis or 0 :]) if lacking else features
    joined = tuple(lead + i for i, n in enumerate(full) if n == 1 and which.shape[lead + i] > 1)
    found = which.any(joined, keepdims=True) if joined else which
    found = found.squeeze(lead + (axis or 0)) if lacking else found
    xp = np if isinstance(which, np.ndarray) else jnp
    return xp.broadcast_to(found, (*which.shape[:lead], *features))


@pytree
class Query:
    """One query: evaluate the model or explainer at (x, y). `aux` is passed on to `measure`.

    `inputs` are those of the sample, which the engine fills in.
    """

    x: Any
    y: Any
    aux: Any = None
    inputs: Any = None


@pytree
class Answer:
    """The answer to a query: logits [K], attribution [features], hidden {layer: [...]}, as needed.

    For models whose outputs are probabilities or one binary logit, `logits` is the result of
    `jaxeval.ops.as_logits`; for plain values, the values. `outputs` is `Model.outputs`. `ranks`
    [features] are those of the attribution, see `Sample`.
    """

    logits: Any = None
    attribution: Any = None
    ranks: Any = None
    hidden: Any = None
    outputs: str = static("logits")

    @property
    def predicted(self) -> Any:
        """The class [] with the largest logit, ties to the lowest; 0 for a model of values."""
        if self.outputs == "values":
            return jnp.zeros((), jnp.int32)
        return self.logits.argmax().astype(jnp.int32)


@pytree
class Outcome:
    """The result of a metric: score [], and curve [S] if it has one. `score` adds a leading [N].

    `curve_std` [S] is the standard deviation of each point, for curves averaged over repetitions.
    `record` is what a data-set metric stores of each sample until `Metric.aggregate`.

    `error` [] says how sure the score is, in its unit; None if the metric does not estimate it. For
    scores from random draws, it is the half width of a 95 % confidence interval for the score
    of infinitely many draws; for curves with fewer steps than features, an estimate of the
    distance to the score of all steps. `effective` [] is the number of draws that decide the score,
    and `heavy_tails` [] whether they are so few that `error` may be too small; see
    `jaxeval.ops.half_width`.

    Scores to a tolerance say what they took: `asked` [] is the number of evaluations used, and
    `status` [] is 0 if it was met, 1 if the budget of draws was reached before, 2 if so and the
    tails are heavy, and 3 if the sample was not asked, as it could not change a ranking.
    """

    score: Any
    curve: Any = None
    curve_std: Any = None
    record: Any = None
    error: Any = None
    effective: Any = None
    heavy_tails: Any = None
    asked: Any = None
    status: Any = None

    @property
    def n_undefined(self) -> int:
        """The number of samples whose score is undefined (NaN), of those that were asked."""
        undefined = np.isnan(np.asarray(self.score))
        if self.status is not None:
            undefined &= np.asarray(self.status) != 3
        return int(undefined.sum())
