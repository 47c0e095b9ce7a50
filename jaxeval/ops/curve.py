"""Summaries of curves: areas, and resampling over information."""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array, lax
from jax.typing import ArrayLike
from jaxtyping import Bool, Float, Real

from ._common import as_float


def append(
    curve: Real[ArrayLike, " S"],
    value: Real[ArrayLike, ""],
    where: Bool[ArrayLike, " S"] | None = None,
) -> tuple[Float[Array, " S+1"], Bool[Array, " S+1"] | None]:
    """Append a point after the last valid point of a curve.

    Args:
      curve: points [S].
      value: the point to append.
      where: mask [S] of the valid points, which come first; None: all.

    Returns:
      (the curve [S + 1], the mask [S + 1] of its valid points, or None).

    >>> append(jnp.array([1.0, jnp.nan]), 2.0, jnp.array([True, False]))[0].tolist()
    [1.0, 2.0, nan]
    """
    curve = as_float(curve)
    if where is None:
        return jnp.append(curve, value), None
    where = jnp.append(where, False)
    here = jnp.arange(where.size) == where.sum()
    return jnp.where(here, value, jnp.append(curve, jnp.nan)), where | here


def area(
    curve: Real[ArrayLike, " S"], where: Bool[ArrayLike, " S"] | None = None
) -> Float[Array, ""]:
    """The area under S >= 1 evenly spaced points on [0, 1], by the trapezoidal rule.

    Args:
      curve: the points [S].
      where: mask [S] of the valid points, which come first; None: all.

    Returns:
      The area []; for a single point, its value. NaN without valid points.

    >>> print(area(jnp.array([1.0, 0.5, 0.0])))
    0.5
    """
    curve = as_float(curve)
    if where is not None:
        where = jnp.asarray(where)
        n, curve = where.sum(), jnp.where(where, curve, 0)
        total = jnp.where(where[1:], (curve[1:] + curve[:-1]) / 2, 0).sum()
        total = jnp.where(n > 1, total / jnp.maximum(n - 1, 1), curve[0])
        return jnp.where(n > 0, total, jnp.nan)
    return curve[0] if curve.size == 1 else jnp.mean((curve[1:] + curve[:-1]) / 2)


def information_curve(
    values: Real[ArrayLike, " S"], sizes: Real[ArrayLike, " S"]
) -> tuple[Float[Array, ""], Float[Array, " S"]]:
    """The area under values as a function of information, and the curve resampled at S even steps.

    Information is the compressed size of an image, scaled to 0 at the first point (nothing shown)
    and 1 at the last (everything shown), clipped to [0, 1] and replaced by its running maximum, so
    that it never decreases. The area uses the trapezoidal rule.

    Args:
      values: the model's score of each image [S].
      sizes: the compressed size of each image [S].

    Returns:
      (area [], values at information 0, ..., 1 [S]); NaN unless the last size is larger than the
      first.

    >>> information_curve(jnp.array([0.0, 1.0, 1.0]), jnp.array([10.0, 12.0, 18.0]))[0]
    Array(0.875, dtype=float32)
    """
    values, sizes = as_float(values), as_float(sizes)
    span = sizes[-1] - sizes[0]
    at = lax.cummax(jnp.clip((sizes - sizes[0]) / jnp.where(span > 0, span, 1), 0, 1))
    total = jnp.sum(jnp.diff(at) * (values[1:] + values[:-1]) / 2)
    # Interpolate between the last point at or before `even` and the next; points may coincide.
    even = jnp.linspace(0, 1, at.size, dtype=at.dtype)
    before = jnp.searchsorted(at, even, side="right") - 1
    after = jnp.minimum(before + 1, at.size - 1)
    gap = at[after] - at[before]
    share = (even - at[before]) / jnp.where(gap > 0, gap, 1)
    even = values[before] + share * (values[after] - values[before])
    return jnp.where(span > 0, total, jnp.nan), jnp.where(span > 0, even, jnp.nan)
