"""Attribution by Shapley values, estimated from random orders of the features."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from .. import check, ops
from ..model import Model
from ..ops import draw
from ..types import pytree, static
from .base import needs_keys
from .grouped import Grouped, Shared
from .stepped import evenly, rows


@pytree
class ShapleyValueSampling(Grouped):
    """The mean gain in score when a feature is added to those before it in a random order.

    ``a_i = 1/S Σ_s f_y(before_s(i) ∪ {i}) - f_y(before_s(i))`` over random orders s of the
    features, where f of a set of features is the score of x with all others at the baseline; all
    entries of a feature get the same value; signed, in the shape of x. Summed over the features,
    attributions equal ``f_y(x) - f_y(b)``, for any number of orders. Also works with host models.

    Castro et al. 2009, "Polynomial calculation of the Shapley value based on sampling"; Štrumbelj
    & Kononenko 2010. Equal to captum's `ShapleyValueSampling` in distribution.

    Args:
      n_samples: S, the number of orders; each costs F - 1 forward passes for F features.
      patch: side of the square patches that are the features, or one side per axis.
      features: the feature index of each entry (captum's `feature_mask`): an array of integers
        from 0 that broadcasts to one sample, or a JAX function of one sample that returns one.
        Without `patch` and `features`, every entry is a feature.
      n_features: the number of features; required if `features` is a function.
      baseline: "zero", "black", "white", "mean", "channel_mean", "uniform", "uniform_value",
        "gaussian", "blur", "background mean", "background" (see `jaxeval.ops.baseline`), a number,
        or an array that broadcasts to one sample. Random baselines are drawn once per sample.

    >>> import jax, jax.numpy as jnp
    >>> from jaxeval import Model
    >>> total = Model(lambda p, x: jnp.sum(x, axis=1, keepdims=True), channel_axis=None)
    >>> keys = jax.random.split(jax.random.key(0), 1)
    >>> ShapleyValueSampling()(total, jnp.array([[1.0, 2.0, 4.0]]), jnp.array([0]), keys)
    Array([[1., 2., 4.]], dtype=float32)
    """

    n_samples: int = static(default=25)

    def __post_init__(self) -> None:
        super().__post_init__()
        check.integer(self, "n_samples")

    def _joins(self, n: int) -> int:
        """Steps per order: the scores of the empty and full sets are known. At least one."""
        return max(n - 1, 1)

    def steps(self, model: Model, x: jax.Array) -> int:
        return self.n_samples * self._joins(self.count(model, x))

    def prepare(self, model: Model, x: jax.Array, y: jax.Array, keys: Any) -> Any:
        if keys is None:
            raise TypeError(needs_keys(self, "in its orders", len(x)))
        return super().prepare(model, x, y, keys)

    def drawn(self, keys: Any, n: int, i: Any, own: Any) -> jax.Array:
        """The position of each feature in the order of step i, [N, F]."""

        def one(key: jax.Array, own: Any) -> jax.Array:
            key = draw.fold_in(key, i // self._joins(n))
            if own is None:
                return jax.random.permutation(key, n)
            last, bits = jnp.uint32(2**32 - 1), draw.bits(key, (n,))
            bits = jnp.where(jnp.arange(n) < own, jnp.minimum(bits, last - 1), last)
            return ops.places(jnp.argsort(bits))

        return jax.vmap(one)(keys, own)

    def ahead(self, model: Model, x: jax.Array) -> int:
        joins = self._joins(self.count(model, x))  # all steps of one order, drawn once
        return joins if evenly(joins, x.size) == joins else 1

    def ready_ahead(
        self,
        width: int,
        total: Any,
        model: Model,
        x: jax.Array,
        y: jax.Array,
        keys: Any,
        state: Any,
        i: Any,
    ) -> Any:
        n = self.count(model, x)
        order = self.drawn(keys, n, i, state.own)
        steps = i + jnp.arange(width)
        inputs = jax.vmap(lambda i: rows(self.masked_input(x, order, state, i, n)))(steps)
        return order[None], inputs

    def present(self, drawn: Any, shape: tuple[int, int], i: Any) -> jax.Array:
        return drawn <= i % self._joins(shape[1])

    def contribution(
        self, drawn: Any, present: jax.Array, z: jax.Array, y: jax.Array, shared: Shared, i: Any
    ) -> jax.Array:
        n = present.shape[1]
        places, at = drawn, i % self._joins(n)
        gain = self.change(z, shared.baseline_logits, y)[:, None]
        # The value of a set adds to the feature added last and subtracts from the one added next.
        gained = jnp.where(places == at, gain, 0) - jnp.where(places == at + 1, gain, 0)
        whole = self.change(shared.logits, shared.baseline_logits, y)[:, None]
        return gained + jnp.where((places == n - 1) & (at == n - 2), whole, 0)

    def finish(
        self, model: Model, x: jax.Array, y: jax.Array, keys: Any, state: Any, total: jax.Array
    ) -> jax.Array:
        return self.spread(total / self.n_samples, state, x)
