"""Attribution by the mean of another method's maps over noisy inputs."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .. import check
from ..lifetime import jit
from ..model import Model
from ..ops import draw
from ..types import pytree, static
from .base import needs_keys
from .noisy import noisy_rows, share_of_range
from .stepped import SteppedExplainer

STREAM = 0x5F3759DF
"""Folded into the keys of the noise, to separate it from draws of the smoothed explainer."""


@pytree
class Function:
    """A plain function as an explainer pytree."""

    fn: Any = static()

    def __call__(self, model: Model, x: Any, y: Any, keys: Any) -> Any:
        return self.fn(model, x, y, keys)


def check_explainer(owner: Any) -> None:
    """Check that the field `explainer` is callable; wrap plain functions as pytrees."""
    given = owner.explainer
    if not callable(given) or isinstance(given, type):
        raise TypeError(
            f"{type(owner).__name__}(explainer=...) must be an explainer or a function "
            f"(model, x, y, keys) -> a, got {given!r}"
        )
    if jax.tree_util.all_leaves((given,)):
        object.__setattr__(owner, "explainer", Function(fn=given))


@pytree
class Smoothed(SteppedExplainer):
    """The mean of another explainer's maps over noisy copies of the input.

    ``a = 1/S Σ_s φ(x + σ ε_s)`` with ``ε_s ~ N(0, 1)`` and ``σ = noise_level · (max x - min x)``
    per sample; in the shape of φ's maps. With φ the gradient, it is SmoothGrad.

    Smilkov et al. 2017, "SmoothGrad: removing noise by adding noise".

    Args:
      explainer: φ, an explainer or a JAX function ``(model, x, y, keys) -> a``. If it is random,
        it gets the same key for all copies of a sample.
      n_samples: S, the number of noisy copies.
      noise_level: standard deviation of the noise, as a fraction of the sample's range.
      draws: ε [S, ...], each with the shape of one sample, used for every sample instead of random
        draws; S is then ``len(draws)``, and no keys are needed.

    The explained score is φ's `output`; that of `Smoothed` has no effect.

    >>> import jax, jax.numpy as jnp
    >>> from jaxeval import Model
    >>> square = Model(lambda p, x: jnp.sum(x**2, axis=1, keepdims=True), channel_axis=None)
    >>> x, y, draws = jnp.array([[0.0, 1.0]]), jnp.array([0]), jnp.ones((4, 2))
    >>> Smoothed(explainer=lambda m, x, y, keys: 2 * x, noise_level=0.5, draws=draws)(square, x, y)
    Array([[1., 3.]], dtype=float32)
    """

    explainer: Any
    n_samples: int = static(default=50)
    noise_level: Any = 0.1
    draws: Any = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_explainer(self)
        check.integer(self, "n_samples")
        check.real(self, "noise_level", least=0)
        check.array(self, "draws")
        check.draws(self, "draws", self.draws)

    def steps(self, model: Model, x: jax.Array) -> int:
        return self.n_samples if self.draws is None else len(self.draws)

    def prepare(self, model: Model, x: jax.Array, y: jax.Array, keys: Any) -> Any:
        if self.draws is None and keys is None:
            raise TypeError(needs_keys(self, "without draws", len(x)))
        if self.draws is not None and np.shape(self.draws)[1:] != x.shape[1:]:
            raise ValueError(
                f"the noise must have the shape [S, {', '.join(map(str, x.shape[1:]))}] for "
                f"samples of the shape {x.shape[1:]}, got {np.shape(self.draws)}"
            )
        return share_of_range(self.noise_level, model, x)

    def zero(self, model: Model, x: jax.Array, y: jax.Array, keys: Any, state: Any) -> jax.Array:
        if model.host:
            shape = np.shape(self.explainer(model, x, y, keys))
            return jnp.zeros(shape, jnp.promote_types(x.dtype, jnp.float32))
        return _zeros(self, model, x, y, keys)

    def ready(
        self, total: Any, model: Model, x: jax.Array, y: jax.Array, keys: Any, state: Any, i: Any
    ) -> Any:
        given = self.draws
        if given is None:
            own = jax.vmap(lambda key: draw.fold_in(key, STREAM))(keys)
            return noisy_rows(x, state, own, i)
        return noisy_rows(x, state, keys, i, jnp.asarray(given, x.dtype)[i])

    def step(
        self, model: Model, x: jax.Array, y: jax.Array, keys: Any, state: Any, i: Any
    ) -> jax.Array:
        _, noisy = state
        return self.explainer(model, noisy.reshape(x.shape), y, keys)

    def finish(
        self, model: Model, x: jax.Array, y: jax.Array, keys: Any, state: Any, total: jax.Array
    ) -> jax.Array:
        return total / self.steps(model, x)


@jit()
def _zeros(smoothed: Smoothed, *given: Any) -> jax.Array:
    maps = jax.eval_shape(smoothed.explainer, *given)
    return jnp.zeros(maps.shape, jnp.promote_types(maps.dtype, jnp.float32))
