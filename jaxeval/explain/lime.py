"""Attribution by a sparse linear model, fitted locally."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from .. import check
from ..model import Model
from ..types import pytree, static
from .grouped import Shared, indices
from .surrogate import Surrogate

DISTANCES = ("cosine", "euclidean")
ROUNDS = 1000
"""Maximum number of rounds of coordinate descent."""
SETTLED = 1e-6
"""Stop when the coefficients change by less than this, relative to the largest."""


def lasso(gram: jax.Array, product: jax.Array, alpha: Any) -> jax.Array:
    """argmin_β ½ βᵀ gram β - productᵀ β + α |β|₁, by coordinate descent.

    >>> lasso(jnp.eye(2), jnp.array([3.0, 0.1]), 0.5)
    Array([2.5, 0. ], dtype=float32)
    """
    n = len(product)

    def coordinate(j: Any, beta: jax.Array) -> jax.Array:
        rest = product[j] - gram[j] @ beta + gram[j, j] * beta[j]
        new = jnp.sign(rest) * jnp.maximum(jnp.abs(rest) - alpha, 0)
        scale = gram[j, j]
        return beta.at[j].set(jnp.where(scale > 1e-12, new / jnp.maximum(scale, 1e-12), 0))

    def unsettled(state: Any) -> Any:
        _, change, size, rounds = state
        return (change > SETTLED * size) & (rounds < ROUNDS)

    def descend(state: Any) -> Any:
        beta, _, _, rounds = state
        new = lax.fori_loop(0, n, coordinate, beta)
        return new, jnp.abs(new - beta).max(), jnp.abs(new).max(), rounds + 1

    start = (jnp.zeros_like(product), jnp.asarray(jnp.inf, product.dtype), product.max() * 0, 0)
    return lax.while_loop(unsettled, descend, start)[0]


@pytree
class Lime(Surrogate):
    """A sparse linear model of the score as a function of which features are present.

    ``a = argmin_β,c 1/(2 Σ_s w_s) Σ_s w_s (f_y(S_s) - c - Σ_{i ∈ S_s} β_i)² + α |β|₁``, where f of
    a set of features is the score of x with all others at the baseline, each feature is in a set
    with probability 1/2, and ``w_s = exp(-d(x, x_s)² / width²)`` decreases with the distance d
    between x and the perturbed input x_s; all entries of a feature get the same value; signed, in
    the shape of x. Also works with host models.

    Ribeiro et al. 2016, "Why Should I Trust You?". Equal to captum's `Lime` with its defaults (a
    lasso with α = 0.01 and the cosine distance with width 1) in distribution.

    Args:
      n_samples: the number of sets S.
      alpha: the weight of the L1 penalty, in the units of the score.
      distance: "cosine" (1 - cosine similarity) or "euclidean", between inputs.
      width: width of the kernel.
      draws: sets [S, F] of zeros and ones, used for every sample instead of random draws.
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
    >>> a = Lime(alpha=0.0)(total, jnp.array([[1.0, 2.0, 4.0]]), jnp.array([0]), keys)
    >>> print(np.asarray(a).round(3))
    [[1. 2. 4.]]
    """

    alpha: Any = 0.01
    distance: str = static(default="cosine")
    width: Any = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check.real(self, "alpha", least=0)
        check.one_of(self, "distance", DISTANCES)
        check.real(self, "width", above=0)

    def prepare(self, model: Model, x: jax.Array, y: jax.Array, keys: Any) -> Any:
        shared, n = super().prepare(model, x, y, keys), self.count(model, x)
        ids = indices(shared.shown, x).reshape(len(x), -1)

        def sums(values: jax.Array) -> jax.Array:
            """Sums over each feature, and over the entries in none of them, [N, F + 1]."""
            zeros = jnp.zeros(n + 1, values.dtype)
            add = jax.vmap(lambda v, i: zeros.at[jnp.minimum(i, n)].add(v))
            return add(values.reshape(len(x), -1), ids)

        b = jnp.broadcast_to(shared.baseline, x.shape)
        if shared.own is not None:  # the distance of texts is that of which features are present
            x = (ids < n).reshape(x.shape).astype(jnp.float32)
            b = jnp.zeros_like(x)
        products = x * x, x * b, b * b, (x - b) ** 2
        return dataclasses.replace(shared, more=tuple(map(sums, products)))

    def draw(self, key: jax.Array, n: int, own: Any) -> jax.Array:
        drawn = jax.random.bernoulli(key, jnp.float32(0.5), (n,))
        return drawn if own is None else drawn & (jnp.arange(n) < own)

    def weights(self, present: jax.Array, shared: Shared) -> jax.Array:
        # Inner products of x and the perturbed input u, from sums over features.
        xx, xb, bb, apart = shared.more
        stays = jnp.pad(present, ((0, 0), (0, 1)))
        xu, uu = (jnp.where(stays, xx, other).sum(1) for other in (xb, bb))
        if self.distance == "euclidean":
            square = jnp.where(stays, 0, apart).sum(1)
        else:
            norms = jnp.sqrt(xx.sum(1) * uu)
            square = (1 - xu / jnp.maximum(norms, 1e-8)) ** 2
        return jnp.exp(-square / jnp.asarray(self.width, xx.dtype) ** 2)

    def solve(self, n: int, total: jax.Array, whole: jax.Array, own: Any) -> jax.Array:
        alpha = jnp.asarray(self.alpha, total.dtype)

        def one(moments: jax.Array) -> jax.Array:
            moments = moments / moments[n, n]
            # Centring eliminates the intercept.
            centred = moments - moments[:, n, None] * moments[None, n]
            return lasso(centred[:n, :n], centred[:n, n + 1], alpha)

        return jax.vmap(one)(total)
