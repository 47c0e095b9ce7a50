"""Attribution by the gradient along a path that first moves entries with small gradients."""

from __future__ import annotations

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jax import lax

from .. import check, ops
from ..model import Model
from ..types import pytree, static
from .stepped import SteppedExplainer

NEAR = 1e-6
"""Tolerance for reaching the target distance, as a fraction of the whole path."""


def advance(
    at: jax.Array, g: jax.Array, x: jax.Array, b: jax.Array, done: Any, fraction: Any, reach: Any
) -> jax.Array:
    """One sample's next point [...] on the path from b to x.

    Entries with the smallest gradients move first, each at most to its upper bound (a deviation of
    `reach` from the straight line), until the fraction `done` of the L1 distance is covered.
    """
    shape, n = x.shape, x.size
    at, g, x, b = (v.ravel() for v in (at, g, x, b))
    done, reach = (jnp.asarray(v, x.dtype) for v in (done, reach))
    whole = jnp.abs(x - b).sum()
    low = b + jnp.maximum(done - reach, 0) * (x - b)
    high = b + jnp.minimum(done + reach, 1) * (x - b)
    left = whole * (1 - done)

    def ahead(at: jax.Array, bound: jax.Array) -> jax.Array:
        """Mask of the entries that have reached the bound."""
        return (at - bound) * jnp.sign(x - b) >= 0

    at = jnp.where(ahead(at, low), at, low)

    def unfinished(state: Any) -> Any:
        at, tries = state
        return (jnp.abs(x - at).sum() > left + NEAR * whole) & (tries < n)

    def go(state: Any) -> Any:
        at, tries = state
        # Of the entries below their bound, move the fraction with the smallest gradients.
        size = jnp.where(ahead(at, high), jnp.inf, jnp.abs(g))
        place = jnp.floor(jnp.asarray(fraction, jnp.float32) * (n - 1)).astype(jnp.int32)
        least = ops.order_statistic(size, place)
        chosen = (size <= least) & ~jnp.isinf(size)
        way = jnp.where(chosen, high - at, 0)
        missing = jnp.abs(x - at).sum() - left
        part = jnp.minimum(missing / jnp.maximum(jnp.abs(way).sum(), 1e-30), 1)
        full = part >= 1
        at = jnp.where(chosen, jnp.where(full, high, at + part * way), at)
        return at, tries + 1

    at, _ = lax.while_loop(unfinished, go, (at, 0))
    return at.reshape(shape)


_advance_all = jax.jit(jax.vmap(advance, in_axes=(0, 0, 0, 0, None, None, None)))


@pytree
class GuidedIG(SteppedExplainer):
    """Integrated gradients along a path that avoids large gradients.

    ``a = ∫ ∂f_y(γ)/∂x dγ`` along a path γ from the baseline b to x. Each step moves the `fraction`
    of the entries with the smallest partial derivatives, and keeps every entry within
    `max_distance` of the straight line; signed, in the shape of x. Attributions sum to
    ``f_y(x) - f_y(b)``, up to discretisation error.

    Kapishnikov et al. 2021, "Guided Integrated Gradients: an Adaptive Path Method for Removing
    Noise". All steps cover the same L1 distance; if no more than `fraction` of the entries are
    below their bound, all of those move. Equal to saliency's `GuidedIG`, including its defaults.

    Args:
      n_steps: number of steps; each costs one gradient of the batch, in sequence.
      fraction: the fraction of entries that move together; 1 follows the straight line.
      max_distance: maximum deviation of an entry from the straight line, as a fraction of its
        length.
      baseline: "zero", "black", "white", "mean", "channel_mean", "uniform", "uniform_value",
        "gaussian", "blur", "background mean", "background" (see `jaxeval.ops.baseline`), a number,
        or an array that broadcasts to one sample.

    >>> import jax.numpy as jnp, numpy as np
    >>> from jaxeval import Model
    >>> net = Model(lambda p, x: x @ jnp.array([[1.0], [-2.0]]), channel_axis=None)
    >>> a = GuidedIG(n_steps=10)(net, jnp.array([[2.0, 3.0]]), jnp.array([0]))
    >>> print(np.asarray(a).round(3))
    [[ 2. -6.]]
    """

    ready_asks: ClassVar[bool] = True

    n_steps: int = static(default=200)
    fraction: Any = 0.25
    max_distance: Any = 0.02
    baseline: Any = "zero"

    def __post_init__(self) -> None:
        super().__post_init__()
        check.integer(self, "n_steps")
        check.real(self, "fraction", least=0, most=1)
        check.real(self, "max_distance", least=0, most=1)
        check.baseline(self, "baseline", ops.BASELINES)

    def steps(self, model: Model, x: jax.Array) -> int:
        return self.n_steps

    def prepare(self, model: Model, x: jax.Array, y: jax.Array, keys: Any) -> Any:
        return self.baselines(model, x, self.baseline, keys)

    def zero(self, model: Model, x: jax.Array, y: jax.Array, keys: Any, state: Any) -> Any:
        """The start of the path, and the sum."""
        return jnp.array(state), super().zero(model, x, y, keys, state)

    def ready(
        self, total: Any, model: Model, x: jax.Array, y: jax.Array, keys: Any, state: Any, i: Any
    ) -> Any:
        """The gradient at the current point of the path."""
        return self.input_gradient(model, total[0], y)

    def ahead(self, model: Model, x: jax.Array) -> int:
        return 1

    def add(
        self, total: Any, model: Model, x: jax.Array, y: jax.Array, keys: Any, state: Any, i: Any
    ) -> Any:
        (at, total), (b, g) = total, state
        done = (i + 1) / self.n_steps
        after = _advance_all(at, g, x, b, done, self.fraction, self.max_distance)
        return after, total + ((after - at) * g).astype(total.dtype)

    def finish(
        self, model: Model, x: jax.Array, y: jax.Array, keys: Any, state: Any, total: Any
    ) -> jax.Array:
        return total[1]
