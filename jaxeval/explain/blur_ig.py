"""Attribution by the gradient along the path from a blurred input to the input."""

from __future__ import annotations

from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from .. import check
from ..model import Model
from ..types import pytree, static
from .stepped import SteppedExplainer


def blurred(x: jax.Array, sigma: Any, channel: int | None) -> jax.Array:
    """Samples x [N, ...] blurred by a Gaussian along every axis except the channels.

    Computed as a matrix product along each axis, with the Gaussian's mass on each entry as weights
    and zero padding at the border. Unlike a filter of fixed width, this allows a traced sigma of
    any size; 0 returns x.
    """
    out = x
    for axis in range(1, x.ndim):
        if axis - 1 == channel:
            continue
        n = x.shape[axis]
        distance = (jnp.arange(n)[:, None] - jnp.arange(n)[None]).astype(jnp.float32)
        scale = jnp.maximum(jnp.asarray(sigma, jnp.float32), 1e-6)
        mass = jax.scipy.stats.norm.cdf((distance + 0.5) / scale)
        mass = mass - jax.scipy.stats.norm.cdf((distance - 0.5) / scale)
        out = jnp.moveaxis(jnp.tensordot(out, mass.astype(x.dtype), ((axis,), (1,))), -1, axis)
    return out


@pytree
class BlurIG(SteppedExplainer):
    """The integral of the gradient along the path from a blurred input to x.

    ``a = -∫_0^σmax ∂f_y(L(σ))/∂L · ∂L(σ)/∂σ dσ`` with L(σ) the input x blurred by a Gaussian of
    standard deviation σ; signed, in the shape of x. Attributions sum to ``f_y(x) - f_y(L(σmax))``,
    up to quadrature error. The quadrature sums the gradient at the middle of each step times the
    change of L over the step; the steps grow with σ (they end at ``σmax (k / n_steps)²``).

    Xu et al. 2020, "Attribution in Scale and Space". The blur acts along all axes except the
    channels, with zero padding.

    Args:
      n_steps: number of steps; each costs one gradient of the batch.
      max_sigma: σmax, in entries of x; the paper's 50 removes nearly all structure from images.

    >>> import jax.numpy as jnp
    >>> from jaxeval import Model
    >>> total = Model(lambda p, x: jnp.sum(x, axis=1, keepdims=True), channel_axis=None)
    >>> a = BlurIG(max_sigma=1000.0)(total, jnp.array([[0.0, 4.0, 0.0]]), jnp.array([0]))
    >>> print(f"{a.sum():.2f}")
    4.00
    """

    on_tokens: ClassVar[str] = ""
    n_steps: int = static(default=50)
    max_sigma: Any = 50.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check.integer(self, "n_steps")
        check.real(self, "max_sigma", above=0)

    def steps(self, model: Model, x: jax.Array) -> int:
        return self.n_steps

    def zero(self, model: Model, x: jax.Array, y: jax.Array, keys: Any, state: Any) -> Any:
        """The first point of the path, x, and the sum."""
        return jnp.array(x), super().zero(model, x, y, keys, state)

    def ready(
        self, total: Any, model: Model, x: jax.Array, y: jax.Array, keys: Any, state: Any, i: Any
    ) -> Any:
        """The input blurred with σ at the middle and at the end of step i."""
        channel = model.sample_channel_axis(x.ndim - 1)
        sigmas = (self.max_sigma * ((i + t) / self.n_steps) ** 2 for t in (0.5, 1))
        return tuple(blurred(x, sigma, channel) for sigma in sigmas)

    def add(
        self, total: Any, model: Model, x: jax.Array, y: jax.Array, keys: Any, state: Any, i: Any
    ) -> Any:
        (near, total), (_, (middle, far)) = total, state
        return far, total + (near - far) * self.input_gradient(model, middle, y)

    def finish(
        self, model: Model, x: jax.Array, y: jax.Array, keys: Any, state: Any, total: Any
    ) -> jax.Array:
        return total[1]
