"""Attribution by taking out one feature at a time."""

from __future__ import annotations

from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from ..model import Model
from ..types import pytree
from .grouped import Ground, Grouped


@pytree
class FeatureAblation(Grouped):
    """The fall of the score when a feature is set to the baseline.

    ``a_i = f_y(x) - f_y(x with x_i = b_i)`` for every feature i, the same at all of its entries;
    signed, in the shape of x. It asks for outputs only, so it serves host models too, once for
    each feature. Equal to captum's `FeatureAblation`.

    Args:
      patch: the side of the squares of a grid that are features, or one number for each axis.
      features: the feature of each entry (captum's `feature_mask`), an array of numbers from 0 on
        that broadcasts to one sample, or a JAX function of one sample that gives it. Without patch
        and features, every entry is a feature.
      n_features: how many there are, needed with a function.
      baseline: "zero", "black", "white", "mean", "channel_mean", "uniform", "uniform_value",
        "gaussian", "blur", "background mean", "background" (see `jaxeval.ops.baseline`), a number,
        or an array that broadcasts to one sample. Drawn once per sample where random.

    >>> import jax.numpy as jnp
    >>> from jaxeval.types import Model
    >>> total = Model(lambda p, x: jnp.sum(x, axis=1, keepdims=True), channel_axis=None)
    >>> e = FeatureAblation(features=jnp.array([0, 1, 1]))
    >>> e(total, jnp.array([[1.0, 2.0, 4.0]]), jnp.array([0]))
    Array([[1., 6., 6.]], dtype=float32)
    """

    from_baseline: ClassVar[bool] = False

    def steps(self, model: Model, x: jax.Array) -> int:
        return self.count(model, x)

    def present(self, drawn: Any, shape: tuple[int, int], i: Any) -> jax.Array:
        return jnp.broadcast_to(jnp.arange(shape[1]) != i, shape)

    def learnt(
        self, drawn: Any, present: jax.Array, z: jax.Array, y: jax.Array, ground: Ground, i: Any
    ) -> jax.Array:
        return jnp.where(present, 0, self.change(ground.logits, z, y)[:, None])

    def finish(
        self, model: Model, x: jax.Array, y: jax.Array, keys: Any, state: Any, total: jax.Array
    ) -> jax.Array:
        return self.spread(total, state.ids, x)
