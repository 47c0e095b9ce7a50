"""`Tolerance`: how sure scores should be, for metrics that are asked until they are."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import numpy as np

from . import check

PER = ("sample", "mean", "ranking")
CONVERGED, BUDGET, HEAVY, NOT_ASKED = range(4)
"""`Outcome.status` of a sample."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tolerance:
    """How far a score may be from the one it estimates, and what may be spent on it.

    A metric asks as few steps of a curve, or as few random draws, as that takes. What is estimated
    stays the same: the area of all steps, the limit of many draws (`n_samples` and `n_runs` are
    then not used), the mean over these samples, their ranking. See docs/tolerance.md.

    Args:
      absolute: the half width, in the unit of the score.
      relative: instead of `absolute`: a fraction of the score; for scores that are never negative.
      per: what should be as sure as that: every "sample" by itself, the "mean" over all samples of
        each explainer, or the "ranking" of the explainers by it, in which differences of means of
        up to the tolerance do not matter.
      confidence: the coverage of the intervals, within (0, 1).
      budget: most draws of a sample; None: as many as the metric asks without a tolerance, so that
        nothing takes more evaluations than it does then.

    >>> Tolerance(absolute=0.02).at([1.0, 3.0]).tolist()
    [0.02, 0.02]
    >>> Tolerance(relative=0.1).at([1.0, 3.0]).tolist()
    [0.1, 0.30000000000000004]
    """

    absolute: float | None = None
    relative: float | None = None
    per: str = "sample"
    confidence: float = 0.95
    budget: int | None = 4096

    def __post_init__(self) -> None:
        check.one_of(self, "per", PER)
        check.integer(self, "budget", least=2, optional=True)
        check.real(self, "confidence", above=0, most=1)
        if self.confidence == 1:
            raise ValueError("Tolerance(confidence=1): no number of draws makes sure; give 0.95")
        if (self.absolute is None) == (self.relative is None):
            raise ValueError("Tolerance: give either absolute= or relative=")
        name = "absolute" if self.relative is None else "relative"
        check.real(self, name, above=0)
        if self.budget is not None:
            object.__setattr__(self, "budget", int(self.budget))
        for field, kind in ((name, float), ("confidence", float)):
            object.__setattr__(self, field, kind(getattr(self, field)))

    def at(self, score: Any) -> np.ndarray:
        """The half widths [...] that are allowed at scores [...]."""
        score = np.asarray(score, np.float64)
        if self.relative is None:
            return np.full(score.shape, self.absolute)
        return self.relative * np.abs(score)


jax.tree_util.register_static(Tolerance)


def read(
    given: Any, per: str = "sample", confidence: float = 0.95, budget: int | None = 4096
) -> Any:
    """The tolerance as a `Tolerance`, from a number, one, or None.

    Raises:
      ValueError: not a positive number; or other arguments that nothing uses.
    """
    others = {"per": per, "confidence": confidence, "budget": budget}
    if given is None or isinstance(given, Tolerance):
        if others != {"per": "sample", "confidence": 0.95, "budget": 4096}:
            what = "tolerance=" if given is None else "the fields of Tolerance(...)"
            raise ValueError(f"per, confidence and budget belong to a tolerance: give {what}")
        return given
    number = isinstance(given, (int, float, np.number)) and not isinstance(given, bool)
    if not number or not 0 < given < np.inf:
        raise ValueError(
            f"tolerance must be a positive number, a jaxeval.Tolerance or None, got {given!r}"
        )
    return Tolerance(absolute=float(given), **others)
