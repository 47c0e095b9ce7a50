"""One run: every metric of every explainer over one data set, each distinct question asked once."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .. import ops
from ..check import warn
from ..classes import check_classes
from ..identity import identity
from ..metric import Metric, scores_plainly
from ..model import Model
from ..perturb import Perturbation
from ..types import Answer, Outcome, Sample, canonical
from .answers import check_kind
from .ask import Asker, Source
from .batch import automatic
from .block import Block
from .fit import check_features, check_padded, fit_mask, fit_padding
from .outcomes import check_outcome
from .plan import Question, chunk_width, collect, naive_cost
from .view import needs_output, undefined

UNASKED = 1024
"""Samples of a block where the model is not asked anything."""
MOST = 65_536
"""Evaluations in flight beyond which no device gets faster."""


def _one(v: Any) -> Any:
    """The shape and type of one row."""
    return jax.ShapeDtypeStruct(v.shape[1:], v.dtype)


NO_PREDICTION = (
    "y must say which of the model's {} outputs is explained, an index for each sample: a model of "
    "plain values predicts no class"
)


def warn_of_maps(explainer: str, bad: int, n: int) -> None:
    warn(
        f"explainer {explainer!r} gave maps with NaN or infinite values for {bad} of {n} samples: "
        "their scores are undefined (NaN), and counted as such"
    )


@dataclasses.dataclass
class Data:
    """The caller's data set, checked. Rows are samples; y is None for the predicted class."""

    x: np.ndarray
    y: np.ndarray | None
    index: np.ndarray
    mask: np.ndarray | None
    extras: dict[str, np.ndarray]
    padding: np.ndarray | None = None


@dataclasses.dataclass
class Record:
    """What a run found: outcomes with NumPy arrays [n], n the samples done."""

    outcomes: dict[tuple[str, str], Outcome]
    asked: dict[str, Any]
    y: np.ndarray


def derived(
    sources: Mapping[str, Source], metrics: Mapping[str, Metric]
) -> tuple[dict[str, Source], dict[tuple[str, str], tuple[str, str]]]:
    """(all sources, which of them each cell of the result is scored on).

    A metric may score another explainer than the given one, made of it (its maps smoothed, say):
    that is a source of its own, which equal wishes share.
    """
    found, made, names = dict(sources), {}, {}
    for e, source in sources.items():
        for m, metric in metrics.items():
            name = e
            if source.explainer is not None:
                explainer = metric.explainer(source.explainer)
                if explainer is not source.explainer:
                    explainer = canonical(explainer)
                    name = made.setdefault((e, identity(explainer)), f"{e} (for {m})")
                    found.setdefault(
                        name,
                        dataclasses.replace(source, name=name, stored=None, explainer=explainer),
                    )
            names[name, m] = (e, m)
    used = {name for name, _ in names} if metrics else set(found)
    return {name: source for name, source in found.items() if name in used}, names


def aggregate(metric: Metric, outcome: Outcome, bad: np.ndarray) -> Outcome:
    """The outcome over a whole data set, of which samples that are `bad` [N] are no part."""
    if type(metric).aggregate is Metric.aggregate or not bad.any():
        return metric.aggregate(outcome)
    good = np.flatnonzero(~bad)
    if not len(good):
        return undefined(dataclasses.replace(outcome, record=None), bad)
    found = metric.aggregate(jax.tree.map(lambda v: v[good], outcome))
    place = np.cumsum(~bad) - 1
    return undefined(jax.tree.map(lambda v: np.asarray(v)[np.maximum(place, 0)], found), bad)


class Run:
    """The samples go by in blocks; `batch_size` bounds the evaluations in flight a device."""

    def __init__(
        self,
        model: Model,
        data: Data,
        sources: Mapping[str, Source],
        metrics: Mapping[str, Metric],
        *,
        key: Any,
        batch_size: int | None,
        mesh: Any,
        precision: str,
        progress: Any,
        output: Any = None,
        rows: int | None = None,
    ):
        """rows: choose the shapes of the programs as for so many samples, of which these are some:
        a ragged last shard then takes the programs of the others.
        """
        self.data, self.key, self.output = data, key, output
        self.n = len(data.x)
        self.mesh, self.devices, self.progress = mesh, mesh.devices.size, progress
        self.metrics_given = dict(metrics)
        self.sources, self.names = derived(sources, metrics)
        # Questions are collected from the metrics as given: bind looks at concrete values.
        self.runs = {run: metrics[run[1]] for run in self.names}
        self.hidden = any("hidden" in m.asks for m in metrics.values())
        self.clean_output = data.y is None or any(map(needs_output, metrics.values()))
        self.spec = Sample(
            x=jax.ShapeDtypeStruct(data.x.shape[1:], data.x.dtype),
            y=jax.ShapeDtypeStruct((), jnp.int32),
            key=None,
            position=jax.ShapeDtypeStruct((), jnp.int32),
            channel_axis=model.sample_channel_axis(data.x.ndim - 1),
        )
        self.valid: np.ndarray | None = None
        """Which entries of the inputs are no padding, bool that broadcasts to x [N, ...]."""
        if data.padding is not None:
            self.valid = valid = ~fit_padding(data.padding, self.spec)
            one = jax.ShapeDtypeStruct(valid.shape[1:], bool)
            self.spec = dataclasses.replace(self.spec, valid=one)
        self.asker = Asker(model, self.spec.x, mesh, precision)
        known = all(source.features is not None for source in self.sources.values())
        self.questions: list[Question] | None = self._collect() if known else None
        self.metrics = {m: canonical(metric) for m, metric in metrics.items()}
        per_device = -(-max(self.n, rows or 0) // self.devices)
        asks = self.clean_output or any(s.stored is None for s in self.sources.values())
        if batch_size is None and not asks and not self.questions:
            batch_size = UNASKED
        if batch_size is None:
            most = MOST
            if self.questions is not None:
                most = per_device * max([q.n_steps for q in self.questions], default=1)
            batch_size = automatic(self.asker.suited, data.x, most, mesh, precision)
        self.batch_size = batch_size
        self.local = min(per_device, batch_size)
        """Samples of a block on each device."""
        self.width = batch_size
        """Slots of a chunk on each device, and of one whose answers are attributions."""
        self.rows = batch_size
        self.parts: dict[tuple[str, str], list[Outcome]] = {run: [] for run in self.runs}
        self.unsound: dict[tuple[str, str], list[np.ndarray]] = {run: [] for run in self.runs}
        self.labels: list[np.ndarray] = []
        self.steps: dict[tuple[str, str], list[int]] = {run: [] for run in self.runs}
        if self.questions is not None:
            self._set_width(self.questions)

    def prepare(self) -> None:
        """What has to wait until host explainers have shown the shapes of their maps."""
        self.questions = self._collect()
        self._set_width(self.questions)

    def _collect(self) -> list[Question]:
        specs = self._specs()
        for e, spec in specs.items():
            self.check_features(e, spec.features)
            check_padded(e, spec)
            fit_mask(self.data.mask, spec, e, self.valid)
        questions = collect(self.runs, self.asker.given, specs, self.n, self.valid)
        model = self.asker.given
        if not model.host:
            k = model.n_classes(self.spec.x)
            self._check_outcomes(questions, jax.ShapeDtypeStruct((k,), jnp.float32))
        return questions

    def _specs(self) -> dict[str, Sample]:
        """A sample of shapes and types per explainer."""
        return {
            e: dataclasses.replace(self.spec, features=source.features)
            for e, source in self.sources.items()
            if source.features is not None
        }

    def _check_outcomes(self, questions: list[Question], logits: Any) -> None:
        """Metrics of one's own give outcomes; those of jaxeval are known to."""
        model, x = self.asker.given, self.spec.x
        for (e, m), metric in self.runs.items():
            if type(metric).__module__.startswith("jaxeval.metrics."):
                continue
            slots = {s.slot: q.pert for q in questions for s in q.by.get(e, ()) if s.metric == m}
            layers = {}
            if "hidden" in metric.asks and model.hidden is not None:
                one = jax.ShapeDtypeStruct((1, *x.shape), x.dtype)
                layers = jax.eval_shape(model.hidden, model.params, one)[1]
            sample = self._specs()[e]
            mask = self.data.mask is not None
            sample = dataclasses.replace(
                sample,
                key=jax.eval_shape(lambda: jax.random.key(0)),
                a=jax.ShapeDtypeStruct(sample.features, jnp.promote_types(x.dtype, jnp.float32)),
                mask=jax.ShapeDtypeStruct(sample.features, bool) if mask else None,
                extras=jax.tree.map(_one, self.data.extras),
            )
            hidden = jax.tree.map(_one, dict(layers))
            answer = Answer(logits=logits, hidden=hidden, outputs=model.outputs)
            try:
                check_outcome(metric, [slots[k] for k in sorted(slots)], sample, answer)
            except (TypeError, ValueError) as error:
                raise type(error)(f"metric {m!r}: {error}") from error

    def check_features(self, explainer: str, features: tuple[int, ...]) -> None:
        """A map is one of the input, where metrics score it; alone it may be one of a layer."""
        if self.metrics_given:
            check_features(explainer, features, self.spec)

    def _set_width(self, questions: list[Question]) -> None:
        explained = [q for q in questions if q.explained(self.metrics)]
        plain = [q for q in questions if not q.explained(self.metrics)]
        if any(q.asks & {"output", "hidden"} for q in explained):
            # One forward program for all.
            self.width = self.rows = chunk_width(questions, self.local, self.batch_size)
        else:
            self.width = chunk_width(plain, self.local, self.batch_size)
            self.rows = chunk_width(explained, self.local, self.batch_size, fixed=1 / 32)
        clean = self.clean_output + sum(s.stored is None for s in self.sources.values())
        steps = sum(q.cost(self.metrics) * q.n_steps for q in questions)
        self.progress.start(self.n * (clean + steps))

    def check_outputs(self, logits: Any, real: np.ndarray) -> None:
        """The first answers of the model are what it says, and cover the classes y."""
        kind, k = self.asker.given.outputs, logits.shape[-1]
        outputs = np.asarray(ops.as_outputs(logits, kind))[real]
        asking = [m for m in self.metrics_given.values() if "output" in m.asks]
        if not asking or not all(map(scores_plainly, asking)):
            check_kind(outputs, kind)
        if self.data.y is not None:
            check_classes(self.data.y, k)
        elif kind == "values" and k > 1:
            raise ValueError(NO_PREDICTION.format(k))
        for name, metric in self.metrics_given.items():
            try:
                ops.check_output(metric.output, kind, outputs.shape[-1])
            except ValueError as e:
                raise ValueError(f"metric {name!r}: {e}") from e
        if self.asker.given.host and self.questions is not None:
            self._check_outcomes(self.questions, _one(logits))

    def points(self) -> dict[str, list[str]]:
        """{metric: the names of its curve's points}, of the metrics that name them."""
        asked: dict[str, dict[int, Perturbation]] = {m: {} for m in self.metrics_given}
        for q in self.questions or ():
            for s in (s for subscriptions in q.by.values() for s in subscriptions):
                asked[s.metric].setdefault(s.slot, q.pert)
        found = {}
        for m, metric in self.metrics_given.items():
            names = metric.points(tuple(asked[m][slot] for slot in sorted(asked[m])))
            if asked[m] and names is not None:
                found[m] = list(names)
        return found

    def attributions(self, explainer: str) -> np.ndarray:
        """One explainer's maps [N, ...] of the clean samples."""
        maps = []
        for block in self._blocks():
            block.answer_clean()
            maps.append(np.asarray(block.samples[explainer].a)[block.rows])
        a = np.concatenate(maps)
        if bad := int((~np.isfinite(a).reshape(len(a), -1).all(1)).sum()):
            warn_of_maps(explainer, bad, len(a))
        return a

    def _blocks(self) -> Iterator[Block]:
        for start in range(0, self.n, self.local * self.devices):
            yield Block(self, start)

    def __call__(self) -> Record:
        """Ask everything. An exception on the way carries the `Record` until then as `partial`."""
        block = None
        try:
            for block in self._blocks():
                block.answer_clean()
                for question in self.questions or ():
                    block.ask(question)
                self._keep(block)
                block = None
            self._warn()
        except (Exception, KeyboardInterrupt) as e:
            if block is not None:
                # What stopped the run (memory, say) may stop this, too; it must not hide it.
                with contextlib.suppress(Exception):
                    self._keep(block)
            e.partial = self.record()  # type: ignore[attr-defined]
            raise
        return self.record()

    def _keep(self, block: Block) -> None:
        """Take over what a block found; of one that was cut short, what was finished."""
        for run, outcome in block.outcomes().items():
            self.parts[run].append(outcome)
            self.unsound[run].append(block.unsound[run])
        for run, steps in block.steps.items():
            self.steps[run].extend(steps)
        if block.labels is not None:
            self.labels.append(block.labels)

    def _warn(self) -> None:
        """Say which samples are undefined for what explainers or the model gave."""
        n, maps, outputs = self.n, {}, np.zeros(self.n, bool)
        for run, parts in self.unsound.items():
            bad = np.concatenate(parts).T
            explainer = self.names[run][0]
            maps[explainer] = maps.get(explainer, False) | bad[0]
            outputs |= bad[1]
        for explainer, bad in maps.items():
            if bad.any():
                warn_of_maps(explainer, int(bad.sum()), n)
        if outputs.any():
            warn(
                f"the model answered NaN about {int(outputs.sum())} of {n} samples or changed "
                "forms of them: their scores are undefined (NaN) where outputs are asked for"
            )

    def record(self) -> Record:
        """What has been scored so far."""
        outcomes = {}
        for run, parts in self.parts.items():
            # Before all samples are there, a metric over the data set has no score.
            whole = sum(len(part.score) for part in parts) == self.n
            if parts and (whole or type(self.runs[run]).aggregate is Metric.aggregate):
                outcome = jax.tree.map(lambda *v: np.concatenate(v), *parts)
                if whole:
                    bad = np.asarray(np.concatenate(self.unsound[run]).any(1))
                    outcome = aggregate(self.runs[run], outcome, bad)
                outcomes[self.names[run]] = jax.tree.map(np.asarray, outcome)
        explained = {e: s.explainer is not None for e, s in self.sources.items()}
        naive = naive_cost(self.runs, self.steps, self.n, explained)
        y = np.concatenate(self.labels) if self.labels else np.zeros(0, np.int32)
        return Record(outcomes, {**self.asker.asked, "naive": naive}, y)

    # -- shapes of the compiled programs -------------------------------------------------------

    def forward_width(self) -> int:
        """Rows of the forward program on each device: one shape for clean samples and chunks."""
        asked = any(q.asks & {"output", "hidden"} for q in self.questions or ())
        return self.width if asked else self.local

    def explain_width(self, explainer: str) -> int:
        """Rows of one explainer's program on each device."""
        asked = any(explainer in q.explained(self.metrics) for q in self.questions or ())
        return self.rows if asked else self.local

    def question_width(self, q: Question) -> int:
        return self.rows if q.explained(self.metrics) else self.width
