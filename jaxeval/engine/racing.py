"""The ranking of explainers to a tolerance: samples are asked until it is known.

The units are whole scores of samples, in an order that the key decides. At a few looks, every two
explainers are compared by the differences of their scores on the same samples; an explainer whose
comparisons are all decided is no longer asked. Here the looks do inflate errors, so that intervals
are wider by Bonferroni's factor for all looks and pairs of a metric.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from statistics import NormalDist
from typing import Any

import jax
import numpy as np

from .. import ops
from ..metric import FIXED, Metric, asks_of, limit_of, own_limit
from ..perturb import RandomPerturbation
from ..progress import NoProgress
from ..tolerance import NOT_ASKED, Tolerance
from ..types import Outcome
from . import kernels
from .collect import Record
from .data import Data
from .evaluator import Evaluator
from .explainers import Attributor, Stored
from .job import Job
from .plan import EvalPlan, make_plan
from .run import run

FIRST = 16
"""Samples of the first look."""
BLOCK = 256
"""Samples for which the shapes of compiled programs are chosen."""


def looks_of(n: int) -> list[int]:
    """The numbers of samples at which the explainers are compared.

    >>> looks_of(100)
    [16, 24, 32, 48, 64, 96, 100]
    """
    found, k = [], FIRST
    while k < n:
        found += [k, k + k // 2]
        k *= 2
    return [*(v for v in found if v < n), n]


class Race:
    """The comparisons of one metric's explainers.

    Attributes:
      decided: [E, E], 1 where the explainer of the row is better, -1 where that of the column is, 0
        where they differ by the tolerance at most, NaN where that is not known.
    """

    def __init__(self, n_explainers: int, n_looks: int, limit: Tolerance, better: str):
        self.limit, self.sign = limit, 1 if better == "higher" else -1
        pairs = max(1, n_explainers * (n_explainers - 1) // 2)
        alpha = (1 - limit.confidence) / (2 * n_looks * pairs)
        self.critical = -NormalDist().inv_cdf(alpha)
        self.decided = np.full((n_explainers, n_explainers), np.nan)
        np.fill_diagonal(self.decided, 0)

    @property
    def open(self) -> np.ndarray:
        """The explainers with comparisons that are not decided [E]."""
        return np.asarray(np.isnan(self.decided).any(1))

    def look(self, scores: np.ndarray) -> None:
        """Compare scores [n, E] in float64; NaN where they are undefined or were not asked."""
        for p, q in zip(*np.nonzero(np.triu(np.isnan(self.decided))), strict=True):
            d = scores[:, p] - scores[:, q]
            d = d[~np.isnan(d)]
            if len(d) < min(FIRST, len(scores)) or len(d) < 2:
                continue
            critical = float(ops.students_quantile(len(d) - 1, self.critical))
            half = critical * d.std(ddof=1) / np.sqrt(len(d))
            found = np.nan
            if abs(d.mean()) > half:
                found = self.sign * np.sign(d.mean())
            if abs(d.mean()) + half <= (self.limit.absolute or 0):
                found = 0.0
            self.decided[p, q], self.decided[q, p] = found, 0.0 - found


def ranked(metrics: Mapping[str, Metric], run_limit: Tolerance | None) -> dict[str, Tolerance]:
    """{metric: the tolerance of its ranking}, for the metrics that are asked for one."""
    found = {}
    for name, metric in metrics.items():
        own = own_limit(metric)
        limit = run_limit if own is None else own
        if limit is not None and limit.per == "ranking":
            found[name] = limit
    return found


def check_race(job: Job, limits: Mapping[str, Tolerance]) -> None:
    """Check that the scores of some of the samples are those of all of them.

    Raises:
      ValueError: a metric is not defined so; the message says which, and what to do.
    """
    for name, metric in job.metrics.items():
        where = f"metric {name!r}: a ranking to a tolerance asks samples part by part, but "
        if type(metric).aggregate is not Metric.aggregate:
            raise ValueError(f"{where}it is defined over the whole data set: leave it out")
        if any(isinstance(p, RandomPerturbation) and p.draws is not None for p in asks_of(metric)):
            raise ValueError(f"{where}draws= are given: leave them out")
        limit = limit_of(metric)
        if limit is not None and limit.per == "mean":
            raise ValueError(f'{where}per="mean" needs all of them: evaluate it by itself')
        if name in limits and limits[name].absolute is None:
            raise ValueError(f"metric {name!r}: a ranking needs Tolerance(absolute=...)")
    for e, a in job.attributors.items():
        if a.explainer is not None and getattr(a.explainer, "draws", None) is not None:
            raise ValueError(f"explainer {e!r}: a ranking takes no draws=: leave them out")


def part(job: Job, rows: np.ndarray, only: frozenset[tuple[str, str]], batch_size: Any) -> Job:
    """The job of some samples, explainers and metrics."""

    def some(v: Any) -> Any:
        return None if v is None else v[rows]

    def of(a: Attributor) -> Attributor:
        return dataclasses.replace(a, maps=a.maps[rows]) if isinstance(a, Stored) else a

    d = job.data
    data = Data(
        d.x[rows], some(d.y), d.index[rows], some(d.mask),
        {k: some(v) for k, v in d.extras.items()}, some(d.padding), d.inputs_of(rows), d.names,
    )  # fmt: skip
    size = min(BLOCK, job.n)
    return dataclasses.replace(
        job,
        data=data,
        attributors={e: of(a) for e, a in job.attributors.items() if e in {e for e, _ in only}},
        metrics={m: v for m, v in job.metrics.items() if m in {m for _, m in only}},
        options=dataclasses.replace(job.options, rows=size, batch_size=batch_size),
        only=only,
    )


def order_of(job: Job) -> np.ndarray:
    """The samples in an order that the key and their ids decide."""
    words = np.asarray(jax.random.key_data(kernels.keys_of(job.options.key, job.data.index)))
    return np.lexsort((job.data.index, *words.reshape(job.n, -1).T))


def race(
    job: Job, evaluator: Evaluator, limits: Mapping[str, Tolerance], progress: NoProgress
) -> tuple[Record, dict[str, Any]]:
    """Ask until the rankings are known.

    Returns the record of all samples, NaN where they were not asked, and for each metric what is
    decided. Exceptions carry the `Record` so far as `partial`.
    """
    explainers, order, looks = tuple(job.attributors), order_of(job), looks_of(job.n)
    races = {
        m: Race(len(explainers), len(looks), limits[m], job.metrics[m].direction) for m in limits
    }
    job = dataclasses.replace(
        job, metrics={m: fixed(v, m in limits) for m, v in job.metrics.items()}
    )
    found = Found(job)
    shapes: EvalPlan | None = None
    whole, done = progress, 0
    for look in looks:
        only = frozenset(
            (e, m)
            for m in job.metrics
            for k, e in enumerate(explainers)
            if m not in races or races[m].open[k]
        )
        if not only:
            break
        rows = np.sort(order[done:look])
        size = job.options.batch_size if shapes is None else shapes.batch_size
        plan = make_plan(part(job, rows, only, size), evaluator)
        if shapes is None:
            shapes = plan
            whole = Whole(progress, plan.evaluations() * job.n // len(rows))
        widths = {k: getattr(shapes, k) for k in ("output_width", "map_width", "round_width")}
        plan = dataclasses.replace(plan, **widths)
        try:
            record = run(plan, evaluator, whole)
        except (Exception, KeyboardInterrupt) as e:
            e.partial = found.record(evaluator, races)  # type: ignore[attr-defined]
            raise
        if not done:
            found.whole = {k: v * job.n // len(rows) for k, v in evaluator.asked.items()}
        found.add(rows, plan, record)
        done = look
        for m, of in races.items():
            of.look(found.scores(m, explainers)[order[:done]])
    whole.stop()
    decided = {
        m: {"explainers": list(explainers), "better": text(of.decided)} for m, of in races.items()
    }
    return found.record(evaluator, races), decided


class Whole(NoProgress):
    """One progress for all looks, of what all samples would take; full at the end."""

    def __init__(self, progress: NoProgress, total: int):
        self.progress, self.left = progress, total
        progress.start(total)

    def start(self, total: int) -> None:
        """Of one look: nothing begins."""

    def advance(self, n: int) -> None:
        self.left -= n
        self.progress.advance(n)

    def stop(self) -> None:
        self.progress.advance(max(0, self.left))


def fixed(metric: Any, raced: bool) -> Metric:
    """A metric whose ranking is asked for, with its own numbers of steps and draws."""
    own = raced and metric.steps_are not in FIXED
    return dataclasses.replace(metric, tolerance=None) if own else metric


def text(decided: np.ndarray) -> list[list[float | None]]:
    """The matrix as JSON can hold it."""
    return [[None if np.isnan(v) else float(v) for v in row] for row in decided]


class Found:
    """The outcomes of all samples, as they are found."""

    def __init__(self, job: Job):
        self.job = job
        self.outcomes: dict[tuple[str, str], Outcome] = {}
        self.asked: dict[tuple[str, str], np.ndarray] = {}
        self.y = np.full(job.n, -1, np.int32) if job.data.y is None else job.data.y.copy()
        self.naive: dict[str, int] = {}
        self.whole: dict[str, int] = {}
        """What all samples would take, if they took as much as the first ones."""

    def add(self, rows: np.ndarray, plan: EvalPlan, record: Record) -> None:
        """Add the outcomes of some rows."""
        self.y[rows] = record.y
        for k, v in record.asked["naive"].items():
            self.naive[k] = self.naive.get(k, 0) + v
        steps: dict[tuple[str, str], int] = {}
        for q in plan.questions:
            for s in (s for own in q.by.values() for s in own):
                cell = s.cell.explainer, s.cell.metric
                steps[cell] = steps.get(cell, 0) + q.n_steps
        for cell, outcome in record.outcomes.items():
            given = dataclasses.replace(outcome, asked=None, status=None)
            if cell not in self.outcomes:
                self.outcomes[cell] = jax.tree.map(self.blank, given)
                self.asked[cell] = np.zeros(self.job.n, np.int64)
            for into, v in zip(
                jax.tree.leaves(self.outcomes[cell]), jax.tree.leaves(given), strict=True
            ):
                into[rows] = v
            used = steps.get(cell, 0) if outcome.asked is None else outcome.asked
            self.asked[cell][rows] = used

    def blank(self, v: np.ndarray) -> np.ndarray:
        """An array [N, ...] for the values of all samples."""
        kind = v.dtype if v.dtype.kind in "fb" else np.float64
        return np.full((self.job.n, *v.shape[1:]), np.nan if v.dtype.kind != "b" else False, kind)

    def scores(self, metric: str, explainers: tuple[str, ...]) -> np.ndarray:
        """The scores [N, E] of a metric in float64."""
        blank = np.full(self.job.n, np.nan)
        got = ((self.outcomes[e, metric].score if (e, metric) in self.outcomes else blank)
               for e in explainers)  # fmt: skip
        return np.stack([np.asarray(v, np.float64) for v in got], 1)

    def record(self, evaluator: Evaluator, races: Mapping[str, Any]) -> Record:
        """The record of all samples."""
        outcomes = {}
        for e in self.job.attributors:
            for m in self.job.metrics:
                if (outcome := self.outcomes.get((e, m))) is None:
                    continue
                if m in races:
                    unasked = (self.asked[e, m] == 0) & np.isnan(outcome.score)
                    status = np.where(unasked, NOT_ASKED, 0).astype(np.int8)
                    outcome = dataclasses.replace(outcome, asked=self.asked[e, m], status=status)
                outcomes[e, m] = outcome
        naive = self.naive or dict.fromkeys(evaluator.asked, 0)
        saved = {k: v - evaluator.asked[k] for k, v in self.whole.items()}
        return Record(outcomes, {**evaluator.asked, "naive": naive, "saved": saved}, self.y)
