"""What is said of a curve in one number."""

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
    """A curve with one more point after its last.

    Args:
      curve: points [S].
      value: the next.
      where: which points are there, the first so many; None: all.

    Returns:
      (the curve [S + 1], which of its points are there, or None).

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
    """The trapezoid area under S >= 1 points spread evenly on [0, 1].

    Args:
      curve: the points [S].
      where: which points are there, the first so many; None: all.

    Returns:
      The area []; one point is its own area. NaN of none.

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
    """The trapezoid area under values over information, and the values at S even steps of it.

    Information is the size of an image's code, 0 for the first point (nothing is shown) and 1 for
    the last (all of it); what lies outside is set to 0 or 1. It never falls: each point has at
    least that of those before it, so that rounding cannot reorder them.

    Args:
      values: what the model says of each image [S].
      sizes: the size of each image's code [S].

    Returns:
      (area [], values at 0, ..., 1 [S]); NaN where the last size is not above the first.

    >>> information_curve(jnp.array([0.0, 1.0, 1.0]), jnp.array([10.0, 12.0, 18.0]))[0]
    Array(0.875, dtype=float32)
    """
    values, sizes = as_float(values), as_float(sizes)
    span = sizes[-1] - sizes[0]
    at = lax.cummax(jnp.clip((sizes - sizes[0]) / jnp.where(span > 0, span, 1), 0, 1))
    total = jnp.sum(jnp.diff(at) * (values[1:] + values[:-1]) / 2)
    # Between the last point at or before it and the next; points may coincide.
    even = jnp.linspace(0, 1, at.size, dtype=at.dtype)
    before = jnp.searchsorted(at, even, side="right") - 1
    after = jnp.minimum(before + 1, at.size - 1)
    gap = at[after] - at[before]
    share = (even - at[before]) / jnp.where(gap > 0, gap, 1)
    even = values[before] + share * (values[after] - values[before])
    return jnp.where(span > 0, total, jnp.nan), jnp.where(span > 0, even, jnp.nan)
