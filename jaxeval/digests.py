"""Digests of arrays, which identify parameters and data."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xxhash

FULL = 2**30
"""Up to this many bytes a memory-mapped file is hashed whole; of a larger one, `ROWS` rows."""
ROWS = 256


def hasher() -> Any:
    """A streaming 128-bit XXH3 hash."""
    return xxhash.xxh3_128()


def update(running: Any, array: np.ndarray) -> None:
    """Add the bytes of an array to a hash; a contiguous array is not copied."""
    if array.dtype.names:  # field by field: padding bytes between fields are undefined
        for name in array.dtype.names:
            update(running, array[name])
    elif array.dtype.kind in "OU":
        running.update(str(array.tolist()).encode())
    else:
        running.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8))


def array_digest(array: np.ndarray) -> str:
    """The digest of an array's bytes, 32 hexadecimal digits; shape and dtype do not enter."""
    running = hasher()
    update(running, array)
    return running.hexdigest()


def digest(tree: Any) -> str:
    """The digest of a pytree of arrays (paths, dtypes, shapes, bytes), 32 hexadecimal digits.

    >>> digest({"a": np.zeros(2), "b": 1}) == digest({"b": 1, "a": np.zeros(2)})
    True
    >>> digest(np.zeros(2)) == digest(np.zeros((2, 1)))
    False
    """
    leaves = {jax.tree_util.keystr(p): v for p, v in jax.tree_util.tree_leaves_with_path(tree)}
    running = hasher()
    for path in sorted(leaves):
        value = leaves[path]
        if hasattr(value, "dtype") and jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
            value = jax.random.key_data(value)
        array = np.asarray(value)
        running.update(f"{path}|{array.dtype}|{list(array.shape)}|".encode())
        update(running, array)
    return running.hexdigest()


def rows_digest(array: Any) -> str:
    """The digest of an array; of one mapped from a large file, that of evenly spaced rows."""
    if array.nbytes <= FULL or not isinstance(array, np.memmap):
        return digest(np.asarray(array))
    at = np.unique(np.linspace(0, len(array) - 1, ROWS).astype(int))
    return digest({"shape": np.array(array.shape), "rows": np.stack([array[i] for i in at])})
