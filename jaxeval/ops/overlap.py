"""How far two maps lie on the same entries."""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Float, Integer, Real

from ._common import as_float, largest, power_of_two
from .rank import top


def histogram_intersection(
    u: Real[ArrayLike, "*shape"], v: Real[ArrayLike, "*shape"]
) -> Float[Array, ""]:
    """sum_i min(p_i, q_i), with p = |u| / sum |u| and q = |v| / sum |v|.

    The intersection of two histograms over the entries (Swain and Ballard 1991), known as SIM
    where maps of saliency are compared.

    Args:
      u: an array of any shape.
      v: an array of the same shape.

    Returns:
      The intersection [], in [0, 1]. NaN where u or v is all zeros or holds NaN.

    >>> print(histogram_intersection(jnp.array([1.0, 1.0]), jnp.array([0.0, -3.0])))
    0.5
    """

    def share(w: Array) -> Array:
        # A product: XLA would divide once, by the product of both divisors, which overflows.
        w = jnp.abs(w) * (1 / power_of_two(largest(w)))
        total = w.sum()
        return w / jnp.where(total > 0, total, jnp.nan)

    return jnp.minimum(share(as_float(u)), share(as_float(v))).sum()


def top_k_overlap(
    u: Real[ArrayLike, "*shape"], v: Real[ArrayLike, "*shape"], k: Integer[ArrayLike, ""]
) -> Float[Array, ""]:
    """The share of the k largest entries of u that are among the k largest of v.

    Args:
      u: an array of any shape.
      v: an array of the same shape.
      k: a number from 1 to that of the entries; it may be traced.

    Returns:
      The share [], in [0, 1]; ties go to the lowest index. NaN where u or v holds NaN.

    >>> print(top_k_overlap(jnp.array([3.0, 2.0, 1.0]), jnp.array([0.0, 5.0, 4.0]), 2))
    0.5
    """
    u, v = as_float(u), as_float(v)
    share = (top(u, k) & top(v, k)).sum() / k
    return jnp.where(jnp.isnan(u).any() | jnp.isnan(v).any(), jnp.nan, share)
