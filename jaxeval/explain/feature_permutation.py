"""Attribution by putting other samples' values in place of one feature at a time."""

from __future__ import annotations

from typing import Any

import jax

from .. import check
from ..model import Model
from ..ops import draw
from ..types import pytree, static
from .background import background, check_background
from .base import needs_keys
from .feature_ablation import FeatureAblation
from .grouped import Ground


@pytree
class FeaturePermutation(FeatureAblation):
    """The mean fall of the score when a feature takes the values of another sample.

    ``a_i = 1/S Σ_s f_y(x) - f_y(x with x_i = b_{s,i})`` for every feature i, with ``b_s`` drawn
    from `background`, anew for each feature; the same at all of a feature's entries; signed, in
    the shape of x. It serves host models too.

    Fisher et al. 2019, "All Models are Wrong, but Many are Useful". captum's `FeaturePermutation`
    takes the other samples of the batch in random order, so that a map depends on what else is in
    the batch; here they are drawn from samples of your own, which may be the same.

    Args:
      background: samples [B, ...], each the shape of one sample; None is one of zeros;
        "background": those of `jaxeval.evaluate`; "background mean": their mean.
      n_samples: S, the draws for each feature.
      patch, features, n_features: what a feature is; see `FeatureAblation`.

    >>> import jax, jax.numpy as jnp
    >>> from jaxeval.types import Model
    >>> total = Model(lambda p, x: jnp.sum(x, axis=1, keepdims=True), channel_axis=None)
    >>> e = FeaturePermutation(background=jnp.ones((3, 2)))
    >>> e(total, jnp.array([[1.0, 4.0]]), jnp.array([0]), jax.random.split(jax.random.key(0), 1))
    Array([[0., 3.]], dtype=float32)
    """

    background: Any = None
    n_samples: int = static(default=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_background(self)
        if not isinstance(self.baseline, str) or self.baseline != "zero":
            raise ValueError(
                "FeaturePermutation takes values from background=..., not baseline=..."
            )
        check.integer(self, "n_samples")

    def steps(self, model: Model, x: jax.Array) -> int:
        return self.n_samples * self.count(model, x)

    def prepare(self, model: Model, x: jax.Array, y: jax.Array, keys: Any) -> Any:
        if keys is None:
            raise TypeError(needs_keys(self, "in its draws", len(x)))
        z = model(x)
        return Ground(background(self, x), self.ids(model, x), z, z)

    def drawn(self, keys: Any, n: int, i: Any) -> jax.Array:
        """Which samples of the background."""
        size = 1 if self.background is None else len(self.background)
        keys = jax.vmap(lambda key: draw.fold_in(key, i))(keys)
        return jax.vmap(lambda key: jax.random.randint(key, (), 0, size))(keys)

    def present(self, drawn: Any, shape: tuple[int, int], i: Any) -> jax.Array:
        return super().present(drawn, shape, i % shape[1])

    def there(self, drawn: Any, ground: Ground) -> jax.Array:
        return ground.baseline[drawn]

    def finish(
        self, model: Model, x: jax.Array, y: jax.Array, keys: Any, state: Any, total: jax.Array
    ) -> jax.Array:
        return super().finish(model, x, y, keys, state, total / self.n_samples)
