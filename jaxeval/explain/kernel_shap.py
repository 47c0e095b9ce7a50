"""Attribution by Shapley values, estimated by weighted regression."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .. import ops
from ..ops import draw
from ..types import pytree
from .grouped import Shared
from .surrogate import Surrogate

FEW = 2
"""With fewer sets than this many times the features, the sets are kept one by one: squared, as in
their moments, rounding would decide where they hardly tell features apart."""
POOR = 1e-4
"""The least squared pivot of moments that tell all features apart."""
UNTOLD = 1e-6
"""The share of a vector, squared, from which it counts as not only rounding."""


def least_squares(
    vectors: jax.Array, size: jax.Array, values: jax.Array, whole: jax.Array, used: jax.Array
) -> jax.Array:
    """The φ of least norm among the least-squares solutions with the sum `whole`.

    Args:
      vectors: right singular vectors of the sets [R, F].
      size: their singular values [R].
      values: the scores, as seen by the left singular vectors [R].
      used: 1 for features of the sample, else 0 [F].
    """
    told = size > size.max() * max(vectors.shape) * jnp.finfo(size.dtype).eps
    inverse = jnp.where(told, 1 / jnp.where(told, size, 1), 0)
    vectors = jnp.where(told[:, None], vectors, 0)
    free, seen = (inverse * values) @ vectors, vectors @ used
    untold = used - seen @ vectors
    towards = jnp.where(
        untold @ untold > UNTOLD * (used @ used), untold, (inverse**2 * seen) @ vectors
    )
    return free - towards * (free.sum() - whole) / towards.sum()


@pytree
class KernelShap(Surrogate):
    """Shapley values, estimated by regression on random sets of features.

    ``a = argmin_φ Σ_s (f_y(S_s) - f_y(b) - Σ_{i ∈ S_s} φ_i)²`` with ``Σ_i φ_i = f_y(x) - f_y(b)``,
    where f of a set of features is the score of x with all others at the baseline b, and a set of
    k of F features is drawn with probability proportional to the Shapley kernel
    ``(F - 1) / (C(F, k) k (F - k))``;
    all entries of a feature get the same value; signed, in the shape of x. Also works with host
    models.

    Lundberg & Lee 2017, "A Unified Approach to Interpreting Model Predictions". Equal to
    captum's `KernelShap` in distribution; captum enforces the sum by large weights, here it is
    exact. Where fewer sets than features leave φ undetermined, it is the one of least norm.

    Args:
      n_samples: the number of sets; should be several times the number of features.
      draws: sets [S, F] of zeros and ones, used for every sample instead of random draws; all have
        equal weight, so they should be distributed like the kernel.
      patch: side of the square patches that are the features, or one side per axis.
      features: the feature index of each entry (captum's `feature_mask`): an array of integers
        from 0 that broadcasts to one sample, or a JAX function of one sample that returns one.
        Without `patch` and `features`, every entry is a feature. Memory: N F² numbers.
      n_features: the number of features; required if `features` is a function.
      baseline: "zero", "black", "white", "mean", "channel_mean", "uniform", "uniform_value",
        "gaussian", "blur", "background mean", "background" (see `jaxeval.ops.baseline`), a number,
        or an array that broadcasts to one sample. Random baselines are drawn once per sample.

    >>> import jax, jax.numpy as jnp, numpy as np
    >>> from jaxeval import Model
    >>> total = Model(lambda p, x: jnp.sum(x, axis=1, keepdims=True), channel_axis=None)
    >>> keys = jax.random.split(jax.random.key(0), 1)
    >>> a = KernelShap()(total, jnp.array([[1.0, 2.0, 4.0]]), jnp.array([0]), keys)
    >>> print(np.asarray(a).round(3))
    [[1. 2. 4.]]
    """

    def draw(self, key: jax.Array, n: int, own: Any) -> jax.Array:
        size, order = jax.random.split(key)
        k, bits = np.arange(1, max(n, 2)), draw.bits(order, (n,))
        if own is None:
            chance = jnp.asarray(-np.log(k * np.maximum(n - k, 1.0)), jnp.float32)
        else:
            kernel = -jnp.log(k * jnp.maximum(own - k, 1).astype(jnp.float32))
            chance = jnp.where(k < jnp.maximum(own, 2), kernel, -jnp.inf)
            last = jnp.uint32(2**32 - 1)
            bits = jnp.where(jnp.arange(n) < own, jnp.minimum(bits, last - 1), last)
        chosen = 1 + jax.random.categorical(size, chance)
        return ops.smallest(bits, chosen)

    def contribution_shape(self, n: int) -> tuple[int, ...]:
        return (self.n_sets, n + 1) if self.n_sets < FEW * n else super().contribution_shape(n)

    def contribution(
        self, drawn: Any, present: jax.Array, z: jax.Array, y: jax.Array, shared: Shared, i: Any
    ) -> jax.Array:
        if self.n_sets >= FEW * present.shape[1]:
            return super().contribution(drawn, present, z, y, shared, i)
        score = self.change(z, shared.baseline_logits, y)[:, None]
        row = jnp.concatenate([present.astype(score.dtype), score], 1)
        return jnp.where((jnp.arange(self.n_sets) == i)[:, None], row[:, None], 0)

    def solve(self, n: int, total: jax.Array, whole: jax.Array, own: Any) -> jax.Array:
        used = jnp.ones((len(total), n), total.dtype)
        if own is not None:
            used = (jnp.arange(n) < own[:, None]).astype(total.dtype)
        given = total, whole, used
        if self.n_sets < FEW * n:
            return jax.vmap(_of_sets)(*given)
        found, poor = jax.vmap(_of_moments)(*given)
        robust = functools.partial(jax.vmap(_of_poor_moments), *given)
        return jnp.where(poor[:, None], jax.lax.cond(poor.any(), robust, lambda: found), found)


def _of_sets(rows: jax.Array, whole: jax.Array, used: jax.Array) -> jax.Array:
    left, size, vectors = jnp.linalg.svd(rows[:, :-1], full_matrices=False)
    return least_squares(vectors, size, rows[:, -1] @ left, whole, used)


def _moments(total: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The means of present · presentᵀ, and of present times the score."""
    n = len(total) - 2
    mean = total / total[n, n]
    return mean[:n, :n], mean[:n, n + 1]


def _of_moments(total: jax.Array, whole: jax.Array, used: jax.Array) -> tuple[jax.Array, jax.Array]:
    """(φ, whether it is of no use, as the sets do not tell all features apart)."""
    gram, product = _moments(total)
    factor = jax.scipy.linalg.cho_factor(gram + jnp.diag(1 - used))
    free = jax.scipy.linalg.cho_solve(factor, product)
    ones = jax.scipy.linalg.cho_solve(factor, used)
    found = free - ones * (free.sum() - whole) / ones.sum()
    return found, ~(jnp.diagonal(factor[0]).min() ** 2 > POOR)


def _of_poor_moments(total: jax.Array, whole: jax.Array, used: jax.Array) -> jax.Array:
    gram, product = _moments(total)
    square, columns = jnp.linalg.eigh(gram)
    rounding = square.max() * len(gram) * jnp.finfo(square.dtype).eps
    size = jnp.sqrt(jnp.where(square > rounding, square, 0))
    seen = (product @ columns) / jnp.where(size > 0, size, 1)
    return least_squares(columns.T, size, seen, whole, used)
