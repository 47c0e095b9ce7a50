"""Attribution by the mean score over random masks that keep an entry."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from .. import check, ops
from ..lifetime import jit
from ..model import Model
from ..ops import draw
from ..types import pytree, static
from .base import needs_keys
from .stepped import SteppedExplainer, rows


@pytree
class RISE(SteppedExplainer):
    """The mean score of the input under random masks, weighted by the masks.

    ``a_i = 1/(p S) Σ_s M_s,i f_y(M_s x + (1 - M_s) b)`` with masks M_s in [0, 1]: a grid with
    `cells` along each axis except the channels, each cell 1 with probability p, upsampled
    linearly to more than the size of x and cropped at a random offset. In the shape of x, the
    same for all channels; non-negative if the score is a probability. Needs only forward passes,
    so it also works with host models.

    Petsiuk et al. 2018, "RISE: Randomized Input Sampling for Explanation of Black-box Models". As
    in the paper, the default score is a probability.

    Args:
      n_samples: S, the number of masks; the paper uses 4000 to 8000.
      cells: number of grid cells along each axis.
      probability: p, the probability that a cell is kept.
      baseline: "zero", "black", "white", "mean", "channel_mean", "uniform", "uniform_value",
        "gaussian", "blur", "background mean", "background" (see `jaxeval.ops.baseline`), a number,
        or an array that broadcasts to one sample. Random baselines are drawn once per sample.

    >>> import jax, jax.numpy as jnp
    >>> from jaxeval import Model
    >>> first = Model(lambda p, x: x[:, 0, :1, 0])
    >>> keys = jax.random.split(jax.random.key(0), 1)
    >>> a = RISE(output="logit", cells=2)(first, jnp.ones((1, 1, 8, 8)), jnp.array([0]), keys)
    >>> bool(a[0, 0, 0, 0] > 1.2 * a[0, 0, 7, 7])
    True
    """

    on_tokens: ClassVar[str] = ""
    output: str | Callable[..., Any] = static(default="probability")
    n_samples: int = static(default=1000)
    cells: int = static(default=8)
    probability: Any = 0.5
    baseline: Any = "zero"

    def __post_init__(self) -> None:
        super().__post_init__()
        check.integer(self, "n_samples")
        check.integer(self, "cells")
        check.real(self, "probability", above=0, most=1)
        check.baseline(self, "baseline", ops.BASELINES)

    def steps(self, model: Model, x: jax.Array) -> int:
        return self.n_samples

    def prepare(self, model: Model, x: jax.Array, y: jax.Array, keys: Any) -> Any:
        if keys is None:
            raise TypeError(needs_keys(self, "in its masks", len(x)))
        return self.baselines(model, x, self.baseline, keys)

    def mask(self, key: jax.Array, shape: tuple[int, ...], channel: int | None) -> jax.Array:
        """One mask for a sample, with a channel axis of size 1."""
        axes = [i for i in range(len(shape)) if i != channel]
        grid, place = jax.random.split(key)
        cells = [min(self.cells, shape[i]) for i in axes]
        chance = jnp.asarray(self.probability, jnp.float32)
        mask = jax.random.bernoulli(grid, chance, cells).astype(jnp.float32)
        shifts = jax.random.uniform(place, (len(axes),), jnp.float32)
        # Upsample to (s + 1) cells along each axis, then crop at a random offset.
        sizes = [shape[i] for i in axes]
        starts = []
        for k, (n, s) in enumerate(zip(sizes, cells, strict=True)):
            cell = -(-n // s)
            at = (np.arange((s + 1) * cell) + 0.5) * s / ((s + 1) * cell) - 0.5
            at = np.clip(at, 0, s - 1)[:, None]
            weights = np.maximum(1 - np.abs(at - np.arange(s)), 0).astype(np.float32)
            mask = jnp.moveaxis(jnp.tensordot(mask, weights, ((k,), (1,))), -1, k)
            starts.append(jnp.floor(shifts[k] * cell).astype(jnp.int32))
        mask = jax.lax.dynamic_slice(mask, starts, sizes)
        return mask if channel is None else jnp.expand_dims(mask, channel)

    def ready(
        self, total: Any, model: Model, x: jax.Array, y: jax.Array, keys: Any, state: Any, i: Any
    ) -> Any:
        """The masks, with a channel axis of size 1, and the masked inputs."""
        channel = model.sample_channel_axis(x.ndim - 1)
        own = jax.vmap(lambda key: draw.fold_in(key, i))(keys)
        masks = jax.vmap(lambda key: self.mask(key, x.shape[1:], channel))(own)
        masks = masks.astype(x.dtype)
        return rows(masks), rows(_masked(masks, x, state))

    def _shape(self, model: Model, x: jax.Array) -> tuple[int, ...]:
        """The shape of the masks."""
        channel = model.sample_channel_axis(x.ndim - 1)
        return tuple(1 if i - 1 == channel else n for i, n in enumerate(x.shape))

    def zero(self, model: Model, x: jax.Array, y: jax.Array, keys: Any, state: Any) -> jax.Array:
        size = math.prod(self._shape(model, x)[1:])
        return jnp.zeros((len(x), size), jnp.promote_types(x.dtype, jnp.float32))

    def step(
        self, model: Model, x: jax.Array, y: jax.Array, keys: Any, state: Any, i: Any
    ) -> jax.Array:
        _, (masks, inputs) = state
        return _weighted(self, model(inputs.reshape(x.shape)), y, masks)

    def finish(
        self, model: Model, x: jax.Array, y: jax.Array, keys: Any, state: Any, total: jax.Array
    ) -> jax.Array:
        mean = total / (self.n_samples * jnp.asarray(self.probability, x.dtype))
        return jnp.broadcast_to(mean.reshape(self._shape(model, x)), x.shape)


# Jitted separately, because around a host model the rest is not compiled.
@jax.jit
def _masked(masks: jax.Array, x: jax.Array, b: jax.Array) -> jax.Array:
    return masks * x + (1 - masks) * b


@jit()
def _weighted(explainer: RISE, z: jax.Array, y: jax.Array, masks: jax.Array) -> jax.Array:
    score = jax.vmap(lambda z, y: ops.value(z, y, explainer.output))(z, y)
    return masks * score[:, None]
