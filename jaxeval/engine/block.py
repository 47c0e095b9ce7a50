"""One block of samples: its clean answers, and every question asked about it.

A question is asked in chunks of (sample, step) slots: probe (make the queries), ask (the only
programs with the model), measure. In the end the measurements are reduced to outcomes.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from .. import ops
from ..lifetime import jit, remembered
from ..metric import Metric, asks_of
from ..model import Model, called
from ..perturb import Perturbation, RandomPerturbation
from ..types import Answer, Outcome, Query, Sample, canonical
from . import kernels
from .answers import check_alone, company
from .ask import Source
from .fit import fit_mask
from .host import once_per_image
from .plan import Question
from .view import finish_all, measure_one

if TYPE_CHECKING:
    from .run import Run

IN_FLIGHT = 2
"""Chunks that may be under way on the device before the host waits for the oldest."""


@dataclasses.dataclass
class Draws:
    """Given draws of one question: for all samples, or each sample's own."""

    shared: Any = None
    own: Any = None


@dataclasses.dataclass
class Scored:
    """Metrics of one explainer, the kinds of maps that they score, and which one scores which."""

    metrics: tuple[Metric, ...]
    kinds: tuple[tuple[str | None, bool], ...]
    which: tuple[int, ...]
    maps: tuple[Any, ...]


class Block:
    """The samples from `start` on, as many as a block holds."""

    def __init__(self, run: Run, start: int):
        self.run, self.start = run, start
        self.rows = np.arange(run.local * run.devices) < run.n - start
        """Which rows are real: a ragged last block is padded."""
        self.count = int(self.rows.sum())
        self.where = f"the batch of samples {start}..{start + self.count - 1}"
        self.labels: np.ndarray | None = None
        self.samples: dict[str, Sample] = {}
        self.reference = Answer()
        self.maps: dict[Any, Any] = {}
        self.derived: dict[Any, Any] = {}
        self.done: dict[tuple[str, str], dict[int, tuple[Any, Any, Any]]] = {}
        self.unsound: dict[tuple[str, str], np.ndarray] = {}
        """Per run whether a map that it asked for is not finite, and an output NaN, [n, 2]."""
        self.steps: dict[tuple[str, str], list[int]] = {}
        self.pending: collections.deque[Any] = collections.deque()

    # -- the clean samples ---------------------------------------------------------------------

    def answer_clean(self) -> None:
        """Load the samples and ask the model and every explainer about them as they are."""
        run, data = self.run, self.run.data
        s = Sample(
            x=self._padded(data.x),
            y=self._padded(np.zeros(run.n, np.int32) if data.y is None else data.y),
            key=kernels.keys_of(run.key, self._padded(data.index)),
            position=self._padded(np.arange(run.n, dtype=np.int32)),
            extras={k: self._padded(v) for k, v in data.extras.items()},
            valid=None if run.valid is None else self._padded(run.valid),
            channel_axis=run.spec.channel_axis,
        )
        s = run.asker.put(s)
        if run.clean_output:
            s = self._clean_output(s)
        self.labels = np.asarray(s.y)[self.rows]
        maps = {e: self._clean_map(source, s) for e, source in run.sources.items()}
        if not self.start:
            self._check_alone(s, maps)
        if run.questions is None:  # the shapes of host explainers' maps are known only now
            run.prepare()
        for e, a in maps.items():
            own = dataclasses.replace(s, a=a, features=tuple(a.shape[1:]))
            mask = fit_mask(data.mask, own, e, run.valid)
            mask = None if mask is None else self._load(mask)
            self.samples[e] = dataclasses.replace(own, mask=mask)

    def _padded(self, rows: np.ndarray) -> np.ndarray:
        mine = rows[self.start : self.start + len(self.rows)]
        if len(mine) == len(self.rows):
            return mine
        return np.concatenate([mine, np.repeat(mine[:1], len(self.rows) - len(mine), 0)])

    def _load(self, rows: np.ndarray) -> Any:
        return self.run.asker.put(self._padded(rows))

    def _resized(self, tree: Any, width: int) -> Any:
        return kernels.resize(self.run.mesh, width, tree)

    def _real(self, width: int) -> np.ndarray:
        """Which of `width` rows a device are real, where the block's own come first."""
        real = np.zeros((self.run.devices, width), bool)
        real[:, : self.run.local] = self.rows.reshape(self.run.devices, -1)
        return real.reshape(-1)

    def _clean_output(self, s: Sample) -> Sample:
        run, width = self.run, self.run.forward_width()
        x = s.x if width == run.local else self._resized(s.x, width)
        real = self._real(width)
        answer = run.asker.output(run.asker.model, x, run.hidden, real, self.where)
        self.reference = answer if width == run.local else self._resized(answer, run.local)
        run.progress.advance(self.count)
        if not self.start:
            run.check_outputs(self.reference.logits, self.rows)
        if run.data.y is None:
            y = kernels.predicted(run.mesh, None, self.reference.logits)
            return dataclasses.replace(s, y=y)
        return s

    def _check_alone(self, s: Sample, maps: dict[Any, Any]) -> None:
        """The rows of a batch do not influence each other; asked once of a model, and not counted.

        By the program of the model or, where only explainers ask it, of an explainer. Host
        callables are taken at their word: what they are asked is counted to the row.
        """
        run, data = self.run, self.run.data
        known, what = remembered(run.asker.given.apply), ("alone", data.x.shape[1:], data.x.dtype)
        traced = [e for e, v in run.sources.items() if v.stored is None and not v.eager]
        asked = run.clean_output or traced
        if not run.asker.given.host and what not in known and asked:
            self._meet(s, maps, traced)
            known[what] = True

    def _meet(self, s: Sample, maps: dict[Any, Any], traced: list[str]) -> None:
        """The first sample in other company than its own."""
        run, data = self.run, self.run.data
        model, kind = run.asker.model, data.x.dtype
        width = run.forward_width() if run.clean_output else run.explain_width(traced[0])
        if width == 1:
            ask = functools.partial(called, model.apply, model.params)
            alike, apart = (ask(company(data.x, 3, k)) for k in (3, 1))
            check_alone(alike, apart, kind)
            check_alone(alike, alike, kind, 2)
            return
        copies = 2 if run.clean_output and width > 2 else 1
        x = run.asker.put(company(data.x, width * run.devices, copies))
        if run.clean_output:
            answer = kernels.forward(run.mesh, (run.hidden, run.asker.precision), model, x)
            other = ops.as_outputs(answer.logits, model.outputs)
            clean = ops.as_outputs(self.reference.logits, self.reference.outputs)
            check_alone(clean, other, kind, copies)
        else:
            first = run.asker.put(np.zeros(width * run.devices, np.int32))
            y, key = jax.tree.map(lambda v: v[first], (s.y, s.key))
            if model.n_classes(run.spec.x) > 1:  # gradients of a sum show what mixes by its classes
                y = y.at[1:].set(jnp.where(y[0] == 0, 1, 0))
            again = run.asker.maps(run.sources[traced[0]], model, x, y, key)
            check_alone(maps[traced[0]], again, kind)

    def _clean_map(self, source: Source, s: Sample) -> Any:
        run = self.run
        if source.stored is not None:
            return self._load(source.stored)
        width = run.explain_width(source.name)
        x, y, keys = s.x, s.y, s.key
        if width != run.local:
            x, y, keys = self._resized((x, y, keys), width)
        a = run.asker.attribution(
            source, run.asker.model, x, y, keys, self._real(width), self.where
        )
        if source.features is None:
            source.features = tuple(a.shape[1:])
            run.check_features(source.name, source.features)
        run.progress.advance(self.count)
        return a if width == run.local else self._resized(a, run.local)

    def _map(self, explainer: str, prepared: tuple[str | None, bool]) -> Any:
        """An explainer's maps, prepared as a metric scores them; made once a block."""
        key = (explainer, prepared)
        if key not in self.maps:
            self.maps[key] = self.prepare(prepared, self.samples[explainer])
        return self.maps[key]

    def prepare(self, prepared: tuple[str | None, bool], s: Sample, i: Any = None) -> Any:
        """The maps of samples, or `s.a` of the samples at rows i, as a metric scores them."""
        if s.a is None or (prepared == (None, False) and s.valid is None):
            return s.a
        i = None if s.valid is None else i
        s = dataclasses.replace(s, x=None, y=None, key=None, position=None, mask=None, extras=None)
        return kernels.prepare(self.run.mesh, prepared, s, i)

    def scored(self, explainer: str, names: list[str]) -> Scored:
        """Some metrics of an explainer, with the maps that they score."""
        metrics = tuple(self.run.metrics[m] for m in names)
        wanted = [(m.normalise, m.absolute) for m in metrics]
        kinds = tuple(dict.fromkeys(wanted))
        maps = tuple(self._map(explainer, kind) for kind in kinds)
        return Scored(metrics, kinds, tuple(kinds.index(kind) for kind in wanted), maps)

    # -- one question --------------------------------------------------------------------------

    def ask(self, q: Question) -> None:
        """Ask a question about every sample and measure the answers for all who asked it."""
        pert, draws = self._draws(q.pert)
        s = self.samples[q.reader]
        a = self._map(q.reader, q.prepared) if q.prepared is not None else None
        mask = s.mask if "mask" in q.pert.reads else None
        s = dataclasses.replace(s, a=a, mask=mask, extras=self._extras(q.pert, s))
        plans, counts = self._plan(q, pert, s, draws)
        if isinstance(pert, RandomPerturbation) and pert.draws_per == "sample":
            draws = Draws()
        asking = _Asking(self, q, pert, s, plans, draws)
        if pert.changes_params:
            # One set of parameters at a time, which all samples of the block share.
            once = np.minimum(counts, 1)
            for step in range(q.n_steps):
                model = kernels.new_model(pert, self.run.asker.model, self.run.key, step)
                asking(model, once, first=step)
        else:
            asking(self.run.asker.model, counts)
        valid = self.run.asker.put(np.arange(q.n_steps)[None] < counts[:, None])
        for e, subscriptions in q.by.items():
            for subscription, (buffer, flags) in zip(subscriptions, asking.buffers[e], strict=True):
                run = e, subscription.metric
                self.done.setdefault(run, {})[subscription.slot] = (buffer, valid, flags)
                self.steps.setdefault(run, []).append(int(counts.sum()))

    def _extras(self, pert: Perturbation, s: Sample) -> dict[str, Any]:
        """The sample's extras, with those that the host computes for this question."""
        extras = dict(s.extras)
        for name, make in pert.host_extras().items():
            if name not in extras:
                key = (name, make)
                if key not in self.derived:
                    x = self._padded(self.run.data.x)
                    rows = [once_per_image(make, row, s.channel_axis) for row in x]
                    self.derived[key] = self.run.asker.put(np.stack(rows))
                extras[name] = self.derived[key]
        return extras

    def _draws(self, pert: Perturbation) -> tuple[Perturbation, Draws]:
        """The perturbation without the caller's draws, and the draws of this block."""
        if not isinstance(pert, RandomPerturbation) or pert.draws is None:
            return canonical(pert), Draws()
        given = np.asarray(pert.draws)
        draws = Draws(own=self._load(given)) if pert.draws_lead(self.run.spec) else Draws(given)
        return canonical(dataclasses.replace(pert, draws=None)), draws

    def _plan(self, q: Question, pert: Perturbation, s: Sample, draws: Draws) -> Any:
        """(plans, number of steps [rows]); padding rows have none."""
        planned = type(pert).plan is not Perturbation.plan
        counted = type(pert).count is not Perturbation.count
        plans, steps = None, np.full(len(self.rows), q.n_steps)
        if planned or counted:
            args = (pert, draws.shared, s, self.reference, draws.own)
            plans, counts = kernels.plan(self.run.mesh, None, *args)
            steps = steps if counts is None else np.asarray(counts)
        return plans, np.where(self.rows, steps, 0)

    def wait(self, answer: Any) -> None:
        """Let the device run ahead of the host by a few chunks, so that memory stays bounded."""
        self.pending.append(answer)
        if len(self.pending) > IN_FLIGHT:
            jax.block_until_ready(self.pending.popleft())

    # -- the end of it -------------------------------------------------------------------------

    def outcomes(self) -> dict[tuple[str, str], Outcome]:
        """The outcome [n] of every run whose questions have all been asked."""
        found = {}
        for e, s in self.samples.items():
            names = [m for m in self.run.metrics if self._complete(e, m)]
            if not names:
                continue
            slots = [self.done.get((e, m), {}) for m in names]
            measured = tuple(tuple(got[k][0] for k in sorted(got)) for got in slots)
            valid = tuple(tuple(got[k][1] for k in sorted(got)) for got in slots)
            scored = self.scored(e, names)
            s = dataclasses.replace(s, a=None)
            args = (scored.metrics, s, scored.maps, self.reference, measured, valid)
            reduced = jax.device_get(kernels.reduce(self.run.mesh, scored.which, *args))
            for m, got, (outcome, clean) in zip(names, slots, reduced, strict=True):
                outcome = jax.tree.map(lambda v: v[self.rows], outcome)
                flags = np.stack([clean, *(np.asarray(v[2]) for v in got.values())])
                flags = flags.max(0)[self.rows] > 0
                self.unsound[e, m] = flags
                found[e, m] = finish_all(self.run.runs[e, m], outcome, flags.any(1))
        return found

    def _complete(self, explainer: str, metric: str) -> bool:
        if (explainer, metric) not in self.run.runs:
            return False
        asked = self.done.get((explainer, metric), {})
        return len(asked) == len(asks_of(self.run.metrics[metric]))


@jit(static_argnums=0)
def _measured(
    which: tuple[int, ...],
    metrics: Any,
    s: Any,
    maps: Any,
    ref: Any,
    query: Any,
    answer: Any,
    answered: Any,
) -> Any:
    """What the metrics measure of one answer; never run, traced once for its shapes."""
    return tuple(
        measure_one(
            metric,
            dataclasses.replace(s, a=maps[k]),
            ref,
            query,
            dataclasses.replace(answer, attribution=answered[k]),
        )
        for metric, k in zip(metrics, which, strict=True)
    )


class _Asking:
    """One question about one block, with the buffers [rows, S, ...] of every subscriber."""

    def __init__(
        self, block: Block, q: Question, pert: Perturbation, s: Sample, plans: Any, draws: Draws
    ):
        self.block, self.q, self.pert, self.s, self.plans = block, q, pert, s, plans
        self.draws = draws
        self.where = f"{block.where}, perturbed"
        self.width = block.run.question_width(q)
        self.buffers: dict[str, tuple[Any, ...]] = {}
        self.scored = {e: block.scored(e, [v.metric for v in subs]) for e, subs in q.by.items()}
        self.clean = {e: dataclasses.replace(block.samples[e], a=None) for e in q.by}
        self.explained = frozenset(q.explained(block.run.metrics))

    def __call__(self, model: Model, counts: np.ndarray, first: int = 0) -> None:
        """Ask `counts` [rows] steps of each sample, from step `first` on."""
        run = self.block.run
        totals = counts.reshape(run.devices, -1).sum(1)
        on_device = run.asker.put(counts.astype(np.int32))
        place = run.asker.put(np.tile(np.array([0, first], np.int32), (run.devices, 1)))
        for chunk in range(-(-int(totals.max()) // self.width)):
            slots = np.clip(totals - chunk * self.width, 0, self.width)
            real = (np.arange(self.width)[None] < slots[:, None]).reshape(-1)
            place = self._chunk(model, on_device, place, real)
            run.progress.advance(int(slots.sum()) * self.q.cost(run.metrics))

    def _chunk(self, model: Model, counts: Any, place: Any, real: np.ndarray) -> Any:
        """Ask the chunk at `place`; returns the place of the next one."""
        run, q = self.block.run, self.q
        query, keys, i, step, ok, place = kernels.probe(
            run.mesh, self.width, self.pert, self.draws.shared,
            self.s, self.plans, counts, self.draws.own, place,
        )  # fmt: skip
        output = Answer()
        if q.asks & {"output", "hidden"}:
            output = run.asker.output(model, query.x, "hidden" in q.asks, real, self.where)
            self.block.wait(output)
        for e in q.by:
            answer = output
            if e in self.explained:
                args = (model, query.x, query.y, keys, real, self.where)
                a = run.asker.attribution(run.sources[e], *args)
                answer = dataclasses.replace(output, attribution=a)
                self.block.wait(a)
            self._measure(e, query, answer, i, step, ok)
        return place

    def _measure(self, e: str, query: Query, answer: Answer, *at: Any) -> None:
        run, ref, scored = self.block.run, self.block.reference, self.scored[e]
        s, answered = self.clean[e], (None,) * len(scored.kinds)
        if answer.attribution is not None:
            replied = dataclasses.replace(s, a=answer.attribution)
            answered = tuple(self.block.prepare(kind, replied, at[0]) for kind in scored.kinds)
            answer = dataclasses.replace(answer, attribution=None)
        given = (s, scored.maps, ref, query, answer, answered)
        if e not in self.buffers:
            self.buffers[e] = self._buffers(scored, *given)
        args = (scored.metrics, *given, *at, self.buffers[e])
        self.buffers[e] = kernels.measure(run.mesh, scored.which, *args)

    def _buffers(self, scored: Scored, *given: Any) -> tuple[Any, ...]:
        """NaN for every measurement to come, in the shapes that the metrics measure."""

        one = jax.tree.map(lambda v: jax.ShapeDtypeStruct(v.shape[1:], v.dtype), given)
        rows = (len(self.block.rows), self.q.n_steps)
        shapes = _measured.eval_shape(scored.which, scored.metrics, *one)
        nan = [
            (
                np.full(rows + v.shape, np.nan, jnp.promote_types(v.dtype, "float32")),
                np.zeros((rows[0], 2), np.int8),
            )
            for v in shapes
        ]
        return self.block.run.asker.put(tuple(nan))
