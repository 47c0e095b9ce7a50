"""Collecting the outcomes of the blocks of a run."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import numpy as np

from ..check import warn
from ..metric import Metric, limit_of
from ..types import Outcome
from .block import Reduced
from .evaluator import Evaluator
from .plan import EvalPlan
from .questions import Cell, naive_cost
from .sample_view import undefined


@dataclasses.dataclass
class Record:
    """The result of a run: outcomes with NumPy arrays [n], n the samples finished."""

    outcomes: dict[tuple[str, str], Outcome]
    asked: dict[str, Any]
    y: np.ndarray
    plan: EvalPlan | None = None


def nothing_scored(evaluator: Evaluator) -> Record:
    """The record of a run that stopped before its first block, with what was evaluated."""
    asked = {**evaluator.asked, "naive": dict.fromkeys(evaluator.asked, 0)}
    return Record({}, asked, np.zeros(0, np.int32))


class Collected:
    """The outcomes of the finished blocks."""

    def __init__(self, plan: EvalPlan):
        self.plan = plan
        self.parts: dict[Cell, list[Outcome]] = {cell: [] for cell in plan.cells}
        self.unsound: dict[Cell, list[np.ndarray]] = {cell: [] for cell in plan.cells}
        self.steps: dict[Cell, list[int]] = {cell: [] for cell in plan.cells}
        self.labels: list[np.ndarray] = []

    @property
    def finished(self) -> int:
        """The number of samples that all is known of."""
        return sum(map(len, self.labels))

    def add(self, reduced: Reduced) -> None:
        """Add the outcomes of a block, or the finished ones if it was interrupted."""
        for cell, (outcome, unsound) in reduced.outcomes().items():
            self.parts[cell].append(outcome)
            self.unsound[cell].append(unsound)
        for cell, steps in reduced.steps.items():
            self.steps[cell].extend(steps)
        self.labels.append(reduced.labels)

    def warn(self) -> None:
        """Warn of samples that are undefined because of unsound maps or outputs."""
        n = self.plan.job.n
        maps: dict[str, np.ndarray] = {}
        outputs = np.zeros(n, bool)
        for cell, parts in self.unsound.items():
            map_, output = np.concatenate(parts).T
            maps[cell.explainer] = maps.get(cell.explainer, np.zeros(n, bool)) | map_
            outputs |= output
        for explainer, bad in maps.items():
            if bad.any():
                warn_of_maps(explainer, int(bad.sum()), n)
        if outputs.any():
            warn(
                f"the model answered NaN about {int(outputs.sum())} of {n} samples or changed "
                "forms of them: their scores are undefined (NaN) where outputs are asked for"
            )

    def record(self, evaluator: Evaluator) -> Record:
        """The results so far."""
        plan, n, outcomes = self.plan, self.plan.job.n, {}
        for cell, parts in self.parts.items():
            metric = plan.cells[cell]
            # A metric over the whole data set has no score before all samples are finished.
            whole = sum(len(part.score) for part in parts) == n
            if parts and (whole or type(metric).aggregate is Metric.aggregate):
                outcome = jax.tree.map(lambda *v: np.concatenate(v), *parts)
                if whole:
                    bad = np.asarray(np.concatenate(self.unsound[cell]).any(1))
                    outcome = aggregate(metric, outcome, bad)
                outcomes[cell.explainer, cell.metric] = jax.tree.map(np.asarray, outcome)
        explained = {e: a.explainer is not None for e, a in plan.attributors.items()}
        naive = naive_cost(plan.cells, self.steps, n, explained)
        y = np.concatenate(self.labels) if self.labels else np.zeros(0, np.int32)
        asked = {**evaluator.asked, "naive": naive}
        if any(limit_of(metric) is not None for metric in plan.cells.values()):
            asked["saved"] = dict(evaluator.saved)
        return Record(outcomes, asked, y, plan)


def aggregate(metric: Metric, outcome: Outcome, bad: np.ndarray) -> Outcome:
    """The outcome over a whole data set, without `bad` samples [N]."""
    if type(metric).aggregate is Metric.aggregate or not bad.any():
        return metric.aggregate(outcome)
    good = np.flatnonzero(~bad)
    if not len(good):
        return undefined(dataclasses.replace(outcome, record=None), bad)
    found = metric.aggregate(jax.tree.map(lambda v: v[good], outcome))
    place = np.cumsum(~bad) - 1
    return undefined(jax.tree.map(lambda v: np.asarray(v)[np.maximum(place, 0)], found), bad)


def warn_of_maps(explainer: str, bad: int, n: int) -> None:
    warn(
        f"explainer {explainer!r} gave maps with NaN or infinite values for {bad} of {n} samples: "
        "their scores are undefined (NaN), and counted as such"
    )
