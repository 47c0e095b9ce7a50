"""Histograms of a map's values, and their entropy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Bool, Float, Int32, Integer, Real

from ._common import as_float, extremes, known, only

BIN_RULES = ("freedman_diaconis", "scott", "sqrt", "sturges", "rice")
MIN_BINS, MAX_BINS = 10, 200
"""Limits of the number of bins; for a map of mostly zeros, the rules give 1 or infinity."""


def n_bins(
    v: Real[ArrayLike, "*shape"], rule: str, where: Bool[ArrayLike, "*shape"] | None = None
) -> Int32[Array, ""]:
    """The number of histogram bins for v by a named rule, rounded up and clipped to 10..200.

    For F values with range R, standard deviation s and interquartile range Q: R F^(1/3) / (2 Q)
    for "freedman_diaconis", R F^(1/3) / ((24 sqrt(pi))^(1/3) s) for "scott", sqrt(F) for "sqrt",
    log2(F) + 1 for "sturges", 2 F^(1/3) for "rice", as in `numpy.histogram_bin_edges`. `where`
    selects the values to use; None: all.

    Returns:
      The number of bins []; 200 where Q or s is 0.

    Raises:
      ValueError: for an unknown rule.

    >>> print(n_bins(jnp.arange(1000.0), "sqrt"), n_bins(jnp.arange(1000.0), "rice"))
    32 20
    """
    known("rule", rule, BIN_RULES)
    v = as_float(v).ravel()
    marks = None if where is None else jnp.ravel(jnp.asarray(where))
    size = v.size if marks is None else marks.sum()
    third = size ** (1 / 3)
    quartiles = jnp.array([75, 25])
    rules: dict[str, Callable[[], Any]] = {
        "freedman_diaconis": lambda: (
            2 * jnp.subtract(*jnp.percentile(v, quartiles))
            if marks is None
            else 2 * jnp.subtract(*jnp.nanpercentile(jnp.where(marks, v, jnp.nan), quartiles))
        ),
        "scott": lambda: (24 * jnp.pi**0.5) ** (1 / 3) * v.std(where=marks),
        "sqrt": lambda: size**0.5,
        "sturges": lambda: jnp.log2(size) + 1,
        "rice": lambda: 2 * third,
    }
    n = rules[rule]()
    if rule in ("freedman_diaconis", "scott"):
        width = n / third
        low, high = extremes(v, marks)
        n = jnp.where(width > 0, (high - low) / jnp.where(width > 0, width, 1), MAX_BINS)
    # The factor keeps rounding errors from adding a bin where n is a whole number.
    up = jnp.ceil(jnp.asarray(n, v.dtype) * (1 - 1e-6))
    return jnp.clip(up, MIN_BINS, MAX_BINS).astype(jnp.int32)


def histogram(
    v: Real[ArrayLike, "*shape"],
    n: Integer[ArrayLike, ""],
    most: int,
    where: Bool[ArrayLike, "*shape"] | None = None,
) -> Float[Array, " {most}"]:
    """Counts of v in n bins of equal width from min v to max v.

    Bins include their lower edge; the last includes both edges. A constant v falls into the first
    bin.

    Args:
      v: a map of any shape.
      n: the number of bins, at most `most`; may be traced.
      most: the length of the result, static.
      where: bool mask of the values to count, with v's shape; None: all.

    Returns:
      The counts [most]; 0 from index n on.

    >>> histogram(jnp.array([0.0, 0.1, 1.0]), 2, 3).tolist()
    [2.0, 1.0, 0.0]
    """
    v = as_float(v).ravel()
    marks = None if where is None else jnp.ravel(jnp.asarray(where))
    low, high = extremes(v, marks)
    span = high - low
    scaled = (v - low) / jnp.where(span > 0, span, 1)
    at = jnp.clip((scaled * n).astype(jnp.int32), 0, n - 1)
    return jax.ops.segment_sum(only(jnp.ones_like(v), marks), at, most)


def entropy(counts: Real[ArrayLike, " n"]) -> Float[Array, ""]:
    """-sum p log p with p = counts / sum counts and 0 log 0 = 0, in nats; NaN if all are 0.

    >>> print(f"{entropy(jnp.array([1, 1, 0])):.4f}")
    0.6931
    """
    p = as_float(counts)
    p = p / p.sum()
    return -jnp.sum(jnp.where(p == 0, 0, p * jnp.log(jnp.where(p == 0, 1, p))))
