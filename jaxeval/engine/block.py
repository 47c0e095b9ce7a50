"""One block of a run: its clean answers, its questions, and its outcomes."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from .. import ops
from ..lifetime import WATCHER, remembered
from ..metric import Metric, asks_of, limit_of
from ..model import Model, called, with_inputs
from ..tolerance import CONVERGED, HEAVY
from ..types import Answer, Outcome, Sample
from . import kernels
from .answers import check_alone, company
from .data import Data
from .evaluator import Evaluator
from .explainers import Compiled, Stored
from .outcomes import check_outcomes, one_row
from .plan import EvalPlan
from .questions import Cell
from .sample_view import finish_all
from .samples import Block, Clean
from .shapes import fit_mask
from .stops import status_of

IN_FLIGHT = 2
"""Chunks that may be queued on the device before the host waits for the oldest."""


@dataclasses.dataclass
class Scored:
    """Metrics of one attributor, the distinct prepared maps that they score, and the assignment.

    `ranks` are those of each of the maps, or None where no metric compares them.
    """

    metrics: tuple[Metric, ...]
    kinds: tuple[tuple[str | None, bool], ...]
    which: tuple[int, ...]
    maps: tuple[Any, ...]
    ranks: tuple[Any, ...]


class Answered(NamedTuple):
    """One question of a cell, answered.

    Attributes:
      measured: the measurements [rows, S, ...].
      valid: the valid steps [rows, S].
      source: the step whose measurement is used for each step [rows, S]; None: its own.
      unsound: see `sample_view.unsound`, [rows, 2].
      error: what steps that were not asked add to the error of the score [rows]; None: nothing.
      asked: how many steps were asked, to a tolerance [rows]; None: all.
      given: the scores and what is said of them, where they are not those of `measured` alone.
    """

    measured: Any
    valid: Any
    source: Any
    unsound: Any
    error: np.ndarray | None = None
    asked: np.ndarray | None = None
    given: Any = None


@dataclasses.dataclass
class Reduced:
    """The outcomes of a block, which the devices may not have finished.

    Attributes:
      cells: (cell, what is said of its answers).
      values: for each of them, the outcome [rows] and what was unsound in the clean answers.
    """

    plan: EvalPlan
    real: np.ndarray
    labels: np.ndarray
    steps: Mapping[Cell, list[int]]
    cells: list[tuple[Cell, list[Answered]]]
    values: list[Any]

    def outcomes(self) -> dict[Cell, tuple[Outcome, np.ndarray]]:
        """For each cell, the outcome [n] and its unsound samples.

        The latter, bool [n, 2]: whether a map that it needed is not finite, and an output NaN.
        """
        found = {}
        values = jax.device_get(self.values)
        for (cell, got), (outcome, clean) in zip(self.cells, values, strict=True):
            for unknown in (v.error for v in got if v.error is not None):
                known = 0 if outcome.error is None else outcome.error
                outcome = dataclasses.replace(outcome, error=known + unknown)
            for given in (v.given for v in got if v.given is not None):
                outcome = for_mean(outcome, given)
            if any(v.asked is not None for v in got):
                outcome = with_status(self.plan.cells[cell], outcome, got)
            outcome = jax.tree.map(lambda v: v[self.real], outcome)
            flags = [clean, *(np.asarray(v.unsound) for v in got)]
            unsound = np.stack(flags).max(0)[self.real] > 0
            finished = finish_all(self.plan.cells[cell], outcome, unsound.any(1))
            found[cell] = finished, unsound
        return found


class BlockState:
    """The state of a block while its questions are asked.

    Attributes:
      samples: {attributor: its samples, with its maps}.
      reference: the model's answers on the clean samples.
      done: {cell: {slot: its answers}}.
      steps: {cell: the number of steps of each of its questions}.
    """

    def __init__(self, plan: EvalPlan, evaluator: Evaluator, block: Block):
        self.plan, self.evaluator, self.block = plan, evaluator, block
        self.mesh = evaluator.mesh
        evaluator.known.clear()
        clean = self._clean = answer_clean(plan, evaluator, block)
        self.reference, self.labels = clean.reference, np.asarray(clean.samples.y)[block.real]
        self.samples = {e: self._own(e, clean) for e in plan.attributors}
        self.extras: dict[Any, Any] = {}
        """{(name, function): extra computed on the host}, for questions that need it."""
        self.done: dict[Cell, dict[int, Answered]] = {}
        self.steps: dict[Cell, list[int]] = {}
        self.open: list[Any] = []
        """Questions of which more may be asked, for means over all samples."""
        self._maps: dict[Any, Any] = {}
        self._ranks: dict[Any, Any] = {}
        self._pending: collections.deque[Any] = collections.deque()

    def _own(self, e: str, clean: Clean) -> Sample:
        a, data = clean.maps[e], self.plan.job.data
        own = dataclasses.replace(clean.samples, a=a, features=tuple(a.shape[1:]))
        mask = fit_mask(data.mask, own, e, self.plan.valid)
        return dataclasses.replace(own, mask=None if mask is None else self.block.load(mask))

    def map(self, attributor: str, prepared: tuple[str | None, bool]) -> Any:
        """Maps prepared as a metric scores them; made once a block."""
        key = (attributor, prepared)
        if key not in self._maps:
            self._maps[key] = self.prepare(prepared, self.samples[attributor])
        return self._maps[key]

    def prepare(self, prepared: tuple[str | None, bool], s: Sample, i: Any = None) -> Any:
        """The maps of the samples (at rows i if given), as a metric scores them."""
        if s.a is None or (prepared == (None, False) and s.valid is None):
            return s.a
        return kernels.prepare(self.mesh, prepared, *_maps_of(s, i))

    def ranks(self, attributor: str, prepared: tuple[str | None, bool]) -> Any:
        """The ranks of prepared maps; made once a block."""
        key = (attributor, prepared)
        if key not in self._ranks:
            own = dataclasses.replace(self.samples[attributor], a=self.map(attributor, prepared))
            self._ranks[key] = self.rank(own)
        return self._ranks[key]

    def rank(self, s: Sample, i: Any = None) -> Any:
        """The ranks of the samples' prepared maps (at rows i if given)."""
        return kernels.rank(self.mesh, None, *_maps_of(s, i))

    def scored(self, attributor: str, names: list[str]) -> Scored:
        """Some metrics of an attributor, with the maps that they score."""
        metrics = tuple(self.plan.metrics[m] for m in names)
        wanted = [(m.normalise, m.absolute) for m in metrics]
        kinds = tuple(dict.fromkeys(wanted))
        ranked = {kind for m, kind in zip(metrics, wanted, strict=True) if m.of_ranks}
        maps = tuple(self.map(attributor, kind) for kind in kinds)
        ranks = tuple(self.ranks(attributor, k) if k in ranked else None for k in kinds)
        return Scored(metrics, kinds, tuple(kinds.index(kind) for kind in wanted), maps, ranks)

    def clean_answer(self, width: int) -> Answer:
        """The model's answers on the clean samples, in `width` rows per device."""
        if self._clean.answer is not None and self._clean.width == width:
            return self._clean.answer
        return self.block.resized(self.reference, width)

    def wait(self, answer: Any) -> None:
        """Let the device run ahead of the host by a few chunks, so that memory stays bounded."""
        self._pending.append(answer)
        if len(self._pending) > IN_FLIGHT:
            jax.block_until_ready(self._pending.popleft())

    def reduced(self) -> Reduced:
        """The outcomes of the cells with all questions asked, being computed by the devices."""
        plan, cells, outcomes = self.plan, [], []
        for e, s in self.samples.items():
            mine = [c for c in plan.cells if c.attributor == e and self._complete(c)]
            if not mine:
                continue
            slots = [self.done.get(c, {}) for c in mine]
            given = [[got[k] for k in sorted(got)] for got in slots]
            measured = tuple(tuple(v.measured for v in got) for got in given)
            valid = tuple(tuple(v.valid for v in got) for got in given)
            source = tuple(tuple(v.source for v in got) for got in given)
            scored = self.scored(e, [c.metric for c in mine])
            s = dataclasses.replace(s, a=None)
            args = (scored.metrics, s, scored.maps, self.reference, measured, valid, source)
            outcomes.extend(kernels.reduce(self.mesh, scored.which, *args))
            cells.extend(
                # Without the measurements, so that their memory is free for the next block.
                (cell, [v._replace(measured=None, valid=None, source=None) for v in got])
                for cell, got in zip(mine, given, strict=True)
            )
        return Reduced(plan, self.block.real, self.labels, self.steps, cells, outcomes)

    def _complete(self, cell: Cell) -> bool:
        return len(self.done.get(cell, {})) == len(asks_of(self.plan.metrics[cell.metric]))


def _maps_of(s: Sample, i: Any) -> tuple[Sample, Any]:
    """What is read of samples to prepare or rank their maps, at rows i."""
    unread = ("x", "y", "key", "position", "mask", "extras", "inputs")
    return dataclasses.replace(s, **dict.fromkeys(unread)), None if s.valid is None else i


def for_mean(outcome: Outcome, given: Any) -> Outcome:
    """The outcome with the scores that were estimated for their mean."""
    dtype = np.asarray(outcome.score).dtype
    found = {k: getattr(given, k).astype(dtype) for k in ("score", "error", "effective")}
    status = np.full(len(given.score), given.status, np.int8)
    return dataclasses.replace(
        outcome, **found, asked=given.asked, status=status, heavy_tails=status == HEAVY
    )


def with_status(metric: Metric, outcome: Outcome, got: list[Answered]) -> Outcome:
    """The outcome with what a tolerance took, and whether it was met."""
    limit = limit_of(metric)
    assert limit is not None
    asked: Any = sum(v.asked for v in got if v.asked is not None)
    if metric.steps_are != "draws":
        status = np.full(len(outcome.score), CONVERGED, np.int8)
        return dataclasses.replace(outcome, asked=asked, status=status)
    status = status_of(limit, outcome.score, outcome.error, outcome.heavy_tails)
    return dataclasses.replace(outcome, asked=asked, status=status, heavy_tails=status == HEAVY)


def answer_clean(plan: EvalPlan, evaluator: Evaluator, block: Block) -> Clean:
    """Evaluate the model and every explainer on the clean samples."""
    if block.start == 0 and plan.first is not None:
        clean = plan.first
    elif plan.clean_output:
        clean = block.answered(block.samples(plan.valid), plan.hidden, plan.forward_rows())
    else:
        clean = Clean(block.samples(plan.valid))
    if block.start == 0 and plan.clean_output and plan.job.model.host:
        _check_host(plan, clean)
    maps = dict(clean.maps)
    for e, attributor in plan.attributors.items():
        if isinstance(attributor, Stored):
            maps[e] = block.load(attributor.maps)
        elif e not in maps:
            maps[e] = block.map(attributor, clean.samples, plan.explain_rows(e))
    clean = dataclasses.replace(clean, maps=maps)
    if block.start == 0:
        _check_alone(plan, evaluator, block, clean)
    return clean


def _check_host(plan: EvalPlan, clean: Clean) -> None:
    """Check user-defined metrics against a host model's outputs, which are known only now."""
    specs = {
        e: dataclasses.replace(plan.spec, features=a.features) for e, a in plan.attributors.items()
    }
    logits = one_row(clean.reference.logits)
    check_outcomes(plan.job, plan.cells, plan.questions, specs, logits)


def _check_alone(plan: EvalPlan, evaluator: Evaluator, block: Block, clean: Clean) -> None:
    """Check that the rows of a batch do not influence each other; once per model, not counted.

    Uses the program of the model or, if only explainers need it, that of an explainer. Host
    callables are not checked: every row of their evaluations counts.
    """
    x = plan.job.data.x
    known, what = remembered(evaluator.given.apply), ("alone", x.shape[1:], x.dtype)
    compiled = [a for a in plan.attributors.values() if isinstance(a, Compiled)]
    if WATCHER.get() is not None:  # a rehearsal, whose answers are zeros
        return
    if evaluator.given.host or what in known or not (plan.clean_output or compiled):
        return
    if plan.clean_output:
        _meet_outputs(plan, evaluator, clean)
    else:
        _meet_maps(plan, evaluator, block, clean, compiled[0])
    known[what] = True


def _meet_outputs(plan: EvalPlan, evaluator: Evaluator, clean: Clean) -> None:
    """The outputs of the first sample in a batch with other rows."""
    data, model, width = plan.job.data, evaluator.model, plan.forward_rows()
    if width == 1:
        _meet_alone(data, model)
        return
    copies = 2 if width > 2 else 1
    rows = evaluator.put(company(data, width * evaluator.mesh.devices.size, copies))
    answer = kernels.forward(evaluator.mesh, (plan.hidden, evaluator.precision), model, *rows)
    other = ops.as_outputs(answer.logits, model.outputs)
    reference = ops.as_outputs(clean.reference.logits, clean.reference.outputs)
    check_alone(reference, other, data.x.dtype, copies)


def _meet_maps(
    plan: EvalPlan, evaluator: Evaluator, block: Block, clean: Clean, attributor: Compiled
) -> None:
    """The map of the first sample in a batch with other rows."""
    data, model, width = plan.job.data, evaluator.model, plan.explain_rows(attributor.name)
    if width == 1:
        _meet_alone(data, model)
        return
    s, rows = clean.samples, width * evaluator.mesh.devices.size
    _, y, keys = block.resized((s.x, s.y, s.key), width)  # the first row keeps its key
    y = np.full(rows, np.asarray(s.y)[0])
    if model.n_classes(plan.spec.x) > 1:  # different classes reveal rows that mix in gradients
        y[1:] = y[0] == 0
    (others, inputs), y = evaluator.put((company(data, rows), y))
    again = attributor.maps(evaluator, model, others, y, keys, inputs)
    check_alone(clean.maps[attributor.name], again, data.x.dtype)


def _meet_alone(data: Data, model: Model) -> None:
    """The same for batches of one row."""

    def ask(x: Any, inputs: Any) -> Any:
        return called(model.apply, *with_inputs(model, inputs).given(x))

    alike, apart = (ask(*company(data, 3, k)) for k in (3, 1))
    check_alone(alike, apart, data.x.dtype)
    check_alone(alike, alike, data.x.dtype, 2)
