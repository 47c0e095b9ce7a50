"""Slices of volumes, drawn as images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


def chosen_slices(depth: int, slices: int | Sequence[int]) -> list[int]:
    """The indices of the slices to show: as given, or so many at even distances.

    >>> chosen_slices(16, 3), chosen_slices(16, [0, 15])
    ([4, 8, 12], [0, 15])
    """
    if isinstance(slices, (int, np.integer)):
        if slices < 1:
            raise ValueError(f"slices={slices} must be at least 1")
        n = min(int(slices), depth)
        return [int(depth * (i + 1) / (n + 1)) for i in range(n)]
    found = [int(i) for i in slices]
    if not found or min(found) < 0 or max(found) >= depth:
        raise ValueError(f"slices={slices!r} must be indices of the {depth} slices, from 0 on")
    return found


def sliced(
    x: np.ndarray,
    maps: Mapping[str, np.ndarray],
    titles: Sequence[Any] | None,
    slices: int | Sequence[int],
) -> tuple[np.ndarray, dict[str, np.ndarray], list[str]]:
    """Volumes x [N, D, H, W, C] and maps [N, D, H, W] as images, a row for each slice.

    Colours and grey values are those of the whole volume: they are scaled before.
    """
    at = chosen_slices(x.shape[1], slices)
    rows = [(i, d) for i in range(len(x)) for d in at]
    head = [""] * len(x) if titles is None else [f"{t}, " for t in titles]
    labels = [f"{head[i]}slice {d}" for i, d in rows]
    images = np.stack([x[i, d] for i, d in rows])
    return images, {k: np.stack([a[i, d] for i, d in rows]) for k, a in maps.items()}, labels
