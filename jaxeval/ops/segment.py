"""Groups of features: patches of a grid, and sums over segments."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Int32, Integer, Real


def patch_ids(shape: Sequence[int], patch: int | Sequence[int]) -> Int32[np.ndarray, " ..."]:
    """The index of the grid patch that each entry belongs to, computed on the host.

    The grid starts at index 0 of every axis. Where the patch size does not divide an axis, the
    last patches along it are smaller.

    Args:
      shape: the shape of the map.
      patch: the side of a patch, or one side per axis.

    Returns:
      NumPy array [shape] of ids 0..n-1, in row-major order of the patches.

    Raises:
      ValueError: unless there is one side per axis, from 1 to the length of the axis.

    >>> patch_ids((2, 5), 2).tolist()
    [[0, 0, 1, 1, 2], [0, 0, 1, 1, 2]]
    """
    shape = tuple(shape)
    sides = (patch,) * len(shape) if isinstance(patch, (int, np.integer)) else tuple(patch)
    if len(sides) != len(shape) or any(not 1 <= p <= n for p, n in zip(sides, shape, strict=True)):
        raise ValueError(
            f"patch must fit into the map: an int or one per axis, from 1 to its length; "
            f"got patch={patch} for shape {shape}"
        )
    grid = [-(-n // p) for n, p in zip(shape, sides, strict=True)]
    at = [np.arange(n) // p for n, p in zip(shape, sides, strict=True)]
    return np.ravel_multi_index(np.meshgrid(*at, indexing="ij"), grid).astype(np.int32)


def segment_sum(
    v: Real[ArrayLike, "*shape"], ids: Integer[ArrayLike, "*shape"], n: int
) -> Real[Array, " {n}"]:
    """The sum of v over each segment.

    Args:
      v: an array of any shape.
      ids: the segment of each entry, of the same shape; entries with ids outside 0..n-1 are
        ignored.
      n: the number of segments, static.

    Returns:
      The sums [n]; 0 for a segment without entries.

    >>> segment_sum(jnp.array([1.0, 2.0, 4.0]), jnp.array([1, 1, -1]), 2).tolist()
    [0.0, 3.0]
    """
    ids = jnp.ravel(jnp.asarray(ids))
    inside = (ids >= 0) & (ids < n)
    return jax.ops.segment_sum(jnp.ravel(jnp.asarray(v)), jnp.where(inside, ids, n), n)
