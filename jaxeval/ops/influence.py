"""Errors of scores: of means, correlations and ratios over draws, and of areas under curves.

The influence of a draw is by how much, times the number of draws, it moves the score; their spread
is the standard error of the score (delta method; Hampel 1974).
"""

from __future__ import annotations

from statistics import NormalDist

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Bool, Float, Real

from ._common import as_float, largest, only, power_of_two

NORMAL = 1.959963984540054
"""The quantile of the normal distribution for 95 %."""
ENOUGH = 30
"""Effective draws for which the central limit theorem is trusted."""
FEWEST = 8
"""Draws of a correlation: fewer may all lie on a line by chance, and would seem sure."""


def _mean(v: Array, where: Array | None) -> Array:
    return v.mean(where=where)


def mean_influence(
    v: Real[ArrayLike, " S"], where: Bool[ArrayLike, " S"] | None = None
) -> Float[Array, " S"]:
    """The influence of each draw on the mean of v."""
    v, marks = as_float(v), _marks(where)
    return only(v - _mean(v, marks), marks)


def pearson_influence(
    u: Real[ArrayLike, " S"],
    v: Real[ArrayLike, " S"],
    where: Bool[ArrayLike, " S"] | None = None,
) -> Float[Array, " S"]:
    """The influence of each draw on the Pearson correlation r of u and v.

    u v - r (u^2 + v^2) / 2 of the standardised u and v. NaN where either is constant, and for
    fewer than 8 draws, which may lie on a line by chance.

    >>> abs(pearson_influence(jnp.arange(8.0), 2 * jnp.arange(8.0))).max() < 1e-6
    Array(True, dtype=bool)
    """
    marks = _marks(where)

    def standardised(w: Array) -> Array:
        w = only(w, marks)
        w = w / power_of_two(largest(w))
        w = only(w - _mean(w, marks), marks)
        return w / jnp.sqrt(_mean(w * w, marks))

    u, v = standardised(as_float(u)), standardised(as_float(v))
    r = _mean(u * v, marks)
    n = u.size if marks is None else marks.sum()
    return only(jnp.where(n < FEWEST, jnp.nan, u * v - r / 2 * (u * u + v * v)), marks)


def half_width(
    influence: Float[ArrayLike, "*shape"],
    where: Bool[ArrayLike, "*#shape"] | None = None,
    confidence: float = 0.95,
    enough: float | None = None,
) -> tuple[Float[Array, ""], Float[Array, ""], Bool[Array, ""]]:
    """(half width of the interval of a score, effective draws, whether tails are heavy).

    The half width is ``t s / sqrt(n - 1)`` with s the root mean square of the influence of n draws
    and t Student's quantile. The effective draws are ``(sum I^2)^2 / sum I^4``: few if a few draws
    decide the score, n / 3 for normal influences, n / 9 for the correlation of normal values. If
    there are fewer than `enough`, the half width is enlarged by the root of what is missing; tails
    are heavy if half of them or more are. NaN for fewer than two draws.

    Args:
      influence: by how much each draw moves the score, times n.
      where: the draws to use; None: all.
      confidence: the coverage of the interval.
      enough: effective draws for which the central limit theorem is trusted; None: min(30, n / 6),
        as few draws cannot have more.

    >>> error, effective, heavy = half_width(jnp.array([1.0, -1.0, 1.0, -1.0]))
    >>> print(f"{error:.2f}", effective, heavy)
    1.84 4.0 False
    """
    influence = as_float(influence)
    marks = None if where is None else jnp.broadcast_to(where, influence.shape)
    n = jnp.asarray(influence.size if marks is None else marks.sum(), influence.dtype)
    influence = only(influence, marks)
    scale = largest(influence)
    square = (influence / jnp.where(scale > 0, scale, 1)) ** 2
    total = square.sum()
    effective = total**2 / jnp.where(total > 0, (square**2).sum(), 1)
    effective = jnp.where(total > 0, effective, n)
    missing = (wanted_draws(n) if enough is None else enough) / effective
    guard = jnp.sqrt(jnp.maximum(1, missing))
    quantile = students_quantile(n - 1, normal_quantile(confidence))
    error = quantile * scale * jnp.sqrt(total / (n * jnp.maximum(n - 1, 1))) * guard
    error, effective = (jnp.where(n > 1, v, jnp.nan) for v in (error, effective))
    return error, effective, missing > 2


def wanted_draws(n: ArrayLike) -> Array:
    """How many of n draws should be effective: a sixth, at most `ENOUGH`."""
    return jnp.minimum(ENOUGH, jnp.asarray(n) / 6)


def normal_quantile(confidence: float) -> float:
    """z, half the width of an interval of the standard normal distribution with this coverage.

    >>> print(f"{normal_quantile(0.95):.3f}")
    1.960
    """
    return NORMAL if confidence == 0.95 else NormalDist().inv_cdf((1 + confidence) / 2)


def students_quantile(degrees: ArrayLike, z: float = NORMAL) -> Array:
    """Student's quantile, given the normal one; off by at most 2 % from two degrees on (95 %).

    Source: Abramowitz and Stegun 1964, 26.7.5.

    >>> print(f"{students_quantile(10.0):.2f}")
    2.23
    """
    d = jnp.maximum(jnp.asarray(degrees), 1)
    first = (z**3 + z) / 4
    second = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    fourth = (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160
    return z + first / d + second / d**2 + third / d**3 + fourth / d**4


def quantile_interval(
    v: Real[ArrayLike, " S"],
    q: float,
    where: Bool[ArrayLike, " S"] | None = None,
    confidence: float = 0.95,
) -> tuple[Float[Array, ""], Float[Array, ""], Float[Array, ""]]:
    """(a quantile, the half width of its interval, the number of draws) for any distribution.

    The quantile is the smallest of n draws that at least q n do not exceed. The interval ends at
    draws, too: those ``q n -+ z sqrt(q (1 - q) n)`` th in order, rounded outwards; half its width
    is the larger distance of the two to the quantile. NaN for too few draws to have such ones.

    >>> v, error, n = quantile_interval(jnp.arange(1.0, 201.0), 0.95)
    >>> print(v, error, n)
    190.0 8.0 200.0
    """
    v, marks = jnp.ravel(as_float(v)), _marks(where)
    n = jnp.asarray(v.size if marks is None else marks.sum(), v.dtype)
    v = jnp.sort(v if marks is None else jnp.where(marks, v, jnp.inf))
    # The offset makes 0.2 of 10 give 2 in spite of binary rounding.
    middle, spread = jnp.ceil(q * n - 1e-3), normal_quantile(confidence) * jnp.sqrt(q * (1 - q) * n)
    low, high = jnp.floor(q * n - spread), jnp.ceil(q * n + spread) + 1

    def nth(k: Array) -> Array:
        return v[jnp.clip(k.astype(jnp.int32) - 1, 0, v.size - 1)]

    found = jnp.where(n > 0, nth(middle), jnp.nan)
    half = jnp.maximum(nth(high) - found, found - nth(low))
    return found, jnp.where((low >= 1) & (high <= n), half, jnp.nan), n


def curve_error(
    points: Float[ArrayLike, " S"],
    score: Float[ArrayLike, ""],
    complete: Bool[ArrayLike, ""] | bool,
) -> Float[Array, ""]:
    """By how much the area under a curve may differ from that with all its steps.

    ``|score - A| + |A - A_2| / 3 + 2 sqrt(sum e_i^2 / 3)``, with A the area under the points,
    evenly spaced on [0, 1], A_2 that under every second point (Richardson's estimate for curves
    that bend one way), and e_i half of the change between two points times their distance: what
    else is between points is taken to be uniform and independent. An estimate, not a bound.

    Args:
      points: S >= 2 points, from the first to the last state. NaN, at the end: not there.
      score: the score, an area under some of the points.
      complete: whether no state lies between the points; then nothing is unknown.

    >>> print(f"{curve_error(jnp.array([1.0, 0.0, 0.0]), 0.25, False):.3f}")
    0.372
    """
    points = as_float(points)
    change = jnp.diff(points)
    there = ~jnp.isnan(change)
    width = 1 / jnp.maximum(there.sum(), 1)
    area = only((points[1:] + points[:-1]) / 2, there).sum() * width
    e = only(change, there) * width / 2
    bend = points[2:] - 2 * points[1:-1] + points[:-2]
    bend = only(bend, ~jnp.isnan(bend))[::2].sum() * width / 2
    unknown = jnp.abs(score - area) + jnp.abs(bend) / 3 + 2 * jnp.sqrt((e**2).sum() / 3)
    return jnp.where(complete, 0, unknown)


def _marks(where: ArrayLike | None) -> Array | None:
    return None if where is None else jnp.ravel(jnp.asarray(where))
