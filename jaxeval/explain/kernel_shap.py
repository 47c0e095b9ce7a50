"""Attribution by Shapley values, as a weighted regression."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from .. import ops
from ..ops import draw
from ..types import pytree
from .surrogate import Surrogate

RIDGE = 1e-6
"""Added to the diagonal of the mean of present · presentᵀ: with fewer sets than features, there
is no single best fit."""


@pytree
class KernelShap(Surrogate):
    """Shapley values by regression on random sets of features.

    ``a = argmin_φ Σ_s (f_y(S_s) - f_y(b) - Σ_{i ∈ S_s} φ_i)²`` with ``Σ_i φ_i = f_y(x) - f_y(b)``,
    where f of a set of features is the score of x with all others at the baseline b, and a set of
    k of F features is drawn in proportion to the Shapley kernel ``(F - 1) / (C(F, k) k (F - k))``;
    the same at all entries of a feature; signed, in the shape of x. It serves host models too.

    Lundberg & Lee 2017, "A Unified Approach to Interpreting Model Predictions". captum's
    `KernelShap`, in distribution; there the sum holds by large weights, here exactly.

    Args:
      n_samples: the number of sets; some times the number of features.
      draws: sets [S, F] of zeros and ones, used for every sample instead of random draws; each
        counts once, so they should follow the kernel.
      patch: the side of the squares of a grid that are features, or one number for each axis.
      features: the feature of each entry (captum's `feature_mask`), an array of numbers from 0 on
        that broadcasts to one sample, or a JAX function of one sample that gives it. Without patch
        and features, every entry is a feature. Memory is that of N F² numbers.
      n_features: how many there are, needed with a function.
      baseline: "zero", "black", "white", "mean", "channel_mean", "uniform", "uniform_value",
        "gaussian", "blur", "background mean", "background" (see `jaxeval.ops.baseline`), a number,
        or an array that broadcasts to one sample. Drawn once per sample where random.

    >>> import jax, jax.numpy as jnp, numpy as np
    >>> from jaxeval.types import Model
    >>> total = Model(lambda p, x: jnp.sum(x, axis=1, keepdims=True), channel_axis=None)
    >>> keys = jax.random.split(jax.random.key(0), 1)
    >>> a = KernelShap()(total, jnp.array([[1.0, 2.0, 4.0]]), jnp.array([0]), keys)
    >>> print(np.asarray(a).round(3))
    [[1. 2. 4.]]
    """

    def draw(self, key: jax.Array, n: int) -> jax.Array:
        size, order = jax.random.split(key)
        k = np.arange(1, max(n, 2))
        chance = jnp.asarray(-np.log(k * np.maximum(n - k, 1.0)), jnp.float32)
        chosen = 1 + jax.random.categorical(size, chance)
        return ops.smallest(draw.bits(order, (n,)), chosen)

    def solve(self, moments: jax.Array, whole: jax.Array) -> jax.Array:
        n = len(moments) - 2
        mean = moments / moments[n, n]
        gram, product = mean[:n, :n] + RIDGE * jnp.eye(n), mean[:n, n + 1]
        factor = jax.scipy.linalg.cho_factor(gram)
        free = jax.scipy.linalg.cho_solve(factor, product)
        ones = jax.scipy.linalg.cho_solve(factor, jnp.ones(n, gram.dtype))
        return free - ones * (free.sum() - whole) / ones.sum()
