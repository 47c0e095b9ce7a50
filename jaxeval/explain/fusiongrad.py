"""Attribution by the mean map over noisy models and noisy inputs."""

from __future__ import annotations

from typing import Any

import jax

from .. import check
from ..model import Model
from ..types import pytree, static
from .base import needs_keys
from .noisegrad import NoisyWeights
from .noisy import noisy_rows, share_of_range
from .stepped import evenly


@pytree
class FusionGrad(NoisyWeights):
    """The mean map over noisy models and noisy copies of the input.

    ``a = 1/(M S) Σ_m Σ_s φ(x + σ ε_ms; θ η_m)`` with ``η_m ~ N(1, weight_level²)`` for each
    trained weight, ``ε_ms ~ N(0, 1)``, ``σ = noise_level · (max x - min x)`` per sample, and φ the
    gradient unless `explainer` is given; signed, in the shape of x. It combines SmoothGrad and
    NoiseGrad.

    Bykov et al. 2022, "NoiseGrad: Enhancing Explanations by Introducing Stochasticity to Model
    Weights".

    Args:
      explainer: φ, an explainer or a function ``(model, x, y, keys) -> a`` with maps in the shape
        of x; None: the gradient of this explainer's `output`.
      seed: seed of the noise on the weights, which is the same for all samples.
      n_models: M, the number of noisy models.
      n_samples: S, the number of noisy copies per model.
      weight_level: standard deviation of the factors on the weights.
      noise_level: standard deviation of the input noise, as a fraction of the sample's range.

    >>> import jax, jax.numpy as jnp
    >>> from jaxeval import Model
    >>> net = Model(lambda w, x: x @ w, jnp.array([[1.0], [-2.0]]), channel_axis=None)
    >>> keys = jax.random.split(jax.random.key(0), 1)
    >>> FusionGrad(weight_level=0.0)(net, jnp.ones((1, 2)), jnp.array([0]), keys)
    Array([[ 1., -2.]], dtype=float32)
    """

    n_models: int = static(default=10)
    n_samples: int = static(default=10)
    weight_level: Any = 0.2
    noise_level: Any = 0.15

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("n_models", "n_samples"):
            check.integer(self, name)
        for name in ("weight_level", "noise_level"):
            check.real(self, name, least=0)

    def steps(self, model: Model, x: jax.Array) -> int:
        return self.n_models * self.n_samples

    def prepare(self, model: Model, x: jax.Array, y: jax.Array, keys: Any) -> Any:
        if keys is None:
            raise TypeError(needs_keys(self, "in its input noise", len(x)))
        return share_of_range(self.noise_level, model, x)

    def ready(
        self, total: Any, model: Model, x: jax.Array, y: jax.Array, keys: Any, state: Any, i: Any
    ) -> Any:
        weights = self.noisy_weights(model, self.weight_level, i // self.n_samples)
        return weights, noisy_rows(x, state, keys, i)

    def ahead(self, model: Model, x: jax.Array) -> int:
        width = evenly(self.n_samples, x.size)  # must divide the copies of one model
        return width if self.n_samples % width == 0 else 1

    def ready_ahead(self, width: int, total: Any, model: Model, *given: Any) -> Any:
        weights, _ = self.ready(total, model, *given)  # all steps use the same model
        _, noisy = super().ready_ahead(width, total, model, *given)
        return [v[None] for v in weights], noisy

    def step(
        self, model: Model, x: jax.Array, y: jax.Array, keys: Any, state: Any, i: Any
    ) -> jax.Array:
        _, (weights, noisy) = state
        return self.explained(self.noisy(model, weights), noisy.reshape(x.shape), y, keys)

    def finish(
        self, model: Model, x: jax.Array, y: jax.Array, keys: Any, state: Any, total: jax.Array
    ) -> jax.Array:
        return total / self.steps(model, x)
