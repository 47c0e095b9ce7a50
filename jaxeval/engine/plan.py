"""The plan of a run: its questions, explainers and shapes; made before the first block."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..check import warn
from ..identity import identity
from ..metric import Metric, limit_of
from ..perturb import Perturbation
from ..tokens import FIRST
from ..types import Sample, canonical
from ..words import is_first
from . import kernels
from .batch_size import automatic, rounded_up
from .errors import out_of_memory
from .evaluator import Evaluator
from .explainers import Attributor, OnHost
from .job import Job
from .memory import within_memory
from .outcomes import check_outcomes
from .questions import Cell, Question, chunk_width, collect, narrow_width
from .sample_view import needs_output
from .samples import Block, Clean
from .shapes import check_features, check_padded, fit_mask, fit_padding

UNASKED = 1024
"""Samples per block if nothing is evaluated."""
DRAWS = 2**21
"""Most draws of a block on a device, asked or not, to a tolerance."""
FEW = 128
"""Draws of each sample that there is room for at first, for means over all samples."""
MOST = 65_536
"""Larger batches make no device faster."""


@dataclasses.dataclass(frozen=True, eq=False)
class EvalPlan:
    """A run as a value.

    Attributes:
      attributors: the explainers whose maps are scored, including derived ones.
      cells: {cell: its metric}, with settings as given.
      metrics: the metrics with their numbers as arrays, for compiled programs.
      questions: the distinct questions.
      spec: a sample of shapes and dtypes, without attributions.
      valid: which entries of the inputs are not padding, bool that broadcasts to x [N, ...].
      batch_size: maximum number of evaluations at once on a device.
      local: samples per block on each device.
      output_width, map_width: slots on each device of a chunk answered with outputs, and of one
        answered with attributions; round_width: of one of a question asked in rounds.
      clean_output: whether the model is evaluated on the clean samples; hidden: with which of its
        hidden layers.
      first: answers of host explainers and the model about the first block, which determine the
        shapes of maps.
      too_large: numbers of evaluations at once for which the devices had not enough memory.
    """

    job: Job
    attributors: Mapping[str, Attributor]
    cells: Mapping[Cell, Metric]
    metrics: Mapping[str, Metric]
    questions: tuple[Question, ...]
    spec: Sample
    valid: np.ndarray | None
    batch_size: int
    local: int
    output_width: int
    map_width: int
    round_width: int
    clean_output: bool
    hidden: kernels.Layers
    first: Clean | None
    too_large: tuple[int, ...] = ()

    @functools.cached_property
    def means(self) -> frozenset[Cell]:
        """The cells that are asked for their means over all samples."""
        limits = {cell: limit_of(metric) for cell, metric in self.cells.items()}
        return frozenset(c for c, v in limits.items() if v is not None and v.per == "mean")

    def room(self, q: Question) -> int:
        """Steps that there is room for in a question's buffers at first.

        Few of a budget of draws for means over the data set, whose buffers are all held at once.
        """
        numbers = {s.cell: s.n_steps for own in q.by.values() for s in own}
        drawn = {cell for cell in numbers if self.cells[cell].steps_are == "draws"}
        others = [n for cell, n in numbers.items() if cell not in drawn & self.means]
        return min(q.n_steps, max([FEW, *others]))

    def width(self, q: Question) -> int:
        """Slots of a chunk of this question, on each device."""
        if q.explained:
            return self.map_width
        return self.round_width if q.in_rounds else self.output_width

    @property
    def rows(self) -> int:
        """The most evaluations at once on a device."""
        return min(self.batch_size, max(self.local, self.output_width, self.map_width))

    def forward_rows(self) -> int:
        """Rows of the forward program on each device: one shape for clean samples and chunks."""
        return self.output_width if any(q.asks_model for q in self.questions) else self.local

    def explain_rows(self, attributor: str) -> int:
        """Rows of one explainer's program on each device."""
        asked = any(attributor in q.explained for q in self.questions)
        return self.map_width if asked else self.local

    def evaluations(self) -> int:
        """Evaluations of the model and of explainers, as far as known in advance."""
        clean = self.clean_evaluations()
        return self.job.n * (clean + sum(q.cost * q.n_steps for q in self.questions))

    def clean_evaluations(self) -> int:
        """Evaluations per clean sample."""
        return self.clean_output + sum(a.asked for a in self.attributors.values())

    def in_threads(self) -> list[Any]:
        """Functions of one image that questions need, unless the caller gave the result."""
        given = self.job.data.extras
        made = [q.pert.host_extras() for q in self.questions]
        wanted = [make for makes in made for name, make in makes.items() if name not in given]
        return [make for make in dict.fromkeys(wanted) if getattr(make, "in_threads", False)]

    def points(self) -> dict[str, list[str]]:
        """{metric: the names of its curve's points}, for the metrics that name them."""
        asked: dict[str, dict[int, Perturbation]] = {m: {} for m in self.metrics}
        for q in self.questions:
            for s in (s for subscriptions in q.by.values() for s in subscriptions):
                asked[s.cell.metric].setdefault(s.slot, q.pert)
        found = {}
        for m, metric in self.job.metrics.items():
            names = metric.points(tuple(asked[m][slot] for slot in sorted(asked[m])))
            if asked[m] and names is not None:
                found[m] = list(names)
        return found


def make_plan(job: Job, evaluator: Evaluator) -> EvalPlan:
    """The plan of a job.

    The shape of a host explainer's maps is known only from its answers: it is called on the first
    block here, and its answers are part of the plan.

    Raises:
      ValueError, TypeError: incompatible metrics, explainers and samples.
    """
    metrics, data = job.metrics.values(), job.data
    attributors, cells = derived(job)
    clean_output = data.y is None or any(map(needs_output, metrics))
    hidden = kernels.layers_of(metrics)
    valid, spec = specify(job)
    per_device = -(-max(job.n, job.options.rows or 0) // evaluator.devices)
    plan = EvalPlan(
        job=job,
        attributors=attributors,
        cells=cells,
        metrics={m: compiled(metric) for m, metric in job.metrics.items()},
        questions=(),
        spec=spec,
        valid=valid,
        batch_size=1,
        local=1,
        output_width=1,
        map_width=1,
        round_width=1,
        clean_output=clean_output,
        hidden=hidden,
        first=None,
    )
    known = all(a.features is not None for a in attributors.values())
    if known:
        plan = dataclasses.replace(plan, questions=ask_what(job, attributors, cells, spec, valid))
    batch_size = job.options.batch_size
    if batch_size is None:
        asks = clean_output or any(a.asked for a in attributors.values())
        steps = max([q.n_steps for q in plan.questions], default=1)
        most = per_device * steps if known else MOST
        batch_size = UNASKED
        if asks or plan.questions or not known:
            batch_size = automatic(job.model, job.one, most, evaluator.mesh.devices.flat[0])
            in_batches = functools.partial(with_batch, plan, evaluator, per_device)
            batch_size = within_memory(plan, evaluator, in_batches, batch_size, most)
    plan = with_batch(plan, evaluator, per_device, batch_size)
    return plan if known else with_first(plan, evaluator)


def with_batch(plan: EvalPlan, evaluator: Evaluator, per_device: int, batch_size: int) -> EvalPlan:
    """The plan in batches of this size, of `per_device` samples on each device."""
    steps = max([q.n_steps for q in plan.questions], default=1)
    local = block_rows(per_device, batch_size, steps, evaluator.platform)
    local = min(local, rows_of_buffers(plan.job))
    output_width, map_width = widths(plan.questions, local, batch_size, evaluator.platform)
    asked = [q for q in plan.questions if q.asks_model]
    return dataclasses.replace(
        plan,
        batch_size=batch_size,
        local=local,
        output_width=output_width,
        map_width=map_width,
        round_width=narrow_width(asked, local, batch_size, output_width, -(-per_device // local)),
    )


def with_first(plan: EvalPlan, evaluator: Evaluator) -> EvalPlan:
    """The plan with its questions, after the first answers of host explainers."""
    job, attributors, first = plan.job, plan.attributors, None
    while first is None:
        try:
            first = answer_first(plan, Block(job, evaluator, plan.local, 0))
        except Exception as e:
            if not out_of_memory(e) or plan.local == 1:
                raise
            trouble = str(e)
        if first is None:
            plan = smaller(plan, evaluator, trouble)
    attributors = {
        e: with_features(a, first.maps[e].shape[1:]) if e in first.maps else a
        for e, a in attributors.items()
    }
    questions = ask_what(job, attributors, plan.cells, plan.spec, plan.valid)
    plan = dataclasses.replace(plan, attributors=attributors, questions=questions, first=first)
    return with_batch(plan, evaluator, plan.local, plan.batch_size)


def smaller(plan: EvalPlan, evaluator: Evaluator, trouble: str) -> EvalPlan:
    """The plan with half the batch size, after the devices ran out of memory; warns."""
    now = max(1, plan.rows // 2)
    warn(
        f"out of device memory with a batch size of {plan.rows}: continuing with {now}, which "
        f"takes longer; scores are the same. Give batch_size={now} to begin with that. The device "
        f"said: {trouble[:300]}"
    )
    less = with_batch(plan, evaluator, plan.local, now)
    return dataclasses.replace(less, first=None, too_large=(*plan.too_large, plan.rows))


def block_rows(per_device: int, batch_size: int, steps: int, platform: str) -> int:
    """Samples per block on each device; slots of (sample, step) are numbered in int32."""
    most = (2**31 - 1 - batch_size) // steps
    return max(1, min(rounded_up(per_device, platform), batch_size, most))


def rows_of_buffers(job: Job) -> int:
    """Most samples of a block on each device, so that buffers for whole budgets of draws fit."""
    limits = [limit_of(m) for m in job.metrics.values() if m.steps_are == "draws"]
    return max(1, DRAWS // max([1, *(limit.budget or 1 for limit in limits if limit is not None)]))


def compiled(metric: Metric) -> Metric:
    """The metric for compiled programs, which do not depend on how large a tolerance is."""
    metric = metric.compiled()
    if (limit := limit_of(metric)) is None:
        return canonical(metric)
    drawn = metric.steps_are == "draws"
    limit = dataclasses.replace(limit, absolute=1.0, relative=None, per="sample")
    changed: dict[str, Any] = {"tolerance": limit if drawn else None}
    return canonical(dataclasses.replace(metric, **changed))


def check_job(job: Job) -> None:
    """The checks of `make_plan` that need no evaluation.

    Raises:
      ValueError, TypeError: as for `make_plan`.
    """
    attributors, cells = derived(job)
    valid, spec = specify(job)
    if all(a.features is not None for a in attributors.values()):
        ask_what(job, attributors, cells, spec, valid)


def derived(job: Job) -> tuple[dict[str, Attributor], dict[Cell, Metric]]:
    """All attributors, and the cells of the results.

    A metric may score an explainer derived from the given one (such as its smoothed maps): that is
    a separate attributor, shared by metrics that derive the same.
    """
    found, made, cells = dict(job.attributors), {}, {}
    for e, attributor in job.attributors.items():
        for m, metric in job.metrics.items():
            if job.only is not None and (e, m) not in job.only:
                continue
            name = e
            if attributor.explainer is not None:
                explainer = metric.explainer(attributor.explainer)
                if explainer is not attributor.explainer:
                    explainer = canonical(explainer)
                    name = made.setdefault((e, identity(explainer)), f"{e} (for {m})")
                    found.setdefault(name, attributor.using(name, explainer))
            cells[Cell(name, m, e)] = metric
    used = {cell.attributor for cell in cells} if job.metrics else set(found)
    return {name: a for name, a in found.items() if name in used}, cells


def specify(job: Job) -> tuple[np.ndarray | None, Sample]:
    """(which entries of the inputs are not padding, a sample of shapes and dtypes)."""
    spec = Sample(
        x=job.one,
        y=jax.ShapeDtypeStruct((), jnp.int32),
        key=None,
        position=jax.ShapeDtypeStruct((), jnp.int32),
        channel_axis=job.model.sample_channel_axis(len(job.one.shape)),
    )
    if job.data.padding is None:
        return None, spec
    valid = ~fit_padding(job.data.padding, spec)
    one = jax.ShapeDtypeStruct(valid.shape[1:], bool)
    first = (job.data.inputs or {}).get(FIRST)
    owner = None if first is None else jax.ShapeDtypeStruct(first.shape[1:], first.dtype)
    return valid, dataclasses.replace(spec, valid=one, owner=owner)


def countable(job: Job, valid: np.ndarray | None) -> np.ndarray | None:
    """Which valid entries are features: of the pieces of a word, the first."""
    first = (job.data.inputs or {}).get(FIRST)
    return valid if first is None or valid is None else valid & is_first(first)


def ask_what(
    job: Job,
    attributors: Mapping[str, Attributor],
    cells: Mapping[Cell, Metric],
    spec: Sample,
    valid: np.ndarray | None,
) -> tuple[Question, ...]:
    """The questions, once the shapes of all maps are known; checks that everything fits."""
    specs = {e: dataclasses.replace(spec, features=a.features) for e, a in attributors.items()}
    valid = countable(job, valid)
    for e, one in specs.items():
        # Metrics need maps in the shape of the input; alone, `attribute` also gives a layer's.
        if job.metrics:
            check_features(e, one.features, spec)
        check_padded(e, one)
        fit_mask(job.data.mask, one, e, valid)
    questions = collect(cells, job.model, specs, job.n, valid)
    if not job.model.host:
        k = job.model.n_classes(spec.x)
        check_outcomes(job, cells, questions, specs, jax.ShapeDtypeStruct((k,), jnp.float32))
    return questions


def answer_first(plan: EvalPlan, block: Block) -> Clean:
    """The answers, for the first block, of host explainers whose map shapes are not known yet."""
    clean = Clean(block.samples(plan.valid))
    if plan.clean_output:
        clean = block.answered(clean.samples, plan.hidden, block.local)
    unknown = {e: a for e, a in plan.attributors.items() if a.features is None}
    maps = {e: block.map(a, clean.samples, block.local) for e, a in unknown.items()}
    return dataclasses.replace(clean, maps=maps)


def with_features(attributor: Attributor, features: tuple[int, ...]) -> Attributor:
    assert isinstance(attributor, OnHost)
    return dataclasses.replace(attributor, features=tuple(features))


def widths(
    questions: tuple[Question, ...], local: int, batch_size: int, platform: str
) -> tuple[int, int]:
    """(slots of a chunk answered with outputs, slots of one answered with attributions)."""

    def slots(asked: Any, **given: Any) -> int:
        width = chunk_width(asked, local, batch_size, **given)
        return max(local, min(rounded_up(width, platform), batch_size))

    explained = [q for q in questions if q.explained]
    if any(q.asks_model for q in explained):  # one forward program for all
        width = slots(questions)
        return width, width
    plain = [q for q in questions if not q.explained]
    return (
        slots(plain),
        slots(explained, fixed=1 / 32),
    )
