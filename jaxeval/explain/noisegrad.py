"""Attribution by the mean map over models with noisy weights."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .. import check
from ..model import Model
from ..ops import draw
from ..trace.params import trained, with_trained
from ..types import pytree, static
from .smoothed import check_explainer
from .stepped import SteppedExplainer, evenly


@pytree
class NoisyWeights(SteppedExplainer):
    """Base of methods that explain models with noisy weights.

    Args:
      explainer: the method that explains each model: an explainer or a function
        ``(model, x, y, keys) -> a`` with maps in the shape of x; None: the gradient.
      seed: seed of the noise on the weights, which is the same for all samples.
    """

    explainer: Any = None
    seed: Any = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        check.integer(self, "seed", 0)
        if self.explainer is not None:
            check_explainer(self)

    def noisy_weights(self, model: Model, level: Any, i: Any) -> list[jax.Array]:
        """The trained weights of the i-th model, times N(1, level²), each leaf flattened."""
        if model.host:
            raise TypeError(
                f"{type(self).__name__} changes the model's weights, and a host callable has none"
            )
        key = jax.random.key(jnp.asarray(self.seed).astype(jnp.uint32))
        weights = trained(model)
        ends = np.cumsum([np.size(v) for v in weights])
        draws = jnp.split(draw.normal(draw.fold_in(key, i), (sum(map(np.size, weights)),)), ends)

        def one(v: jax.Array, noise: jax.Array) -> jax.Array:
            return v.ravel() * (1 + jnp.asarray(level, v.dtype) * noise.astype(v.dtype))

        return [one(v, noise) for v, noise in zip(weights, draws, strict=False)]

    def noisy(self, model: Model, weights: list[jax.Array]) -> Model:
        """The model with these weights."""
        return with_trained(model, weights)

    def explained(self, model: Model, x: jax.Array, y: jax.Array, keys: Any) -> jax.Array:
        """The map for one of the models."""
        if self.explainer is None:
            return self.input_gradient(model, x, y)
        return self.explainer(model, x, y, keys)


@pytree
class NoiseGrad(NoisyWeights):
    """The mean map over models with noisy weights.

    ``a = 1/S Σ_s φ(x; θ η_s)`` with ``η_s ~ N(1, noise_level²)``, one factor for each trained
    weight, and φ the gradient ``∂f_y(x; θ)/∂x`` unless `explainer` is given; signed, in the shape
    of x.

    Bykov et al. 2022, "NoiseGrad: Enhancing Explanations by Introducing Stochasticity to Model
    Weights".

    Args:
      explainer: φ, an explainer or a function ``(model, x, y, keys) -> a`` with maps in the shape
        of x; None: the gradient of this explainer's `output`.
      seed: seed of the noise, which is the same for all samples, as in the paper.
      n_samples: S, the number of noisy models.
      noise_level: standard deviation of the factors.

    >>> import jax.numpy as jnp
    >>> from jaxeval import Model
    >>> net = Model(lambda w, x: x @ w, jnp.array([[1.0], [-2.0]]), channel_axis=None)
    >>> NoiseGrad(noise_level=0.0)(net, jnp.ones((1, 2)), jnp.array([0]))
    Array([[ 1., -2.]], dtype=float32)
    """

    n_samples: int = static(default=10)
    noise_level: Any = 0.2

    def __post_init__(self) -> None:
        super().__post_init__()
        check.integer(self, "n_samples")
        check.real(self, "noise_level", least=0)

    def steps(self, model: Model, x: jax.Array) -> int:
        return self.n_samples

    def ready(
        self, total: Any, model: Model, x: jax.Array, y: jax.Array, keys: Any, state: Any, i: Any
    ) -> Any:
        return self.noisy_weights(model, self.noise_level, i)

    def ahead(self, model: Model, x: jax.Array) -> int:
        return evenly(self.n_samples, sum(map(np.size, jax.tree.leaves(model.params))))

    def step(
        self, model: Model, x: jax.Array, y: jax.Array, keys: Any, state: Any, i: Any
    ) -> jax.Array:
        _, weights = state
        return self.explained(self.noisy(model, weights), x, y, keys)

    def finish(
        self, model: Model, x: jax.Array, y: jax.Array, keys: Any, state: Any, total: jax.Array
    ) -> jax.Array:
        return total / self.n_samples
