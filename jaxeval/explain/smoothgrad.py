"""Attribution by the mean gradient around the input."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .. import check
from ..types import Model, pytree, static
from .base import SteppedExplainer, needs_keys


@pytree
class SmoothGrad(SteppedExplainer):
    """The mean gradient over noisy copies of the input.

    ``a = 1/S Σ_s ∂f_y(x + σ ε_s)/∂x`` with ``ε_s ~ N(0, 1)`` and
    ``σ = noise_level · (max x - min x)`` of the sample; signed, in the shape of x.

    Smilkov et al. 2017, "SmoothGrad: removing noise by adding noise".

    Args:
      n_samples: S, the number of noisy copies.
      noise_level: the noise's standard deviation as a share of the sample's range.
      draws: ε [S, ...], each the shape of one sample, used for every sample instead of random
        draws; S is then the length of `draws`, and no keys are needed.

    >>> import jax, jax.numpy as jnp
    >>> from jaxeval.types import Model
    >>> square = Model(lambda p, x: jnp.sum(x**2, axis=1, keepdims=True), channel_axis=None)
    >>> x, y, keys = jnp.array([[0.0, 1.0]]), jnp.array([0]), jax.random.split(jax.random.key(0), 1)
    >>> SmoothGrad(n_samples=10)(square, x, y, keys).shape
    (1, 2)
    >>> SmoothGrad(noise_level=0.5, draws=jnp.ones((4, 2)))(square, x, y)
    Array([[1., 3.]], dtype=float32)
    """

    n_samples: int = static(default=50)
    noise_level: Any = 0.15
    draws: Any = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check.integer(self, "n_samples")
        check.real(self, "noise_level", least=0)
        if self.draws is not None and (np.ndim(self.draws) < 2 or np.shape(self.draws)[0] < 1):
            raise ValueError(
                "SmoothGrad(draws=...) must be an array [S, ...] of S draws in the shape of one "
                f"sample, got the shape {np.shape(self.draws)}"
            )

    def steps(self, model: Model, x: jax.Array) -> int:
        return self.n_samples if self.draws is None else len(self.draws)

    def prepare(self, model: Model, x: jax.Array, y: jax.Array, keys: Any) -> Any:
        if self.draws is None and keys is None:
            raise TypeError(needs_keys(self, "without draws", len(x)))
        if self.draws is not None and np.shape(self.draws)[1:] != x.shape[1:]:
            raise ValueError(
                f"SmoothGrad(draws=...) must have the shape [S, {', '.join(map(str, x.shape[1:]))}]"
                f" for samples of the shape {x.shape[1:]}, got {np.shape(self.draws)}"
            )
        axes = tuple(range(1, x.ndim))
        spread = x.max(axes, keepdims=True) - x.min(axes, keepdims=True)
        return jnp.asarray(self.noise_level, x.dtype) * spread

    def step(
        self, model: Model, x: jax.Array, y: jax.Array, keys: Any, state: Any, i: Any
    ) -> jax.Array:
        def draw(key: jax.Array) -> jax.Array:
            return jax.random.normal(jax.random.fold_in(key, i), x.shape[1:], x.dtype)

        given = self.draws
        noise = jax.vmap(draw)(keys) if given is None else jnp.asarray(given, x.dtype)[i]
        return self.input_gradient(model, x + state * noise, y)

    def finish(
        self, model: Model, x: jax.Array, y: jax.Array, keys: Any, state: Any, total: jax.Array
    ) -> jax.Array:
        return total / self.steps(model, x)
