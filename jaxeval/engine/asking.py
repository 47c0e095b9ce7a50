"""Asking a question about a block, in chunks of (sample, step) slots.

Each chunk has three steps: probe (create the queries), evaluate (the only programs with the
model), measure.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..lifetime import jit
from ..model import Model
from ..perturb import Perturbation, RandomPerturbation
from ..types import Answer, Query, Sample, canonical
from . import kernels
from .block import Answered, BlockState, Scored
from .explainers import Batch
from .questions import Question, Subscription
from .rounds import Chosen, Curve
from .sample_view import measure_one
from .slots import by_count
from .steps import Steps, steps_of
from .stops import Stops
from .until import in_rounds, pending


@dataclasses.dataclass(eq=False)
class Open:
    """A question of one block that is not finished: `known` [rows, S] are the steps asked."""

    asking: Asking
    steps: Steps
    known: np.ndarray

    def ask(self, wanted: np.ndarray) -> None:
        """Ask the wanted steps [rows, S] that are not known."""
        ask = self.steps.to_ask(wanted) & ~self.known
        self.asking.some(self.asking.state.evaluator.model, ask)
        self.known |= ask

    def source(self, n: int) -> Any:
        """The step whose measurement is used for each of the first n steps [rows, n]; None: its
        own.
        """
        source = self.steps.source
        return None if source is None else self.asking.state.evaluator.put(source[:, :n])

    def measured(self, at: Subscription) -> tuple[Any, Any]:
        """A subscriber's measurements [rows, S, ...], and what was unsound [rows, 2]."""
        e = at.cell.attributor
        buffers = self.asking.buffers
        return (buffers[e] if e in buffers else self.asking.unasked(e))[
            self.asking.q.by[e].index(at)
        ]


@dataclasses.dataclass
class Draws:
    """User-given draws of one question: shared by all samples, or per sample."""

    shared: Any = None
    own: Any = None


def ask(state: BlockState, q: Question, advance: Callable[[int], None]) -> None:
    """Ask a question about every sample and measure the answers for all its subscribers.

    Args:
      advance: called with the number of evaluations after each chunk.
    """
    evaluator, block = state.evaluator, state.block
    pert, draws = _draws(state, q.pert)
    s = state.samples[q.reader]
    a = None if q.prepared is None else state.map(q.reader, q.prepared)
    mask = s.mask if "mask" in q.pert.reads else None
    s = dataclasses.replace(s, a=a, mask=mask, extras=_extras(state, pert, s))
    plans, steps = _plans(state, q, pert, s, draws)
    if isinstance(pert, RandomPerturbation) and pert.draws_per == "sample":
        draws = Draws()
    asking = Asking(state, q, pert, s, plans, draws, advance)
    if pert.changes_params:
        # One set of parameters at a time, which all samples of the block share.
        once, key, unsure = np.minimum(steps.counts, 1), state.plan.job.options.key, {}
        of_means = set()
        for step in range(q.n_steps):
            asking(kernels.new_model(pert, evaluator.model, key, step), once, first=step)
    else:
        asking.known(steps)
        unsure = pending(state, q, steps)
        numbers = {s.cell: s.n_steps for subscriptions in q.by.values() for s in subscriptions}
        of_means = {cell for cell in numbers if cell in state.plan.means}
        fixed = [n for cell, n in numbers.items() if cell not in unsure and cell not in of_means]
        first = max(fixed, default=0)
        if first:
            asking(evaluator.model, steps.asked_of(first), order=steps.order)
        known = in_rounds(asking, evaluator.model, steps, unsure, first)
        if of_means:
            state.open.append(Open(asking, steps, known))
        else:
            finished(asking, steps, known)
    valid = np.arange(q.n_steps)[None] < steps.counts[:, None]
    valid, source = block.evaluator.put((valid, steps.source))
    for e, subscriptions in q.by.items():
        if of_means.issuperset(s.cell for s in subscriptions):
            continue
        buffers = asking.buffers[e] if e in asking.buffers else asking.unasked(e)
        if of_means:  # what is asked later is written into the buffers themselves
            buffers = jax.tree.map(jnp.copy, buffers)
        for (cell, slot, own, _), (buffer, flags) in zip(subscriptions, buffers, strict=True):
            if cell in of_means:
                continue
            of = unsure.get(cell)
            kept = min(asking.room, q.n_steps if of is not None else own)
            measured, ok, use = (_first(kept, v) for v in (buffer, valid, source))
            answered = Answered(measured, ok, use, flags)
            n = steps.counts.clip(max=own).sum()
            if of is not None:
                answered = of_rounds(evaluator.put, of, answered)
                n = of.evaluations.sum()
            state.done.setdefault(cell, {})[slot] = answered
            state.steps.setdefault(cell, []).append(int(n))


def _first(n: int, v: Any) -> Any:
    """The first n columns of v [rows, S, ...]."""
    return v if v is None or v.shape[1] <= n else v[:, :n]


def finished(asking: Asking, steps: Steps, known: np.ndarray) -> None:
    """Nothing more is asked than the steps `known` [rows, S]: count what the rest would take."""
    q, evaluator = asking.q, asking.state.evaluator
    asking.advance(int(steps.counts.sum() - known.sum()) * q.cost)
    whole = max(s.whole for own in q.by.values() for s in own)
    valid = np.arange(q.n_steps) < np.minimum(steps.counts, whole)[:, None]
    beyond = max(whole - q.n_steps, 0) * int((steps.counts > 0).sum())
    evaluator.save(q.kinds, int(steps.to_ask(valid).sum()) + beyond - int(known.sum()))


def of_rounds(put: Any, of: Curve | Stops, answered: Answered) -> Answered:
    """What a cell that was asked in rounds knows."""
    if isinstance(of, Stops):
        used = _first(answered.measured.shape[1], of.used)
        return answered._replace(valid=put(used), asked=of.evaluations)
    filled = put(of.filled().astype(answered.measured.dtype))
    source = None if answered.source is None else put(of.own.astype(np.int32))
    parts = {"source": source, "error": of.error()}
    if not isinstance(of, Chosen):
        parts["asked"] = of.evaluations
    return answered._replace(measured=filled, **parts)


def _extras(state: BlockState, pert: Perturbation, s: Sample) -> dict[str, Any]:
    """The sample's extras, including those computed on the host for this question."""
    extras, block = dict(s.extras), state.block
    for name, make in pert.host_extras().items():
        if name not in extras:
            key = (name, make)
            if key not in state.extras:
                state.extras[key] = state.evaluator.put(block.host_extra(make))
            extras[name] = state.extras[key]
    return extras


def _draws(state: BlockState, pert: Perturbation) -> tuple[Perturbation, Draws]:
    """The perturbation without the caller's draws, and the draws of this block."""
    if not isinstance(pert, RandomPerturbation) or pert.draws is None:
        return canonical(pert), Draws()
    given = np.asarray(pert.draws)
    leads = pert.draws_lead(state.plan.spec)
    draws = Draws(own=state.block.load(given)) if leads else Draws(given)
    return canonical(dataclasses.replace(pert, draws=None)), draws


def _plans(
    state: BlockState, q: Question, pert: Perturbation, s: Sample, draws: Draws
) -> tuple[Any, Steps]:
    """(plans of the samples, their steps); padding rows have no steps."""
    real, kind = state.block.real, type(pert)
    by_step = isinstance(pert, RandomPerturbation) and pert.draws_per == "step"
    given = by_step and (draws.shared is not None or draws.own is not None)
    # An explainer has no answer to reuse: only the answers about the clean sample are kept.
    once = kind.same is not Perturbation.same and q.asks_model and not q.explained and not given
    plans, counts, same = None, np.full(len(real), q.n_steps), None
    if once or kind.plan is not Perturbation.plan or kind.count is not Perturbation.count:
        args = (pert, draws.shared, s, state.reference, draws.own)
        plans, counted, same = kernels.plan(state.mesh, once, *args)
        counts = counts if counted is None else np.asarray(counted)
    same = None if same is None else np.asarray(same)
    if given and isinstance(pert, RandomPerturbation) and q.asks_model and not q.explained:
        same = _same_draws(pert, draws, len(real))
    return plans, steps_of(np.where(real, counts, 0), same)


def _same_draws(pert: RandomPerturbation, draws: Draws, rows: int) -> np.ndarray | None:
    """`Perturbation.same` [rows, S] of given draws."""
    if draws.own is None:
        same = pert.same_draws(np.asarray(draws.shared))
        return None if same is None else np.broadcast_to(same, (rows, len(same)))
    each = [pert.same_draws(own) for own in np.asarray(draws.own)]
    known = [same for same in each if same is not None]
    return np.stack(known) if known else None


@jit(static_argnums=0)
def _measured(
    which: tuple[int, ...],
    metrics: Any,
    s: Any,
    maps: Any,
    ranks: Any,
    ref: Any,
    query: Any,
    answer: Any,
    answered: Any,
) -> Any:
    """The metrics' measurements of one answer; traced once for shapes, never run."""
    return tuple(
        measure_one(
            metric,
            dataclasses.replace(s, a=maps[k]),
            ref,
            query,
            dataclasses.replace(answer, attribution=answered[k].attribution),
        )
        for metric, k in zip(metrics, which, strict=True)
    )


class Asking:
    """One question about one block, with the buffers [rows, S, ...] of every subscriber."""

    def __init__(
        self,
        state: BlockState,
        q: Question,
        pert: Perturbation,
        s: Sample,
        plans: Any,
        draws: Draws,
        advance: Callable[[int], None],
    ):
        self.state, self.q, self.pert, self.s, self.plans = state, q, pert, s, plans
        self.draws, self.advance = draws, advance
        self.where = f"{state.block.where}, perturbed"
        self.width = state.plan.width(q)
        self.room = state.plan.room(q)
        self.buffers: dict[str, tuple[Any, ...]] = {}
        self.scored = {
            e: state.scored(e, [s.cell.metric for s in subscriptions])
            for e, subscriptions in q.by.items()
        }
        self.clean = {e: dataclasses.replace(state.samples[e], a=None) for e in q.by}

    def __call__(
        self, model: Model, counts: np.ndarray, first: int = 0, order: np.ndarray | None = None
    ) -> None:
        """Ask `counts` [rows] steps of each sample: of `order` [rows, S], or from `first` on."""
        evaluator, devices = self.state.evaluator, self.state.block.devices
        totals = counts.reshape(devices, -1).sum(1)
        on_device = evaluator.put((by_count(counts, devices), order))
        place = evaluator.put(np.tile(np.array([0, first], np.int32), (devices, 1)))
        for chunk in range(-(-int(totals.max()) // self.width)):
            slots = np.clip(totals - chunk * self.width, 0, self.width)
            real = (np.arange(self.width)[None] < slots[:, None]).reshape(-1)
            place = self._chunk(model, on_device, place, real)
            self.advance(int(slots.sum()) * self.q.cost)

    def grow(self, n: int) -> None:
        """Make room for n steps in the buffers."""
        if n <= self.room:
            return
        more = min(self.q.n_steps, max(n, 4 * self.room)) - self.room
        self.room += more

        def leaf(v: Any, value: float) -> Any:
            pad = [(0, 0), (0, more), *[(0, 0)] * (v.ndim - 2)]
            return self.state.evaluator.put(np.pad(np.asarray(v), pad, constant_values=value))

        for e, buffers in self.buffers.items():
            self.buffers[e] = tuple((leaf(v, np.nan), flags) for v, flags in buffers)

    def some(self, model: Model, ask: np.ndarray) -> None:
        """Ask the marked steps [rows, S]."""
        if ask.any():
            order = np.argsort(~ask, axis=1, kind="stable").astype(np.int32)
            self(model, ask.sum(1), order=order)

    def known(self, steps: Steps) -> None:
        """Measure the queries that are the clean sample, whose answer is known."""
        if steps.clean is None or (steps.clean == self.q.n_steps).all():
            return
        evaluator, rows = self.state.evaluator, len(steps.counts)
        order = np.zeros((rows, self.q.n_steps), np.int32)
        order[:, 0] = steps.clean  # steps out of range are measured, but not written
        counts, place = self._once(1)
        on_device, place = evaluator.put(((counts, order), place))
        query, _, *at, _ = self._probe(on_device, place)
        answer = self.state.clean_answer(self.width)
        for e in self.q.by:
            self._measure(e, query, answer, *at)

    def unasked(self, e: str) -> tuple[Any, ...]:
        """The buffers of a question that no sample of the block has valid steps of."""
        state, scored = self.state, self.scored[e]
        counts, place = self._once(0)
        query = self._probe((counts, None), place)[0]
        maps = scored.maps if e in self.q.explained else (None,) * len(scored.maps)
        answered, own = tuple(Answer(attribution=a) for a in maps), (scored.maps, scored.ranks)
        given = (*own, state.reference, query, state.reference, answered)
        return self._buffers(scored, self.clean[e], *given)

    def _once(self, n: int) -> tuple[Any, Any]:
        """(counts, place of the first chunk) to ask n steps of each sample."""
        devices = self.state.block.devices
        counts = np.full(len(self.state.block.real), n)
        return by_count(counts, devices), np.zeros((devices, 2), np.int32)

    def _probe(self, counts: Any, place: Any) -> Any:
        """The queries of the chunk at `place`; counts: (`by_count`, the order of the steps)."""
        return kernels.probe(
            self.state.mesh, self.width, self.pert, self.draws.shared,
            self.s, self.plans, *counts, self.draws.own, place,
        )  # fmt: skip

    def _chunk(self, model: Model, counts: Any, place: Any, real: np.ndarray) -> Any:
        """Ask the chunk at `place`; return the place of the next one."""
        state, q, evaluator = self.state, self.q, self.state.evaluator
        query, keys, i, step, ok, place = self._probe(counts, place)
        output = Answer()
        if q.asks_model:
            hidden = state.plan.hidden if "hidden" in q.asks else False
            output = evaluator.output(model, query.x, query.inputs, hidden, real, self.where)
            state.wait(output)
        for e in q.by:
            answer = output
            if e in q.explained:
                batch = Batch(query.x, query.y, keys, query.inputs, real, self.where)
                a = state.plan.attributors[e].explain(evaluator, model, batch)
                answer = dataclasses.replace(output, attribution=a)
                state.wait(a)
            self._measure(e, query, answer, i, step, ok)
        return place

    def _measure(self, e: str, query: Query, answer: Answer, *at: Any) -> None:
        state, scored = self.state, self.scored[e]
        s, answered = self.clean[e], (Answer(),) * len(scored.kinds)
        if answer.attribution is not None:
            answered = tuple(self._prepared(scored, e, answer.attribution, at[0]))
            answer = dataclasses.replace(answer, attribution=None)
        given = (s, scored.maps, scored.ranks, state.reference, query, answer, answered)
        if e not in self.buffers:
            self.buffers[e] = self._buffers(scored, *given)
        args = (scored.metrics, *given, *at, self.buffers[e])
        self.buffers[e] = kernels.measure(state.mesh, scored.which, *args)

    def _prepared(self, scored: Scored, e: str, a: Any, i: Any) -> Iterator[Answer]:
        """The maps of queries about the samples at rows i, in each kind that is scored."""
        given = dataclasses.replace(self.clean[e], a=a)
        for kind, clean in zip(scored.kinds, scored.ranks, strict=True):
            own = dataclasses.replace(given, a=self.state.prepare(kind, given, i))
            yield Answer(
                attribution=own.a, ranks=None if clean is None else self.state.rank(own, i)
            )

    def _buffers(self, scored: Scored, *given: Any) -> tuple[Any, ...]:
        """Buffers for all measurements, filled with NaN."""
        one = jax.tree.map(lambda v: jax.ShapeDtypeStruct(v.shape[1:], v.dtype), given)
        rows = (len(self.state.block.real), self.room)
        shapes = _measured.eval_shape(scored.which, scored.metrics, *one)
        nan = [
            (
                np.full(rows + v.shape, np.nan, jnp.promote_types(v.dtype, "float32")),
                np.zeros((rows[0], 2), np.int8),
            )
            for v in shapes
        ]
        return self.state.evaluator.put(tuple(nan))
