"""Draws to a tolerance: how many of them each sample needs. NumPy, on the host.

All samples look at their scores at the points of one grid, and every one of them decides by its
own draws: it stops where the half width of its interval is within the tolerance, or asks as many as
should be enough at its spread, as in Stein's (1945) rule of two stages. A rule of fixed width stops
by the spread, not by the score, so that it needs no correction for the number of looks (Chow and
Robbins 1965), given that few draws with large influence are not trusted (`ops.half_width`).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..tolerance import BUDGET, CONVERGED, HEAVY, Tolerance

GROWTH = 1.25
"""Ratio of neighbouring points of the grid."""
FASTEST = 4
"""Most times as many draws in one round as before."""


def grid_of(first: int, budget: int) -> np.ndarray:
    """The numbers of draws at which samples may stop; the last is the budget.

    >>> grid_of(32, 100).tolist()
    [32, 40, 56, 72, 96, 100]
    """
    points = [min(first, budget)]
    while points[-1] < budget:
        points.append(min(budget, int(np.ceil(GROWTH * points[-1] / 8)) * 8))
    return np.array(points)


class Stops:
    """The draws of one cell, one row a sample, while they are asked.

    Attributes:
      n: how many draws each sample uses [rows], those of the coming round included.
      open: which samples are not sure yet [rows].
    """

    def __init__(self, counts: np.ndarray, width: int, limit: Tolerance, first: int, most: int):
        """most: the budget of draws; `width`: the steps of the question."""
        self.counts, self.width, self.limit, self.first_draws = counts, width, limit, first
        self.grid = grid_of(first, most)
        self.n = np.minimum(counts, self.grid[0])
        self.open = counts > 0

    def first(self) -> np.ndarray:
        """The steps of the first round [rows, S]."""
        return self.used

    def wanted(self) -> np.ndarray:
        """The steps of the next round [rows, S]: none of the samples that are sure enough."""
        return self.used & self.open[:, None]

    @property
    def used(self) -> np.ndarray:
        """The steps that decide the scores [rows, S]."""
        return np.arange(self.width) < self.n[:, None]

    @property
    def evaluations(self) -> np.ndarray:
        """How many draws were asked for this cell [rows]."""
        return self.n

    def learn(self, score: np.ndarray, error: np.ndarray) -> None:
        """Decide from the scores and their half widths [rows] under the draws used so far."""
        with np.errstate(invalid="ignore", divide="ignore"):
            allowed = self.limit.at(score)
            # Undefined is not unsure: more draws hardly ever define it.
            undefined = np.isnan(score) & (self.n >= FASTEST * self.first_draws)
            self.open &= ~(error <= allowed) & ~undefined & (self.n < self.counts)
            needed = self.n * np.where(np.isnan(error), 2, error / allowed) ** 2
        needed = np.clip(needed, self.n + 1, np.minimum(FASTEST * self.n, self.counts))
        at = np.minimum(np.searchsorted(self.grid, needed), len(self.grid) - 1)
        self.n = np.where(self.open, self.grid[at], self.n)


def status_of(limit: Tolerance, score: np.ndarray, error: np.ndarray, heavy: np.ndarray) -> Any:
    """`Outcome.status` [n]; an undefined score is none that is not sure."""
    with np.errstate(invalid="ignore"):
        met = (error <= limit.at(score)) | np.isnan(score)
    return np.where(met, CONVERGED, np.where(heavy, HEAVY, BUDGET)).astype(np.int8)
