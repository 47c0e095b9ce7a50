"""Attribution by removing one feature at a time."""

from __future__ import annotations

from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from ..model import Model
from ..types import pytree
from .grouped import Grouped, Shared


@pytree
class FeatureAblation(Grouped):
    """The drop of the score when a feature is set to the baseline.

    ``a_i = f_y(x) - f_y(x with x_i = b_i)`` for each feature i; all its entries get this value;
    signed, in the shape of x. Needs only forward passes, one per feature, so it also works with
    host models. Equal to captum's `FeatureAblation`.

    Args:
      patch: side of the square patches that are the features, or one side per axis.
      features: the feature index of each entry (captum's `feature_mask`): an array of integers
        from 0 that broadcasts to one sample, or a JAX function of one sample that returns one.
        Without `patch` and `features`, every entry is a feature.
      n_features: the number of features; required if `features` is a function.
      baseline: "zero", "black", "white", "mean", "channel_mean", "uniform", "uniform_value",
        "gaussian", "blur", "background mean", "background" (see `jaxeval.ops.baseline`), a number,
        or an array that broadcasts to one sample. Random baselines are drawn once per sample.

    >>> import jax.numpy as jnp
    >>> from jaxeval import Model
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

    def contribution(
        self, drawn: Any, present: jax.Array, z: jax.Array, y: jax.Array, shared: Shared, i: Any
    ) -> jax.Array:
        return jnp.where(present, 0, self.change(shared.logits, z, y)[:, None])

    def finish(
        self, model: Model, x: jax.Array, y: jax.Array, keys: Any, state: Any, total: jax.Array
    ) -> jax.Array:
        return self.spread(total, state, x)
