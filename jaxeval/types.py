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

from .check import did_you_mean
from .digests import array_digest
from .lifetime import PYTREES, Held, Wrapper, jit, remembered

T = TypeVar("T")

UNTRACEABLE = "untraceable"
"""`Model.host` of a model that the engine found to be a host callable."""
KINDS = ("logits", "probabilities", "binary", "values")
"""What the outputs of a model can be."""


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
        return value if isinstance(value, jax.Array) else jnp.asarray(_on_host(value))

    return jax.tree.map(leaf, tree)


def _on_host(leaf: Any) -> np.ndarray:
    number = isinstance(leaf, (int, float)) and not isinstance(leaf, np.generic)
    value = np.asarray(leaf, jnp.result_type(type(leaf)) if number else None)
    return value.astype(canonicalize_dtype(value.dtype), copy=False)


def identity(tree: Any) -> Any:
    """A hashable host-side key of a pytree's value: structure, shapes, dtypes and digests.

    Equal for trees whose `canonical` forms are; made without the device, which costs more.
    """
    leaves, treedef = jax.tree.flatten(tree)

    def digest(leaf: Any) -> tuple[Any, ...]:
        value = _on_host(leaf)
        return value.shape, str(value.dtype), array_digest(value)

    return treedef, tuple(map(digest, leaves))


def shapes_of(tree: Any) -> Any:
    """A hashable description of a pytree: its structure, and its leaves' shapes and types."""
    leaves, treedef = jax.tree.flatten(tree)
    types = [v.dtype if hasattr(v, "dtype") else jnp.result_type(v) for v in leaves]
    return treedef, tuple(zip(map(jnp.shape, leaves), types, strict=True))


@dataclasses.dataclass(frozen=True, eq=False)
class Unhashable(Wrapper):
    """A callable that has no hash (an Equinox module, say), told from others by identity."""

    fn: Callable[..., Any]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Unhashable) and self.fn is other.fn

    def __hash__(self) -> int:
        return id(self.fn)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.fn(*args, **kwargs)


def hashable(fn: Any) -> Any:
    """The callable, as one that can be part of the structure of a pytree."""
    if isinstance(fn, Held):
        return fn
    try:
        hash(fn)
    except TypeError:
        return Unhashable(fn)
    return fn


def in_columns(outputs: Any) -> Any:
    """Outputs [N, K]; those of a model that answers [N] are one column."""
    return outputs[:, None] if getattr(outputs, "ndim", 2) == 1 else outputs


@pytree(kw_only=False)
class Model:
    """A network: ``apply(params, x[N, ...]) -> outputs [N, K]``, pure and row by row.

    Args:
      apply: the forward pass. Two models with the same `apply` share compiled programs, so
        build it once, outside loops.
      outputs: what `apply` answers with. An answer [N] counts as one output, [N, 1].
        "logits": of K classes, of which the softmax is taken where probabilities are wanted.
        "probabilities": of K classes, for networks that end in a softmax.
        "binary": one logit z, of class 1: its probability is sigmoid(z) and class 0 has the rest,
        so there are K = 2 classes everywhere.
        "values": plain numbers (regression, several targets, labels that do not exclude each
        other): y is the index of the output, and no softmax is taken anywhere.
      params: any pytree of arrays. Where it is a dict with the key ``"params"``, only what is
        under that key counts as trained (the rest is state, such as batch statistics).
      hidden: ``(params, x) -> (logits, {layer: activations [N, ...]})``, for metrics that look
        at hidden layers.
      init: ``(key, x) -> params``, the model's own initialisation, for metrics that randomise.
      channel_axis: the axis of x that holds channels: 1 for N C H W, -1 for channel-last,
        None where every entry of x stands for itself. Tabular x [N, F] has none.
      host: False for JAX functions. "numpy" (or True) for any Python callable: it is called
        on the host, outside compiled programs, with NumPy arrays of a batch's real rows.
        "jax" hands over `jax.Array`s instead (for dlpack); where it is a `jax.custom_vjp` that
        answers in Python, it has input gradients, too, outside of `jax.jit`. A callable that JAX
        cannot trace is treated as "numpy" by the engine, which warns and marks it "untraceable".
      example: the shape and type of inputs that the model takes (`jax.ShapeDtypeStruct`), for
        `layers()`; a tuple of them where it takes several inputs. Converted models have one. A
        model of whole numbers (token ids) or of several inputs is refused where it is explained.
    """

    apply: Callable[..., Any] = static()
    params: Any = None
    hidden: Callable[..., Any] | None = static(None)
    init: Callable[..., Any] | None = static(None)
    channel_axis: int | None = static(1)
    host: bool | str = static(False)
    example: jax.ShapeDtypeStruct | tuple[jax.ShapeDtypeStruct, ...] | None = static(None)
    outputs: str = static("logits")

    def __post_init__(self) -> None:
        if not callable(self.apply):
            raise TypeError(
                "Model(apply=...) must be callable as apply(params, x), got "
                f"{type(self.apply).__name__}"
            )
        for name in ("apply", "hidden", "init"):
            object.__setattr__(self, name, hashable(getattr(self, name)))
        if self.outputs not in KINDS:
            raise ValueError(
                f"Model(outputs={self.outputs!r}): must be one of {', '.join(map(repr, KINDS))}"
                f"{did_you_mean(self.outputs, KINDS)}"
            )
        if self.host not in (False, True, "numpy", "jax", UNTRACEABLE):
            raise ValueError(f'Model(host=...) must be False, "numpy" or "jax", got {self.host!r}')

    def __call__(self, x: Any) -> jax.Array:
        """The outputs [N, K] of a batch x [N, ...]."""
        if not self.host:
            return in_columns(self.apply(self.params, x))
        try:
            given = jnp.asarray(x) if self.host == "jax" else np.asarray(x)
            out = self.apply(self.params, given)
            # A "jax" callable with a gradient of its own may be differentiated: then this is one
            # step of `jax.grad`, not yet an array with a value.
            return in_columns(out if isinstance(out, jax.Array) else jnp.asarray(np.asarray(out)))
        except jax.errors.TracerArrayConversionError as e:
            raise TypeError(
                "this model is a host callable: it can be asked for outputs, but it cannot be "
                "traced, so it has no input gradients; use an explainer that asks for outputs "
                "only (Occlusion), or one of your own that answers on the host"
            ) from e

    def n_classes(self, x: Any) -> int:
        """How many classes it has, from the shape and type of one input; not of host models."""
        return 2 if self.outputs == "binary" else self.traced(x).shape[-1]

    def traced(self, x: Any) -> jax.ShapeDtypeStruct:
        """The shape and type of its outputs [TRACED_ROWS, K], from those of one input x [...].

        Each model is traced once. Not of host models.
        """
        shape, dtype = (TRACED_ROWS, *x.shape), jnp.dtype(x.dtype)
        known, given = remembered(self.apply), ("output", *shapes_of(self.params), shape, dtype)
        if given not in known:
            rows = jax.ShapeDtypeStruct(shape, dtype)
            known[given] = called.eval_shape(self.apply, self.params, rows)
        return known[given]

    def layers(self, x: Any = None) -> dict[str, tuple[int, ...]]:
        """The model's layers in the order of the forward pass, with the shapes of their outputs.

        The names are those of Flax modules, of torch's modules in a converted model, or of the
        dicts that hold the parameters; explainers and metrics take them as ``layer=`` and
        ``layers=``. See `jaxeval.explain.layers`.

        Args:
          x: inputs [N, ...], or their shape and type; None takes the model's `example`.

        >>> params = {"first": jnp.ones((2, 3)), "second": jnp.ones((3, 4))}
        >>> model = Model(lambda p, x: jnp.tanh(x @ p["first"]) @ p["second"], params)
        >>> model.layers(jnp.ones((5, 2)))
        {'first': (5, 3), 'first/activation': (5, 3), 'second': (5, 4)}
        """
        from .explain import layers

        if x is None and not hasattr(self.example, "shape"):
            raise TypeError(
                "Model.layers(x) needs inputs x [N, ...] of the kind that the model takes (only "
                "their shape matters): this model carries no example of one array"
            )
        return layers(self, self.example if x is None else x)

    def sample_channel_axis(self, ndim: int) -> int | None:
        """The channel axis of one sample with `ndim` axes, or None where there is none."""
        if self.channel_axis is None or ndim < 2:
            return None
        axis = self.channel_axis + (ndim + 1 if self.channel_axis < 0 else 0)
        if not 1 <= axis <= ndim:
            raise ValueError(
                f"channel_axis={self.channel_axis} does not name an axis of x with {ndim + 1} axes "
                "(axis 0 is the samples)"
            )
        return axis - 1


TRACED_ROWS = 2
"""Rows of the batch on which a function is traced to learn the shape of what it gives."""


@jit(static_argnums=0)
def called(apply: Any, params: Any, x: Any) -> Any:
    """The outputs [N, K] of a function of the parameters and x, compiled."""
    return in_columns(apply(params, x))


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
