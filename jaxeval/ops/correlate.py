"""Correlations and cosine similarity of two flattened maps."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Bool, Float, Real

from ._common import as_float, extremes, largest, only, power_of_two
from .rank import average_ranks

ROUNDING = 16
"""Tolerance of the test for constant arrays, in units in the last place (rounding of sums)."""


def _rescaled(v: Array) -> Array:
    return v / power_of_two(largest(v))


def _cosine(u: Array, v: Array, undefined: Array) -> Array:
    """u . v / (||u|| ||v||); u and v are rescaled so that squares neither over- nor underflow."""
    size = jnp.sqrt(jnp.sum(u * u)) * jnp.sqrt(jnp.sum(v * v))
    similarity = jnp.clip(jnp.sum(u * v) / size, -1, 1)
    return jnp.where(undefined, jnp.nan, similarity)


def pearson(
    u: Real[ArrayLike, "*shape"],
    v: Real[ArrayLike, "*shape"],
    where: Bool[ArrayLike, "*shape"] | None = None,
) -> Float[Array, ""]:
    """Pearson correlation: the cosine of u - mean(u) and v - mean(v).

    Independent of scale: values of magnitude 1e-30 are as accurate as values of magnitude 1.

    Args:
      u: an array of any shape.
      v: an array of the same shape.
      where: bool mask of the entries to use, of the same shape; None: all.

    Returns:
      The correlation [], in [-1, 1]. NaN where u or v is constant (up to rounding) or contains
      NaN.

    >>> print(pearson(jnp.array([1.0, 2.0, 3.0]), jnp.array([2e-30, 4e-30, 6e-30])))
    1.0
    """
    marks = None if where is None else jnp.ravel(jnp.asarray(where))

    def centred(w: Array) -> tuple[Array, Array]:
        """(w - mean(w), rescaled; whether w is constant)."""
        w = only(w, marks)
        low, high = extremes(w, marks)
        constant = high - low <= ROUNDING * jnp.finfo(w.dtype).eps * largest(w)
        w = _rescaled(w)
        # Centred twice: with a large offset, the rounding error of the first mean can be as large
        # as the deviations themselves.
        w = _rescaled(only(w - w.mean(where=marks), marks))
        return only(w - w.mean(where=marks), marks), constant

    # Both at once, so that every reduction is compiled once.
    both = jnp.stack([jnp.ravel(as_float(u)), jnp.ravel(as_float(v))])
    both, constant = jax.vmap(centred)(both)
    return _cosine(both[0], both[1], constant.any())


def spearman(
    u: Real[ArrayLike, "*shape"],
    v: Real[ArrayLike, "*shape"],
    where: Bool[ArrayLike, "*shape"] | None = None,
) -> Float[Array, ""]:
    """Spearman rank correlation: Pearson correlation of average ranks (ties share a rank).

    Args:
      u: an array of any shape.
      v: an array of the same shape.
      where: bool mask of the entries to use, of the same shape; None: all.

    Returns:
      The correlation [], in [-1, 1]. NaN where u or v is constant or contains NaN.

    >>> print(spearman(jnp.array([1.0, 2.0, 9.0]), jnp.array([3.0, 2.0, 1.0])))
    -1.0
    """
    marks = None if where is None else jnp.ravel(jnp.asarray(where))
    return pearson(average_ranks(u, marks), average_ranks(v, marks), marks)


def scaled_to(
    u: Real[ArrayLike, " S"],
    v: Real[ArrayLike, " S"],
    where: Bool[ArrayLike, " S"] | None = None,
) -> Float[Array, " S"]:
    """u times the factor beta = u . v / (u . u) that brings it closest to v; 0 for u = 0.

    Args:
      u, v: arrays [S].
      where: mask [S] of the entries that decide beta; None: all.

    >>> scaled_to(jnp.array([1.0, 2.0]), jnp.array([3.0, 6.0])).tolist()
    [3.0, 6.0]
    """
    u, v = as_float(u), as_float(v)
    power = (u * u).sum(where=where)
    return (u * v).sum(where=where) / jnp.where(power > 0, power, 1) * u


def cosine(u: Real[ArrayLike, "*shape"], v: Real[ArrayLike, "*shape"]) -> Float[Array, ""]:
    """Cosine similarity: u . v / (||u||_2 ||v||_2).

    Args:
      u: an array of any shape.
      v: an array of the same shape.

    Returns:
      The similarity [], in [-1, 1]. NaN where u or v is all zeros or contains NaN.

    >>> print(cosine(jnp.array([1.0, 0.0]), jnp.array([3.0, 4.0])))
    0.6
    """
    u, v = jnp.ravel(as_float(u)), jnp.ravel(as_float(v))
    return _cosine(_rescaled(u), _rescaled(v), (largest(u) == 0) | (largest(v) == 0))
