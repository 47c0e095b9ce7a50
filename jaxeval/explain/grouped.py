"""Base class of methods that remove groups of entries (features) from the input."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from .. import check, ops
from ..lifetime import jit
from ..model import Model
from ..tokens import COUNTED, FIRST
from ..types import pytree, static
from ..words import is_first
from .occlusion import check_sizes
from .stepped import SteppedExplainer, real, rows


@pytree
class Segmenter:
    """A function of one sample that returns the feature index of each entry."""

    fn: Callable[..., Any] = static()


@pytree(kw_only=False)
class Tiles:
    """Features that are patches: they tile a sample of `shape`, with these `sides` along its axes.

    Numbered in row-major order; those at the far border may be smaller.
    """

    shape: tuple[int, ...] = static()
    sides: tuple[int, ...] = static()

    @property
    def grid(self) -> tuple[int, ...]:
        """The number of tiles along each axis."""
        return tuple(-(-n // p) for n, p in zip(self.shape, self.sides, strict=True))

    def spread(self, values: jax.Array) -> jax.Array:
        """values [N, F] of the tiles, as one for each entry [N, *shape]."""
        values = values.reshape(len(values), *self.grid)
        for axis, (n, p) in enumerate(zip(self.shape, self.sides, strict=True), 1):
            if p > 1:
                values = jax.lax.slice_in_dim(jnp.repeat(values, p, axis), 0, n, axis=axis)
        return values


@pytree
class Grouped(SteppedExplainer):
    """A method that evaluates the model on inputs with some features replaced by the baseline.

    Features are defined by `patch` or `features`; without both, every entry is a feature.

    Args:
      patch: side of square patches, or one side per axis of a sample. A patch covers all channels
        of its pixels; patches at the far border may be smaller.
      features: the feature index of each entry (captum's `feature_mask`): an array of integers
        from 0 that broadcasts to one sample, or a JAX function of one sample that returns one (for
        instance superpixels), together with `n_features`.
      n_features: the number of features; by default derived from the array.
      baseline: "zero", "black", "white", "mean", "channel_mean", "uniform", "uniform_value",
        "gaussian", "blur", "background mean", "background" (see `jaxeval.ops.baseline`), a number,
        or an array that broadcasts to one sample. Random baselines are drawn once per sample.
    """

    on_tokens: ClassVar[str] = "ids"
    from_baseline: ClassVar[bool] = True
    """Whether it also needs the score of the baseline."""

    patch: int | tuple[int, ...] | None = static(default=None)
    features: Any = None
    n_features: int | None = static(default=None)
    baseline: Any = "zero"

    def __post_init__(self) -> None:
        super().__post_init__()
        check.baseline(self, "baseline", ops.BASELINES)
        check.integer(self, "n_features", optional=True)
        if self.patch is not None:
            check_sizes(self, "patch")
        if self.features is None:
            return
        name = type(self).__name__
        if self.patch is not None:
            raise ValueError(f"{name}: give patch or features, not both")
        if callable(self.features):
            object.__setattr__(self, "features", Segmenter(fn=self.features))
        if isinstance(self.features, (Segmenter, Tracer)):
            if self.n_features is None:
                raise ValueError(f"{name}(features=...) with a function needs n_features=...")
            return
        ids = np.asarray(self.features)
        if ids.dtype.kind not in "iu":
            raise TypeError(
                f"{name}(features=...) must hold whole numbers, the feature of each entry, or be a "
                f"function that returns them; got {ids.dtype}"
            )
        if ids.size == 0 or ids.min() < 0:
            raise ValueError(f"{name}(features=...) must number the features from 0 on")
        if self.n_features is None:
            object.__setattr__(self, "n_features", int(ids.max()) + 1)
        elif ids.max() >= self.n_features:
            raise ValueError(
                f"{name}(features=...) has the feature {ids.max()}, and n_features="
                f"{self.n_features} allows numbers below that"
            )

    def _sides(self, shape: tuple[int, ...], channel: int | None) -> tuple[int, ...]:
        """The sides of a patch along each axis of a sample."""
        assert self.patch is not None
        if isinstance(self.patch, (tuple, list)):
            if len(self.patch) != len(shape):
                raise ValueError(
                    f"{type(self).__name__}(patch={self.patch!r}) must have one number for each "
                    f"axis of a sample of the shape {shape}"
                )
            return tuple(min(p, n) for p, n in zip(self.patch, shape, strict=True))
        return tuple(n if i == channel else min(self.patch, n) for i, n in enumerate(shape))

    def count(self, model: Model, x: jax.Array) -> int:
        """The number of features."""
        if self.n_features is not None:
            return self.n_features
        shape = x.shape[1:]
        if self.patch is None:
            return int(np.prod(shape))
        sides = self._sides(shape, model.sample_channel_axis(len(shape)))
        return int(np.prod(Tiles(shape, sides).grid))

    def ids(self, model: Model, x: jax.Array) -> Tiles | jax.Array:
        """The feature of each entry: tiles, or indices in the shape of x or with 1 as its first."""
        shape = x.shape[1:]
        if model.tokens is not None:
            if self.patch is not None or self.features is not None:
                raise ValueError(
                    f"{type(self).__name__}: the features of a text are its tokens, or the words "
                    "that evaluate(features=) is given: leave out patch and features"
                )
            # Numbered without what does not count.
            number = jnp.where(firsts(model), jnp.cumsum(firsts(model), 1) - 1, shape[0])
            if (first := model.inputs.get(FIRST)) is None:
                return number
            return jnp.take_along_axis(number, first, 1)
        if isinstance(self.features, Segmenter):
            return _segmented(self.features, x)
        if self.features is not None:
            given = jnp.asarray(self.features)
            try:
                return jnp.broadcast_to(given, shape)[None]
            except ValueError:
                raise ValueError(
                    f"{type(self).__name__}(features=...) must broadcast to a sample of the shape "
                    f"{shape}, got {given.shape}; for features that differ between samples, give a "
                    "function of the sample"
                ) from None
        if self.patch is None:
            return Tiles(shape, (1,) * len(shape))
        return Tiles(shape, self._sides(shape, model.sample_channel_axis(len(shape))))

    def prepare(self, model: Model, x: jax.Array, y: jax.Array, keys: Any) -> Any:
        """The baselines, feature indices, and the logits of the inputs and of the baselines."""
        b = self.baselines(model, x, self.baseline, keys)
        z = model(x)
        z0 = model(b) if self.from_baseline else z
        ids: Any = self.ids(model, x)
        if model.tokens is None:
            return Shared(b, ids, z, z0, ids)
        first = firsts(model)
        shown = jnp.where(first, ids, x.shape[1])
        return Shared(b, ids, z, z0, shown, own=first.sum(1, dtype=jnp.int32))

    def drawn(self, keys: Any, n: int, i: Any, own: Any) -> Any:
        """The random draw of step i for n features, of shape [N, F] at most.

        `own` [N]: the number of features of each sample, which come first; None: n.
        """
        return None

    def ready(
        self, total: Any, model: Model, x: jax.Array, y: jax.Array, keys: Any, state: Any, i: Any
    ) -> Any:
        """The draw of step i, and the inputs to evaluate."""
        n = self.count(model, x)
        drawn = self.drawn(keys, n, i, state.own)
        return drawn, rows(self.masked_input(x, drawn, state, i, n))

    def masked_input(self, x: jax.Array, drawn: Any, shared: Shared, i: Any, n: int) -> jax.Array:
        """The inputs to evaluate in step i."""
        return _masked_input(self, x, drawn, shared, i, n)

    @abstractmethod
    def present(self, drawn: Any, shape: tuple[int, int], i: Any) -> jax.Array:
        """Mask [N, F] of the features that are kept in step i."""

    def replacement(self, drawn: Any, shared: Shared) -> jax.Array:
        """The values that replace features that are not present."""
        return shared.baseline

    @abstractmethod
    def contribution(
        self, drawn: Any, present: jax.Array, z: jax.Array, y: jax.Array, shared: Shared, i: Any
    ) -> jax.Array:
        """The contribution of step i to the sum, given the logits z [N, K] of its inputs."""

    def step(
        self, model: Model, x: jax.Array, y: jax.Array, keys: Any, state: Any, i: Any
    ) -> jax.Array:
        shared, (drawn, inputs) = state
        z = model(inputs.reshape(x.shape))
        return _contribution(self, drawn, z, y, shared, i, self.count(model, x))

    def change(self, z: jax.Array, z2: jax.Array, y: jax.Array) -> jax.Array:
        """The score for logits z minus the score for z2, [N]."""
        return jax.vmap(lambda u, v, c: ops.difference(u, v, c, self.output))(z, z2, y)

    def zero(self, model: Model, x: jax.Array, y: jax.Array, keys: Any, state: Any) -> jax.Array:
        dtype = jnp.promote_types(x.dtype, jnp.float32)
        return jnp.zeros((len(x), *self.contribution_shape(self.count(model, x))), dtype)

    def contribution_shape(self, n: int) -> tuple[int, ...]:
        """The shape of one sample's contribution, for n features."""
        return (n,)

    def spread(self, values: jax.Array, shared: Shared, x: jax.Array) -> jax.Array:
        """Scatter values of features [N, F] to their entries, in the shape of x."""
        return entries(values, shared.shown).astype(real(x.dtype))


@pytree(kw_only=False)
class Shared:
    """Values shared by all steps."""

    baseline: Any
    ids: Any
    logits: Any
    baseline_logits: Any
    shown: Any
    """The feature whose value each entry shows: of a word, only its first piece does."""
    more: Any = None
    """Additional values of a subclass."""
    own: Any = None
    """The number of features of each sample [N], which are the first; None: all."""


def firsts(model: Model) -> Any:
    """Which tokens [N, T] are features: those that count, of words the first pieces."""
    first = model.inputs.get(FIRST)
    return model.inputs[COUNTED] & (True if first is None else is_first(first))


def entries(values: jax.Array, ids: Tiles | jax.Array) -> jax.Array:
    """values [N, F] of the feature of each entry [N, ...]; 0 where an index is out of range.

    Indices [1, ...] are shared by all rows, which are then gathered whole: on a TPU, a gather of
    single numbers for each row takes hundreds of milliseconds for a batch of images.
    """
    if isinstance(ids, Tiles):
        return ids.spread(values)
    if len(ids) == 1:
        return values.at[:, ids[0]].get(mode="fill", fill_value=0)
    return jax.vmap(lambda v, i: v.at[i].get(mode="fill", fill_value=0))(values, ids)


def indices(ids: Tiles | jax.Array, x: jax.Array) -> jax.Array:
    """The feature index of each entry, in the shape of x."""
    if isinstance(ids, Tiles):
        ids = ids.spread(jnp.arange(int(np.prod(ids.grid)), dtype=jnp.int32)[None])
    return jnp.broadcast_to(ids, x.shape)


@jax.jit
def _segmented(features: Segmenter, x: jax.Array) -> jax.Array:
    return jnp.broadcast_to(jax.vmap(features.fn)(x), x.shape).astype(jnp.int32)


# Jitted separately, because around a host model the rest is not compiled.
@jit(static_argnums=5)
def _masked_input(
    explainer: Grouped, x: jax.Array, drawn: Any, shared: Shared, i: Any, n: int
) -> jax.Array:
    present = explainer.present(drawn, (len(x), n), i)
    stays = entries(present, shared.ids)
    return jnp.where(stays, x, explainer.replacement(drawn, shared))


@jit(static_argnums=6)
def _contribution(
    explainer: Grouped, drawn: Any, z: jax.Array, y: jax.Array, shared: Shared, i: Any, n: int
) -> jax.Array:
    present = explainer.present(drawn, (len(y), n), i)
    return explainer.contribution(drawn, present, z, y, shared, i)
