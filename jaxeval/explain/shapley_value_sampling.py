"""Attribution by Shapley values, estimated over random orders of the features."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from .. import check
from ..model import Model
from ..ops import draw
from ..types import pytree, static
from .base import evenly, needs_keys, rows
from .grouped import Ground, Grouped


@pytree
class ShapleyValueSampling(Grouped):
    """The mean gain of a feature when it joins others in a random order.

    ``a_i = 1/S Σ_s f_y(before_s(i) ∪ {i}) - f_y(before_s(i))`` over random orders s of the
    features, where f of a set of features is the score of x with all others at the baseline; the
    same at all entries of a feature; signed, in the shape of x. Over all features, attributions
    sum to ``f_y(x) - f_y(b)``, for any number of orders. It serves host models too.

    Castro et al. 2009, "Polynomial calculation of the Shapley value based on sampling"; Štrumbelj
    & Kononenko 2010. captum's `ShapleyValueSampling`, in distribution.

    Args:
      n_samples: S, the number of orders, each of as many steps as there are features, less one.
      patch: the side of the squares of a grid that are features, or one number for each axis.
      features: the feature of each entry (captum's `feature_mask`), an array of numbers from 0 on
        that broadcasts to one sample, or a JAX function of one sample that gives it. Without patch
        and features, every entry is a feature.
      n_features: how many there are, needed with a function.
      baseline: "zero", "black", "white", "mean", "channel_mean", "uniform", "uniform_value",
        "gaussian", "blur", "background mean", "background" (see `jaxeval.ops.baseline`), a number,
        or an array that broadcasts to one sample. Drawn once per sample where random.

    >>> import jax, jax.numpy as jnp
    >>> from jaxeval.types import Model
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
        """Steps an order: the empty and the full set are known. A single feature has one."""
        return max(n - 1, 1)

    def steps(self, model: Model, x: jax.Array) -> int:
        return self.n_samples * self._joins(self.count(model, x))

    def prepare(self, model: Model, x: jax.Array, y: jax.Array, keys: Any) -> Any:
        if keys is None:
            raise TypeError(needs_keys(self, "in its orders", len(x)))
        return super().prepare(model, x, y, keys)

    def drawn(self, keys: Any, n: int, i: Any) -> jax.Array:
        """Where each feature stands in the order of step i, [N, F]."""

        def one(key: jax.Array) -> jax.Array:
            return jax.random.permutation(draw.fold_in(key, i // self._joins(n)), n)

        return jax.vmap(one)(keys)

    def ahead(self, model: Model, x: jax.Array) -> int:
        joins = self._joins(self.count(model, x))  # the steps of an order, which is drawn once
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
        order = self.drawn(keys, n, i)
        steps = i + jnp.arange(width)
        inputs = jax.vmap(lambda i: rows(self.question(x, order, state, i, n)))(steps)
        return order[None], inputs

    def present(self, drawn: Any, shape: tuple[int, int], i: Any) -> jax.Array:
        return drawn <= i % self._joins(shape[1])

    def learnt(
        self, drawn: Any, present: jax.Array, z: jax.Array, y: jax.Array, ground: Ground, i: Any
    ) -> jax.Array:
        n = present.shape[1]
        places, at = drawn, i % self._joins(n)
        gain = self.change(z, ground.baseline_logits, y)[:, None]
        # What a set is worth counts for who joined last, and against who joins next.
        learnt = jnp.where(places == at, gain, 0) - jnp.where(places == at + 1, gain, 0)
        whole = self.change(ground.logits, ground.baseline_logits, y)[:, None]
        return learnt + jnp.where((places == n - 1) & (at == n - 2), whole, 0)

    def finish(
        self, model: Model, x: jax.Array, y: jax.Array, keys: Any, state: Any, total: jax.Array
    ) -> jax.Array:
        return self.spread(total / self.n_samples, state.ids, x)
