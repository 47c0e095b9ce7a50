"""Attribution by Shapley values, estimated by weighted regression."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .. import ops
from ..ops import draw
from ..types import pytree
from .surrogate import Surrogate

RIDGE = 1e-6
"""Added to the diagonal of the mean of present · presentᵀ: with fewer sets than features, the
least-squares solution is not unique."""


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
    exact.

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

    def solve(self, moments: jax.Array, whole: jax.Array, own: Any) -> jax.Array:
        n = len(moments) - 2
        mean = moments / moments[n, n]
        gram, product = mean[:n, :n] + RIDGE * jnp.eye(n), mean[:n, n + 1]
        used = jnp.ones(n, gram.dtype)
        if own is not None:
            used = (jnp.arange(n) < own).astype(gram.dtype)
            gram += jnp.diag(1 - used)
        factor = jax.scipy.linalg.cho_factor(gram)
        free = jax.scipy.linalg.cho_solve(factor, product)
        ones = jax.scipy.linalg.cho_solve(factor, used)
        return free - ones * (free.sum() - whole) / ones.sum()
