"""Attribution by the mean squared gradient over noisy inputs."""

from __future__ import annotations

from typing import Any

import jax

from ..model import Model
from ..types import pytree
from .noisy import NoisyExplainer


@pytree
class SmoothGradSquared(NoisyExplainer):
    """The mean of the squared gradient over noisy copies of the input.

    ``a = 1/S Σ_s (∂f_y(x + σ ε_s)/∂x)² >= 0`` with ``ε_s ~ N(0, 1)`` and
    ``σ = noise_level · (max x - min x)`` per sample; in the shape of x.

    Hooker et al. 2019, "A Benchmark for Interpretability Methods in Deep Neural Networks".
    Corresponds to captum's `NoiseTunnel` with ``nt_type="smoothgrad_sq"`` around the gradient.

    Args:
      n_samples: S, the number of noisy copies.
      noise_level: standard deviation of the noise, as a fraction of the sample's range.
      draws: ε [S, ...], each with the shape of one sample, used for every sample instead of random
        draws; S is then ``len(draws)``, and no keys are needed.

    >>> import jax, jax.numpy as jnp
    >>> from jaxeval import Model
    >>> square = Model(lambda p, x: jnp.sum(x**2, axis=1, keepdims=True), channel_axis=None)
    >>> e = SmoothGradSquared(noise_level=0.5, draws=jnp.ones((4, 2)))
    >>> e(square, jnp.array([[0.0, 1.0]]), jnp.array([0]))
    Array([[1., 9.]], dtype=float32)
    """

    def step(
        self, model: Model, x: jax.Array, y: jax.Array, keys: Any, state: Any, i: Any
    ) -> jax.Array:
        _, noisy = state
        return self.input_gradient(model, noisy.reshape(x.shape), y) ** 2

    def finish(
        self, model: Model, x: jax.Array, y: jax.Array, keys: Any, state: Any, total: jax.Array
    ) -> jax.Array:
        return total / self.n_draws
