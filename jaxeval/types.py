"""The nouns that metrics, perturbations, explainers and the engine hand to each other.

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
"""The classes made by `pytree`, and the names of their static fields."""


def static(default: Any = dataclasses.MISSING) -> Any:
    """A field that is structure: a change of its value makes new compiled programs."""
    return dataclasses.field(default=default, metadata={"static": True})


# `static` is no field specifier to a type checker, which would not see a positional default.
@overload
def pytree(cls: type[T]) -> type[T]: ...
@overload
def pytree(*, kw_only: bool) -> Callable[[type[T]], type[T]]: ...


@dataclass_transform(frozen_default=True, kw_only_default=True)
def pytree(cls: Any = None, *, kw_only: bool = True) -> Any:
    """A frozen dataclass that JAX knows as a pytree.

    What is structure and what is a leaf is decided by value: `static()` fields, strings and
    booleans are structure, numbers and arrays are leaves. So one field may hold ``"black"``,
    ``0.3`` or an array, and a change of a number never retraces. Instances compare by
    identity, because ``==`` on arrays is ambiguous; `identity` compares by value.
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
        # Past __init__ on purpose: leaves may be tracers, which validation must not see.
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
    """The tree with every leaf an array: ``0.2`` and ``np.float32(0.2)`` share one trace."""

    def leaf(value: Any) -> Any:
        return value if isinstance(value, jax.Array) else jnp.asarray(on_host(value))

    return jax.tree.map(leaf, tree)


def on_host(leaf: Any) -> np.ndarray:
    number = isinstance(leaf, (int, float)) and not isinstance(leaf, np.generic)
    value = np.asarray(leaf, jnp.result_type(type(leaf)) if number else None)
    return value.astype(canonicalize_dtype(value.dtype), copy=False)


@pytree
class Sample:
    """One sample, as a metric or a perturbation sees it.

    x [...] the input; y [] the explained class (int32); key its own random key;
    position [] its row in the data set; a [features] the attribution, prepared for the metric;
    mask [features] bool; draw the caller's draw for this step; extras {name: array};
    features the shape that says what a feature is; channel_axis of x, or None;
    valid the entries of x that are no padding, bool that broadcasts to x (size 1 along the
    channels as a rule), None where nothing is padding.

    Padding is no feature: `a` is 0 and `mask` False there, x stays as it is in every query, and
    rankings put it last. What else counts features asks for `where`, `n_valid` or `filled`.
    """

    x: Any
    y: Any
    key: Any
    position: Any
    a: Any = None
    mask: Any = None
    draw: Any = None
    extras: Any = None
    valid: Any = None
    features: tuple[int, ...] = static(())
    channel_axis: int | None = static(None)

    @property
    def n_features(self) -> int:
        return int(np.prod(self.features))

    @property
    def where(self) -> Any:
        """Which features are no padding, bool [features]; None where nothing is padding."""
        valid = self.valid
        if valid is None:
            return None
        if len(self.features) < valid.ndim:
            valid = valid.squeeze(self.channel_axis)
        return jnp.broadcast_to(valid, self.features)

    @property
    def n_valid(self) -> Any:
        """The number of features that are no padding."""
        return self.n_features if self.valid is None else self.where.sum(dtype=jnp.int32)

    def filled(self, value: Any) -> Any:
        """The attribution with `value` at padding: -inf, say, which no ranking prefers."""
        return self.a if self.valid is None else jnp.where(self.where, self.a, value)

    def at_features(self, v: Any) -> Any:
        """v [F], made of one feature after the other without padding, put at the features."""
        return v if self.valid is None else v[jnp.cumsum(self.where) - 1]

    def asked(self, valid: Any) -> Any:
        """The marks [S] of the real steps where padding makes them differ between samples.

        None without padding: then all are real.
        """
        return None if self.valid is None else valid

    @property
    def map_channel_axis(self) -> int | None:
        """The channel axis of the attribution, or None where it has none."""
        return self.channel_axis if len(self.features) == self.x.ndim else None

    def to_input(self, v: Any) -> Any:
        """v [features] with the axes of x, ready to broadcast against it."""
        v = v.reshape(self.features)
        return v if v.ndim == self.x.ndim else jnp.expand_dims(v, self.channel_axis or 0)

    def replace_features(self, gone: Any, there: Any) -> Any:
        """x with the features marked in gone [F] (or [features]) set to `there`."""
        return jnp.where(self.to_input(gone), there, self.x)


@pytree
class Query:
    """One question: what do you say of (x, y)? `aux` is what `measure` needs of this draw."""

    x: Any
    y: Any
    aux: Any = None


@pytree
class Answer:
    """What came back: logits [K], attribution [features], hidden {layer: [...]}, as asked.

    Of models that answer with probabilities or one binary logit, `logits` are those that
    `jaxeval.ops.as_logits` makes; of plain values, the values. `outputs` is the model's own.
    """

    logits: Any = None
    attribution: Any = None
    hidden: Any = None
    outputs: str = static("logits")

    @property
    def predicted(self) -> Any:
        """The class with the largest logit [], ties to the lowest; 0 of a model of values."""
        if self.outputs == "values":
            return jnp.zeros((), jnp.int32)
        return self.logits.argmax().astype(jnp.int32)


@pytree
class Outcome:
    """What a metric says: score [], curve [S] where it has one; from `score` with a leading [N].

    `curve_std` [S] is the standard deviation of each point of a curve that is a mean of several
    repetitions. `record` is what a data-set metric keeps of each sample until all are there.
    """

    score: Any
    curve: Any = None
    curve_std: Any = None
    record: Any = None

    @property
    def n_undefined(self) -> int:
        """The number of samples whose score is undefined (NaN)."""
        return int(np.isnan(np.asarray(self.score)).sum())
