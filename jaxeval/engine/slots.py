"""Which (sample, step) each slot of a chunk is about.

The slots of a block are its (step, sample) pairs in that order. So the queries of a chunk are
alike, and a loop that makes them, which takes as many iterations as the slowest needs, stops
earlier where few of its steps are slow.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np


def by_count(counts: np.ndarray, devices: int) -> tuple[np.ndarray, np.ndarray]:
    """(rows of each device by their number of steps, those numbers), for `slots`; on the host."""
    own = counts.astype(np.int32).reshape(devices, -1)
    rows = np.argsort(own, axis=1, kind="stable").astype(np.int32)
    return rows.ravel(), np.take_along_axis(own, rows, axis=1).ravel()


def slots(rows: Any, counts: Any, start: Any, width: int) -> tuple[Any, Any, Any]:
    """The slots from `start` on -> (sample, step, is real) [width].

    Computed on the device: indices computed on the host doubled the overhead of a chunk.

    Args:
      rows, counts: of one device, see `by_count`.
    """
    n = len(rows)
    # Slots of the steps that the first k samples have, and of those before: in between, n - k.
    before = jnp.cumsum(counts) + counts * jnp.arange(n - 1, -1, -1)
    slot = start + jnp.arange(width)
    gone = jnp.searchsorted(before, slot, side="right")
    real, gone = gone < n, jnp.minimum(gone, n - 1)
    last = jnp.maximum(gone - 1, 0)
    step, begun = (jnp.where(gone > 0, v[last], 0) for v in (counts, before))
    more, at = jnp.divmod(slot - begun, n - gone)
    return rows[gone + jnp.where(real, at, 0)], jnp.where(real, step + more, 0), real
