"""Attribution by another method's maps, for the model and its like, around the input."""

from __future__ import annotations

from typing import Any

import jax

from .. import check
from ..types import Model, pytree, static
from .base import AHEAD, needs_keys
from .noisegrad import NoisyWeights
from .noisy import noisy_rows, share_of_range


@pytree
class FusionGrad(NoisyWeights):
    """The mean map over noisy models and noisy copies of the input.

    ``a = 1/(M S) Σ_m Σ_s φ(x + σ ε_ms; θ η_m)`` with ``η_m ~ N(1, weight_level²)`` for each
    trained weight, ``ε_ms ~ N(0, 1)``, ``σ = noise_level · (max x - min x)`` of the sample, and
    the gradient as φ unless another is given; signed, in the shape of x. SmoothGrad and NoiseGrad
    in one.

    Bykov et al. 2022, "NoiseGrad: Enhancing Explanations by Introducing Stochasticity to Model
    Weights".

    Args:
      explainer: φ, an explainer or a function ``(model, x, y, keys) -> a`` with maps in the shape
        of x; None is the gradient of this explainer's `output`.
      seed: of the noise on the weights, which is the same for all samples.
      n_models: M, the number of noisy models.
      n_samples: S, the number of noisy copies for each of them.
      weight_level: the standard deviation of the factors on the weights.
      noise_level: the input noise's standard deviation as a share of the sample's range.

    >>> import jax, jax.numpy as jnp
    >>> from jaxeval.types import Model
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
        return share_of_range(self.noise_level, x)

    def ready(
        self, total: Any, model: Model, x: jax.Array, y: jax.Array, keys: Any, state: Any, i: Any
    ) -> Any:
        return self.noise(model, i // self.n_samples), noisy_rows(x, state, keys, i)

    def ahead(self, model: Model, x: jax.Array) -> int:
        most = min(max(1, AHEAD // max(1, x.size)), self.n_samples)
        return next(n for n in range(most, 0, -1) if self.n_samples % n == 0)

    def ready_ahead(self, width: int, total: Any, model: Model, *given: Any) -> Any:
        *given, i = given
        _, noisy = super().ready_ahead(width, total, model, *given, i)
        return self.noise(model, i // self.n_samples)[None], noisy  # all are of one model

    def step(
        self, model: Model, x: jax.Array, y: jax.Array, keys: Any, state: Any, i: Any
    ) -> jax.Array:
        _, (noise, noisy) = state
        model = self.noisy(model, self.weight_level, noise)
        return self.explained(model, noisy.reshape(x.shape), y, keys)

    def finish(
        self, model: Model, x: jax.Array, y: jax.Array, keys: Any, state: Any, total: jax.Array
    ) -> jax.Array:
        return total / self.steps(model, x)
