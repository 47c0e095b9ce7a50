"""Attribution by the mean score of random masks that leave an entry in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from .. import check, ops
from ..ops import draw
from ..types import Model, pytree, static
from .base import SteppedExplainer, computed, needs_keys


@pytree
class RISE(SteppedExplainer):
    """The mean score of the input under random masks, weighted by what they leave.

    ``a_i = 1/(p S) Σ_s M_s,i f_y(M_s x + (1 - M_s) b)`` with masks M_s in [0, 1]: a grid of `cells`
    along each axis but the channels, each cell 1 with probability p, enlarged smoothly to more than
    the size of x and cut out at a random place. In the shape of x, the same for all channels; not
    negative for probabilities. It asks for outputs only, so it serves host models too.

    Petsiuk et al. 2018, "RISE: Randomized Input Sampling for Explanation of Black-box Models". As
    there, the score is a probability by default.

    Args:
      n_samples: S; the paper takes 4000 to 8000.
      cells: the cells of the grid along each axis.
      probability: p, of a cell to be left in.
      baseline: "zero", "black", "white", "mean", "channel_mean", "uniform", "gaussian", "blur",
        a number, or an array that broadcasts to one sample. Drawn once per sample where random.

    >>> import jax, jax.numpy as jnp
    >>> from jaxeval.types import Model
    >>> first = Model(lambda p, x: x[:, 0, :1, 0])
    >>> keys = jax.random.split(jax.random.key(0), 1)
    >>> a = RISE(output="logit", cells=2)(first, jnp.ones((1, 1, 8, 8)), jnp.array([0]), keys)
    >>> bool(a[0, 0, 0, 0] > 1.2 * a[0, 0, 7, 7])
    True
    """

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
        shifts = jax.random.uniform(place, (len(axes),))
        for k, (axis, s) in enumerate(zip(axes, cells, strict=True)):
            n = shape[axis]
            cell = -(-n // s)
            # Enlarged to (s + 1) cells; of those, n entries from a random place on.
            at = jnp.floor(shifts[k] * cell) + jnp.arange(n)
            at = jnp.clip((at + 0.5) * s / ((s + 1) * cell) - 0.5, 0, s - 1)
            weights = jnp.maximum(1 - jnp.abs(at[:, None] - jnp.arange(s)), 0)
            mask = jnp.moveaxis(jnp.tensordot(mask, weights, ((k,), (1,))), -1, k)
        return mask if channel is None else jnp.expand_dims(mask, channel)

    def ready(
        self, total: Any, model: Model, x: jax.Array, y: jax.Array, keys: Any, state: Any, i: Any
    ) -> jax.Array:
        """The masks, in the shape of x but for its channels."""
        channel = model.sample_channel_axis(x.ndim - 1)
        own = jax.vmap(lambda key: draw.fold_in(key, i))(keys)
        masks = jax.vmap(lambda key: self.mask(key, x.shape[1:], channel))(own)
        return masks.astype(x.dtype)

    def step(
        self, model: Model, x: jax.Array, y: jax.Array, keys: Any, state: Any, i: Any
    ) -> jax.Array:
        b, masks = state
        return _weighted(self, model(computed(_masked(masks, x, b))), y, masks, x)

    def finish(
        self, model: Model, x: jax.Array, y: jax.Array, keys: Any, state: Any, total: jax.Array
    ) -> jax.Array:
        return total / (self.n_samples * jnp.asarray(self.probability, x.dtype))


# Compiled here, because around a host model nothing else is.
@jax.jit
def _masked(masks: jax.Array, x: jax.Array, b: jax.Array) -> jax.Array:
    return masks * x + (1 - masks) * b


@jax.jit
def _weighted(
    explainer: RISE, z: jax.Array, y: jax.Array, masks: jax.Array, x: jax.Array
) -> jax.Array:
    score = jax.vmap(lambda z, y: ops.value(z, y, explainer.output))(z, y)
    score = score.reshape(-1, *(1,) * (x.ndim - 1))
    return jnp.broadcast_to(masks * score, x.shape)
