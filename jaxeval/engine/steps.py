"""Which steps of a question are asked: one of each `same` label, none of the clean sample."""

from __future__ import annotations

import dataclasses

import numpy as np

CLEAN = -1
"""The label of queries that are the clean sample."""


@dataclasses.dataclass(frozen=True, eq=False)
class Steps:
    """The steps of one question about one block.

    Attributes:
      counts: the number of valid steps of each sample [rows].
      asked: how many of them are asked [rows].
      order: the steps [rows, S], those that are asked first; None: all valid steps are.
      clean: a step [rows] whose query is the clean sample, S if there is none.
      source: the step whose measurement is used for each step [rows, S]; None: its own.
    """

    counts: np.ndarray
    asked: np.ndarray
    order: np.ndarray | None = None
    clean: np.ndarray | None = None
    source: np.ndarray | None = None

    @property
    def saved(self) -> int:
        """The number of valid steps that are not asked."""
        return int(self.counts.sum() - self.asked.sum())

    def asked_of(self, first: int) -> np.ndarray:
        """How many of the first steps of each sample are asked [rows]."""
        if self.order is None:
            return np.minimum(self.asked, first)
        among = np.arange(self.order.shape[1]) < self.asked[:, None]
        return (among & (self.order < first)).sum(1)

    def sources(self, n: int) -> tuple[np.ndarray, np.ndarray]:
        """(the step whose measurement each uses, which have the clean query), [rows, S], S = n."""
        shape = len(self.counts), n
        source = np.broadcast_to(np.arange(n), shape) if self.source is None else self.source
        clean = n if self.clean is None else self.clean[:, None]
        return source, np.broadcast_to(source == clean, shape)

    def to_ask(self, wanted: np.ndarray) -> np.ndarray:
        """The steps [rows, S] whose queries answer the wanted ones; not the clean sample."""
        source, clean = self.sources(wanted.shape[1])
        ask = np.zeros_like(wanted)
        rows, at = np.nonzero(wanted & ~clean)
        ask[rows, source[rows, at]] = True
        return ask


def steps_of(counts: np.ndarray, same: np.ndarray | None) -> Steps:
    """The steps.

    Args:
      counts: the number of valid steps of each sample [rows].
      same: which queries are the same, see `Perturbation.same`, [rows, S].
    """
    if same is None:
        return Steps(counts, counts)
    n = same.shape[1]
    steps = np.broadcast_to(np.arange(n), same.shape)
    valid = steps < counts[:, None]
    is_clean = valid & (same == CLEAN)
    clean = np.where(is_clean.any(1), is_clean.argmax(1), n)
    source = np.where(valid, first_of_label(same), steps)
    asked = valid & ~is_clean & (source == steps)
    order = np.argsort(~asked, axis=1, kind="stable")
    return Steps(
        counts,
        asked.sum(1),
        order.astype(np.int32),
        clean.astype(np.int32),
        source.astype(np.int32),
    )


def first_of_label(same: np.ndarray) -> np.ndarray:
    """The first step [rows, S] that has each step's label."""
    by_label = np.argsort(same, axis=1, kind="stable")
    labels = np.take_along_axis(same, by_label, 1)
    new = np.concatenate([np.ones_like(labels[:, :1], bool), labels[:, 1:] != labels[:, :-1]], 1)
    at = np.maximum.accumulate(np.where(new, np.arange(same.shape[1]), 0), axis=1)
    found = np.empty_like(by_label)
    np.put_along_axis(found, by_label, np.take_along_axis(by_label, at, 1), 1)
    return found
