"""Attribution by the variance of the gradient over noisy inputs."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from ..model import Model
from ..types import pytree
from .noisy import NoisyExplainer


@pytree
class VarGrad(NoisyExplainer):
    """The variance of the gradient over noisy copies of the input.

    ``a = 1/S Σ_s (g_s - 1/S Σ_t g_t)² >= 0`` with ``g_s = ∂f_y(x + σ ε_s)/∂x``, ``ε_s ~ N(0, 1)``
    and ``σ = noise_level · (max x - min x)`` per sample; in the shape of x.

    Adebayo et al. 2018, "Local Explanation Methods for Deep Neural Networks Lack Sensitivity to
    Parameter Values". Corresponds to captum's `NoiseTunnel` with ``nt_type="vargrad"`` around the
    gradient. The variance is updated by Welford's method, which is robust against rounding errors.

    Args:
      n_samples: S, the number of noisy copies.
      noise_level: standard deviation of the noise, as a fraction of the sample's range.
      draws: ε [S, ...], each with the shape of one sample, used for every sample instead of random
        draws; S is then ``len(draws)``, and no keys are needed.

    >>> import jax, jax.numpy as jnp
    >>> from jaxeval import Model
    >>> square = Model(lambda p, x: jnp.sum(x**2, axis=1, keepdims=True), channel_axis=None)
    >>> e = VarGrad(noise_level=0.5, draws=jnp.array([[1.0, 1.0], [-1.0, 1.0]]))
    >>> e(square, jnp.array([[0.0, 1.0]]), jnp.array([0]))
    Array([[1., 0.]], dtype=float32)
    """

    def zero(self, model: Model, x: jax.Array, y: jax.Array, keys: Any, state: Any) -> Any:
        """The running mean, the sum of squared deviations, and the last gradient, not yet added."""
        zero = super().zero(model, x, y, keys, state)
        return zero, jnp.zeros_like(zero), jnp.zeros_like(zero)

    def add(
        self, total: Any, model: Model, x: jax.Array, y: jax.Array, keys: Any, state: Any, i: Any
    ) -> Any:
        # Use the gradient in one place only: for two uses, XLA's CPU backend materialises the
        # terms of the last layer's sum and adds them up twice.
        _, noisy = state
        g = self.input_gradient(model, noisy.reshape(x.shape), y)
        return *self._with_last(total, i), g.astype(total[2].dtype)

    def _with_last(self, total: Any, n: Any) -> tuple[jax.Array, jax.Array]:
        """Mean and squared deviations, including the last of n gradients."""
        mean, squares, g = total
        share = jnp.where(n > 0, 1 / jnp.maximum(n, 1), 0).astype(mean.dtype)
        away = g - mean  # Welford 1962: avoids cancellation
        return mean + share * away, squares + (1 - share) * (n > 0) * away**2

    def finish(
        self, model: Model, x: jax.Array, y: jax.Array, keys: Any, state: Any, total: Any
    ) -> jax.Array:
        return self._with_last(total, self.n_draws)[1] / self.n_draws
