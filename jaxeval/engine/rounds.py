"""Curves to a tolerance: which steps of a curve are asked, round by round, for each sample.

A round starts from the steps of a curve that are known, estimates by how much the area between
them may be off, and halves the intervals that contribute most. Decisions about a sample read only
its own measurements for one metric and explainer, so they depend neither on the batch nor on what
else is evaluated. Everything here is NumPy, on the host.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from .steps import Steps

FIRST = 8
"""Intervals of the first round."""


@dataclasses.dataclass(eq=False)
class Curve:
    """The curve of one cell, one row a sample, while it is asked.

    Attributes:
      tolerance: half width of what the area may be off by, in the unit of the curve.
      used: which steps this cell knows [rows, S], because they were asked for it or are equal to
        steps that were.
      asked: which of them were asked for it.
      values: the measurements [rows, S] at the used steps.
    """

    steps: Steps
    tolerance: float
    used: np.ndarray
    asked: np.ndarray
    values: np.ndarray

    def first(self) -> np.ndarray:
        """The steps of the first round [rows, S]: evenly spaced, the last one included."""
        rows, n = self.used.shape
        last = np.maximum(self.steps.counts - 1, 0)[:, None]
        at = np.round(np.linspace(0, 1, FIRST + 1) * last).astype(int)
        wanted = np.zeros((rows, n), bool)
        np.put_along_axis(wanted, at, True, 1)
        return wanted & self.valid

    @property
    def valid(self) -> np.ndarray:
        """Which steps the samples have [rows, S]."""
        return np.arange(self.used.shape[1]) < self.steps.counts[:, None]

    def learn(self, wanted: np.ndarray, measured: np.ndarray) -> None:
        """Use `wanted` steps [rows, S], whose measurements are in `measured` [rows, S]."""
        source, clean = self.steps.sources(measured.shape[1])
        self.asked |= self.steps.to_ask(wanted & self.valid)
        self.used = (np.take_along_axis(self.asked, source, 1) | clean) & self.valid
        values = np.take_along_axis(measured, source, 1)
        self.values = np.where(self.used, values, np.nan)

    @property
    def own(self) -> np.ndarray:
        """Each step's own index [rows, S]."""
        return np.broadcast_to(np.arange(self.used.shape[1]), self.used.shape)

    def neighbours(self) -> tuple[np.ndarray, np.ndarray]:
        """The used steps before or at, and after or at, each step [rows, S]."""
        n = self.used.shape[1]
        at = np.arange(n)
        before = np.maximum.accumulate(np.where(self.used, at, 0), axis=1)
        after = np.where(self.used, at, n - 1)[:, ::-1]
        return before, np.minimum.accumulate(after, axis=1)[:, ::-1]

    def unknown(self) -> np.ndarray:
        """e [rows, S] at the left end of each interval with steps inside, 0 elsewhere: half of the
        change over the interval times its share of the curve.
        """
        n = self.used.shape[1]
        width = np.maximum(self.steps.counts - 1, 1)[:, None]
        # The next used step after each one.
        after = np.concatenate([self.neighbours()[1][:, 1:], np.full((len(width), 1), n - 1)], 1)
        after = np.minimum(after, np.maximum(self.steps.counts - 1, 0)[:, None])
        apart = after - np.arange(n)
        change = np.abs(np.take_along_axis(self.values, after, 1) - self.values)
        e = apart / width * change / 2
        return np.where(self.used & (apart > 1), np.nan_to_num(e, nan=0.0, posinf=0.0), 0.0)

    def error(self) -> np.ndarray | None:
        """By how much the area may be off [rows]: errors of intervals uniform and independent."""
        return 2 * np.sqrt((self.unknown() ** 2).sum(1) / 3)

    def wanted(self) -> np.ndarray:
        """The steps of the next round [rows, S]: none of the samples that are sure enough.

        The middles of as few intervals, the worst first, as would do if halving an interval halved
        its error.
        """
        e = self.unknown()
        order = np.argsort(-e, axis=1, kind="stable")
        worst = np.take_along_axis(e, order, 1) ** 2
        total = worst.sum(1, keepdims=True)
        left = 4 / 3 * (total - 0.75 * np.cumsum(worst, 1))
        sure = 4 / 3 * total <= self.tolerance**2
        # The intervals up to the first that is enough.
        halve = np.concatenate([np.ones_like(sure), left[:, :-1] > self.tolerance**2], 1)
        halve &= (worst > 0) & ~sure
        rows, nth = np.nonzero(halve)
        start = order[rows, nth]
        n = self.used.shape[1]
        after = np.concatenate([self.neighbours()[1][:, 1:], np.full((len(e), 1), n - 1)], 1)
        last = np.maximum(self.steps.counts - 1, 0)
        end = np.minimum(after[rows, start], last[rows])
        wanted = np.zeros_like(self.used)
        wanted[rows, (start + end) // 2] = True
        return wanted

    def filled(self) -> np.ndarray:
        """The measurements of all valid steps, between used ones interpolated [rows, S]."""
        before, after = self.neighbours()
        after = np.minimum(after, np.maximum(self.steps.counts - 1, 0)[:, None])
        at = np.arange(self.used.shape[1])
        gap = np.maximum(after - before, 1)
        low, high = (np.take_along_axis(self.values, k, 1) for k in (before, after))
        share = np.clip((at - before) / gap, 0, 1)
        found = np.where(self.used, self.values, low + share * (high - low))
        return np.where(self.valid, found, np.nan)

    @property
    def evaluations(self) -> np.ndarray:
        """How many steps were asked for this cell [rows]."""
        return self.asked.sum(1)


@dataclasses.dataclass(eq=False)
class Chosen(Curve):
    """A curve of which only some steps are needed, `chosen` [rows, S]; the others are NaN."""

    chosen: np.ndarray

    def first(self) -> np.ndarray:
        return self.chosen & self.valid

    def wanted(self) -> np.ndarray:
        return np.zeros_like(self.used)

    def error(self) -> None:
        return None

    def filled(self) -> np.ndarray:
        return self.values


def curve_of(steps: Steps, n_steps: int, tolerance: float) -> Curve:
    """A curve of which nothing is known but what the clean sample tells."""
    blank = np.zeros((len(steps.counts), n_steps), bool)
    return Curve(steps, tolerance, blank, blank.copy(), np.full(blank.shape, np.nan))


def only(steps: Steps, chosen: np.ndarray) -> Chosen:
    """A curve of which the steps `chosen` [rows, S] are needed."""
    blank = np.zeros(chosen.shape, bool)
    return Chosen(steps, 0.0, blank, blank.copy(), np.full(blank.shape, np.nan), chosen)
