"""Similarity of two maps, by name or by a function."""

from __future__ import annotations

from collections.abc import Callable

import jax.numpy as jnp  # noqa: F401  (used by the doctest)
from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Bool, Float, Real

from ._common import known
from .correlate import pearson, spearman
from .kendall import kendall
from .normalise import unit_range
from .ssim import ssim

MASKABLE = ("spearman", "pearson")
"""The similarities that accept a mask `where`."""
CORRELATIONS = (*MASKABLE, "kendall")
SIMILARITIES = (*CORRELATIONS, "ssim")


def similarity(
    u: Real[ArrayLike, "*shape"],
    v: Real[ArrayLike, "*shape"],
    kind: str | Callable,
    *,
    channel_axis: int | None = None,
    where: Bool[ArrayLike, "*shape"] | None = None,
) -> Float[Array, ""]:
    """The similarity of two maps.

    Args:
      u: a map.
      v: a map of the same shape.
      kind: "spearman", "pearson" or "kendall" over all entries; "ssim": `ssim` after rescaling each
        map to [0, 1]; or a function ``(u, v) -> scalar``.
      channel_axis: the axis of the maps that holds channels, or None; used by "ssim".
      where: mask of the entries to use, of the same shape, for the kinds in `MASKABLE`; None: all.

    Returns:
      The similarity []; NaN where that kind is undefined.

    Raises:
      ValueError: for an unknown name, or for `where` with a kind that accepts no mask.

    >>> print(similarity(jnp.array([1.0, 2.0]), jnp.array([0.0, 9.0]), "spearman"))
    1.0
    """
    if not callable(kind):
        known("similarity", kind, SIMILARITIES)
    if where is not None and kind not in MASKABLE:
        raise ValueError(f"similarity {kind!r} cannot leave entries out: use one of {MASKABLE}")
    if callable(kind):
        return kind(u, v)
    if kind == "ssim":
        return ssim(unit_range(u), unit_range(v), channel_axis=channel_axis)
    if kind == "kendall":
        return kendall(u, v)
    return (spearman if kind == "spearman" else pearson)(u, v, where)
