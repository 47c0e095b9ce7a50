"""Which steps of a question are asked: equal queries once, the clean sample never."""

from __future__ import annotations

import dataclasses

import numpy as np


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


def steps_of(name: str, counts: np.ndarray, same: np.ndarray | None) -> Steps:
    """The steps, given which are equal.

    Args:
      name: the perturbation, for errors.
      same: see `Perturbation.same`, [rows, S].

    Raises:
      ValueError: `same` names a later step, or one that is itself a repetition.
    """
    if same is None:
        return Steps(counts, counts)
    n = same.shape[1]
    steps = np.broadcast_to(np.arange(n), same.shape)
    valid = steps < counts[:, None]
    firsts = np.take_along_axis(same, np.maximum(same, 0), 1)
    wrong = valid & ((same > steps) | (same < -1) | ((same >= 0) & (firsts != same)))
    if wrong.any():
        i, s = np.argwhere(wrong)[0]
        raise ValueError(
            f"{name}.same must give the first step with the same query, or -1; for step {s} it "
            f"gives {same[i, s]}"
        )
    is_clean = valid & (same < 0)
    clean = np.where(is_clean.any(1), is_clean.argmax(1), n)
    asked = valid & (same == steps)
    source = np.where(is_clean, clean[:, None], np.where(valid, same, steps))
    order = np.argsort(~asked, axis=1, kind="stable")
    return Steps(
        counts,
        asked.sum(1),
        order.astype(np.int32),
        clean.astype(np.int32),
        source.astype(np.int32),
    )
