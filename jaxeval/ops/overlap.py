"""Overlap of two maps."""

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

    The histogram intersection of Swain and Ballard (1991), known as SIM in saliency benchmarks.

    Args:
      u: an array of any shape.
      v: an array of the same shape.

    Returns:
      The intersection [], in [0, 1]. NaN where u or v is all zeros or contains NaN.

    >>> print(histogram_intersection(jnp.array([1.0, 1.0]), jnp.array([0.0, -3.0])))
    0.5
    """

    def share(w: Array) -> Array:
        # Multiply by the inverse: XLA merges two divisions into one by the product of the
        # divisors, which can overflow.
        w = jnp.abs(w) * (1 / power_of_two(largest(w)))
        total = w.sum()
        return w / jnp.where(total > 0, total, jnp.nan)

    return jnp.minimum(share(as_float(u)), share(as_float(v))).sum()


def top_k_overlap(
    u: Real[ArrayLike, "*shape"], v: Real[ArrayLike, "*shape"], k: Integer[ArrayLike, ""]
) -> Float[Array, ""]:
    """The fraction of the k largest entries of u that are also among the k largest of v.

    Args:
      u: an array of any shape.
      v: an array of the same shape.
      k: from 1 to the number of entries; may be traced.

    Returns:
      The fraction [], in [0, 1]; ties go to the lowest index. NaN where u or v contains NaN.

    >>> print(top_k_overlap(jnp.array([3.0, 2.0, 1.0]), jnp.array([0.0, 5.0, 4.0]), 2))
    0.5
    """
    u, v = as_float(u), as_float(v)
    share = (top(u, k) & top(v, k)).sum() / k
    return jnp.where(jnp.isnan(u).any() | jnp.isnan(v).any(), jnp.nan, share)
