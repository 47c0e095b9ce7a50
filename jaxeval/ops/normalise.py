"""Normalisation of attributions before they are scored."""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Bool, Float, Real

from ._common import as_float, extremes, known, largest, only, power_of_two
from .norm import norm

NORMALISE = ("max", "negative", "second_moment")


def _over(a: Array, size: Array) -> Array:
    # Multiply by the inverse: XLA rewrites divisions as products in some programs only, and equal
    # maps must give equal bits in all of them. In two steps, because the inverse of a number above
    # 2^126 is flushed to 0.
    size = jnp.where(size > 0, size, 1)
    scale = power_of_two(size)
    return a * (1 / scale) * (1 / (size / scale))


def prepare(
    a: Real[ArrayLike, "*shape"],
    normalise: str | None,
    absolute: bool,
    where: Bool[ArrayLike, "*shape"] | None = None,
) -> Float[Array, "*shape"]:
    """Normalise a map, then optionally take absolute values.

    Args:
      a: the map [...] of one sample.
      normalise: "max" divides by max |a|; "negative" divides positive entries by max a and
        negative ones by |min a|; "second_moment" divides by sqrt(mean(a^2)); None does nothing.
      absolute: whether to take |a| after normalising.
      where: mask of the real features, with the map's shape; None: all. Padding is set to 0 first.

    Returns:
      The prepared map [...]. A map of zeros is unchanged. NaN where a is NaN.

    Raises:
      ValueError: for an unknown name.

    >>> prepare(jnp.array([1.0, -4.0]), "max", absolute=True).tolist()
    [0.25, 1.0]
    """
    a = only(as_float(a), where)
    if normalise is not None:
        known("normalise", normalise, NORMALISE)
    if normalise == "max":
        a = _over(a, largest(a))
    elif normalise == "negative":
        a = jnp.where(a > 0, _over(a, a.max()), _over(a, -a.min()))
    elif normalise == "second_moment":
        a = _over(a, norm(a) / jnp.sqrt(a.size if where is None else jnp.sum(where)))
    return jnp.abs(a) if absolute else a


def unit_range(
    a: Real[ArrayLike, "*shape"], where: Bool[ArrayLike, "*shape"] | None = None
) -> Float[Array, "*shape"]:
    """(a - min a) / (max a - min a): the map rescaled to [0, 1].

    Args:
      a: the map [...] of one sample.
      where: bool mask of the entries to use, of the same shape; None: all. The others become 0.

    Returns:
      The rescaled map [...]. A constant map becomes 0.

    >>> unit_range(jnp.array([-1.0, 0.0, 3.0])).tolist()
    [0.0, 0.25, 1.0]
    """
    a = as_float(a)
    low, high = extremes(a, where)
    return only(_over(a - low, high - low), where)
