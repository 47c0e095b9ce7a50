"""A host model's outputs of one block: rows with the same bytes are asked once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from ..digests import hasher, update

REMEMBERED = 2**28
"""Maximum bytes of outputs; beyond that, no further ones are kept."""
BESIDE = 200
"""Bytes that a row takes beside its outputs."""


class HostMemo:
    """What a model answered about rows, by the bytes of a row and of what the model reads with it.

    Queries of different explainers and questions often are the same: all features removed, or only
    such as equal the baseline. The rows of a host model are at hand as arrays, so that finding
    them costs little beside a call of the model.
    """

    def __init__(self) -> None:
        self._known: dict[bytes, np.ndarray] = {}
        self._size = 0

    def clear(self) -> None:
        """Forget all, as between blocks, whose samples differ."""
        self._known.clear()
        self._size = 0

    def answer(self, rows: Any, ask: Callable[[Any], np.ndarray]) -> np.ndarray:
        """The outputs [n, ...] of the rows, arrays [n, ...], of which `ask` answers the new ones.

        >>> memo = HostMemo()
        >>> rows = np.array([[1.0], [2.0], [1.0]])
        >>> memo.answer(rows, lambda new: new + len(new)).ravel().tolist()
        [3.0, 4.0, 3.0]
        """
        leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(rows)]
        keys = [_digest(row) for row in zip(*leaves, strict=True)]
        # The first row of each digest that is not known.
        new = {key: i for i, key in reversed(list(enumerate(keys))) if key not in self._known}
        got: dict[bytes, np.ndarray] = {}
        if new:
            at = np.sort(np.fromiter(new.values(), int))
            answers = ask(jax.tree.map(lambda v: np.asarray(v)[at], rows))
            got = {keys[i]: row for i, row in zip(at, answers, strict=True)}
        out = np.stack([got[k] if k in got else self._known[k] for k in keys])
        for key, row in got.items():
            self._remember(key, row)
        return out

    def _remember(self, key: bytes, row: np.ndarray) -> None:
        if self._size < REMEMBERED:
            self._known[key] = row.copy()  # not a view, which would keep the whole batch
            self._size += row.nbytes + BESIDE


def _digest(row: tuple[np.ndarray, ...]) -> bytes:
    """The digest of a row's arrays, which have the shapes and dtypes of all other rows."""
    running = hasher()
    for array in row:
        update(running, np.asarray(array))
    return running.digest()
