"""Attribution by replacing one feature at a time with values of other samples."""

from __future__ import annotations

from typing import Any, ClassVar

import jax

from .. import check
from ..model import Model
from ..ops import draw
from ..types import pytree, static
from .background import background, check_background
from .base import needs_keys
from .feature_ablation import FeatureAblation
from .grouped import Shared


@pytree
class FeaturePermutation(FeatureAblation):
    """The mean drop of the score when a feature takes the values of another sample.

    ``a_i = 1/S Σ_s f_y(x) - f_y(x with x_i = b_{s,i})`` for each feature i, with ``b_s`` drawn
    from `background`, independently for each feature; all entries of a feature get the same value;
    signed, in the shape of x. Also works with host models.

    Fisher et al. 2019, "All Models are Wrong, but Many are Useful". captum's `FeaturePermutation`
    permutes the samples of the batch, so its maps depend on the rest of the batch; here, values
    are drawn from the samples given as `background`.

    Args:
      background: samples [B, ...], each with the shape of one sample; None: one sample of zeros;
        "background": the samples given as `background=` of `jaxeval.evaluate`; "background mean":
        their mean.
      n_samples: S, the number of draws per feature.
      baseline: must stay "zero": values come from `background`.
      patch, features, n_features: the definition of a feature; see `FeatureAblation`.

    >>> import jax, jax.numpy as jnp
    >>> from jaxeval import Model
    >>> total = Model(lambda p, x: jnp.sum(x, axis=1, keepdims=True), channel_axis=None)
    >>> e = FeaturePermutation(background=jnp.ones((3, 2)))
    >>> e(total, jnp.array([[1.0, 4.0]]), jnp.array([0]), jax.random.split(jax.random.key(0), 1))
    Array([[0., 3.]], dtype=float32)
    """

    on_tokens: ClassVar[str] = ""
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
        ids = self.ids(model, x)
        return Shared(background(self, x), ids, z, z, ids)

    def drawn(self, keys: Any, n: int, i: Any, own: Any) -> jax.Array:
        """The indices of the background samples to use, [N]."""
        size = 1 if self.background is None else len(self.background)
        keys = jax.vmap(lambda key: draw.fold_in(key, i))(keys)
        return jax.vmap(lambda key: jax.random.randint(key, (), 0, size))(keys)

    def present(self, drawn: Any, shape: tuple[int, int], i: Any) -> jax.Array:
        return super().present(drawn, shape, i % shape[1])

    def replacement(self, drawn: Any, shared: Shared) -> jax.Array:
        return shared.baseline[drawn]

    def finish(
        self, model: Model, x: jax.Array, y: jax.Array, keys: Any, state: Any, total: jax.Array
    ) -> jax.Array:
        return super().finish(model, x, y, keys, state, total / self.n_samples)
