"""Controls: scores that measure nothing, which stand in every table beside the metrics."""

from __future__ import annotations

import numpy as np

from ..ops import draw

CONTROLS = ("Random", "Constant")
"""Independent uniform scores, and the same score everywhere."""


def control(
    name: str, key: np.ndarray, ids: np.ndarray, explainers: int, at: tuple[int, ...]
) -> np.ndarray:
    """Scores [L, n] of a control.

    Args:
      name: one of `CONTROLS`.
      key: two words, uint32, of the run's key.
      ids: ids of the samples [n], to which the draws belong.
      at: numbers that tell perturbations apart.

    >>> control("Constant", np.zeros(2, np.uint32), np.arange(3), 2, ()).tolist()
    [[1.0, 1.0, 1.0], [1.0, 1.0, 1.0]]
    """
    if name == "Constant":
        return np.ones((explainers, len(ids)), np.float32)
    for number in at:
        key = _words(key, np.zeros(1, np.uint32), np.array([number], np.uint32)).ravel()
    ids = np.asarray(ids).astype(np.uint32)
    rows = [_words(key, ids, np.full_like(ids, e))[0] for e in range(explainers)]
    return ((np.stack(rows) >> np.uint32(8)) / np.float32(2**24)).astype(np.float32)


def _words(key: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Two random words [2, n] of each counter."""
    with np.errstate(over="ignore"):
        return np.stack([np.asarray(v) for v in draw.threefry(key, first, second)])
