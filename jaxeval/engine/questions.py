"""The distinct questions of metrics x explainers."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..identity import identity
from ..metric import Metric, asks_of, limit_of
from ..model import Model
from ..perturb import Perturbation, RandomPerturbation
from ..shown import count
from ..types import Sample
from .sample_view import needs_output
from .shapes import features_of


class Cell(NamedTuple):
    """A metric and an explainer: one entry of the results.

    `attributor` is the explainer that is scored, `explainer` the one under which the score is
    reported: a metric may score an explainer derived from it (SmoothMPRT).
    """

    attributor: str
    metric: str
    explainer: str


class Subscription(NamedTuple):
    """A cell that uses a question's answers.

    `slot` is the index among its metric's questions, `n_steps` how many of the steps it uses at
    most, `whole` how many it uses without a tolerance.
    """

    cell: Cell
    slot: int
    n_steps: int
    whole: int


@dataclasses.dataclass(frozen=True, eq=False)
class Question:
    """A distinct question, and what all its subscribers need from the answers.

    Attributes:
      pert: the perturbation, bound to the model and the shape of a sample.
      prepared: how the map that it reads is prepared, (normalise, absolute); None: it reads none.
      reader: an attributor whose map (or shape of map) it reads; any attributor if it reads none.
      by: {attributor: subscriptions}.
      asks: the union of the metrics' `asks`.
      explained: the attributors that explain this question's queries.
      in_rounds: whether it is asked for areas to a tolerance alone: a few steps at a time.
    """

    pert: Perturbation
    prepared: tuple[str | None, bool] | None
    reader: str
    n_steps: int
    by: Mapping[str, tuple[Subscription, ...]] = dataclasses.field(default_factory=dict)
    asks: frozenset[str] = frozenset()
    explained: tuple[str, ...] = ()
    in_rounds: bool = False

    @property
    def asks_model(self) -> bool:
        """Whether the model itself is evaluated, for outputs or hidden layers."""
        return bool(self.asks & {"output", "hidden"})

    @property
    def kinds(self) -> dict[str, int]:
        """Evaluations of each kind per step."""
        hidden = "hidden" in self.asks
        return {"output": self.asks_model, "attribution": len(self.explained), "hidden": hidden}

    @property
    def cost(self) -> int:
        """Evaluations per step: a forward pass if outputs are asked for, and one per explainer."""
        return self.asks_model + len(self.explained)


def _fitted(
    metric: Metric, model: Model, spec: Sample, n: int, valid: np.ndarray | None
) -> list[Perturbation]:
    """The metric's questions, bound; checks them and their draws against model and samples."""
    metric.fit(model, spec)
    for pert in asks_of(metric):
        if isinstance(pert, RandomPerturbation):
            pert.check_draws(spec, n)
    perts = [pert.bind(model, spec) for pert in asks_of(metric)]
    if valid is not None:
        least = max(what.fewest(spec) for what in (metric, *perts))
        counts = features_of(valid, spec).reshape(n, -1).sum(1)
        if (few := counts < least).any():
            i = int(few.argmax())
            raise ValueError(
                f"it needs {count(least, 'feature')} of every sample, but sample {i} has "
                f"{counts[i]} without its padding"
            )
    return perts


def collect(
    cells: Mapping[Cell, Metric],
    model: Model,
    specs: Mapping[str, Sample],
    n: int,
    valid: np.ndarray | None = None,
) -> tuple[Question, ...]:
    """The distinct questions of all cells.

    Two questions are the same if their perturbations are equal in value and read the same inputs:
    attributions of the same shape if they read the shape, the same explainer's map, prepared the
    same way, if they read the map itself. Of questions that differ in the number of draws, the
    largest is asked.

    Args:
      specs: per attributor, a sample of shapes and dtypes.
      n: the number of samples, which given draws may have as a leading axis.
      valid: which entries of the inputs are not padding, bool that broadcasts to x [N, ...].
    """
    first: dict[Any, Question] = {}
    subscribed: dict[Any, list[Subscription]] = {}
    for cell, metric in cells.items():
        spec = specs[cell.attributor]
        try:
            perts = _fitted(metric, model, spec, n, valid)
        except (TypeError, ValueError) as e:
            where = f"metric {cell.metric!r} for explainer {cell.attributor!r}"
            raise type(e)(f"{where}: {e}") from e
        whole = without_tolerance(metric, model, spec)
        for slot, pert in enumerate(perts):
            prepared = (metric.normalise, metric.absolute) if "a" in pert.reads else None
            steps = pert.n_steps(spec)
            key = (
                identity(pert.of_one if isinstance(pert, RandomPerturbation) else pert),
                spec.features if pert.reads & {"a", "features"} else None,
                (cell.attributor, prepared) if "a" in pert.reads else None,
            )
            if key not in first or first[key].n_steps < steps:
                first[key] = Question(pert, prepared, cell.attributor, steps)
            subscribed.setdefault(key, []).append(
                Subscription(cell, slot, steps, steps if whole is None else whole[slot])
            )
    return tuple(_subscribed(question, subscribed[key], cells) for key, question in first.items())


def without_tolerance(metric: Metric, model: Model, spec: Sample) -> list[int] | None:
    """The number of steps of each question without the metric's tolerance; None: the same."""
    if limit_of(metric) is None or metric.steps_are != "draws":
        return None
    plain: Any = metric
    perts = asks_of(dataclasses.replace(plain, tolerance=None))
    return [pert.bind(model, spec).n_steps(spec) for pert in perts]


def _subscribed(
    question: Question, subscriptions: list[Subscription], cells: Mapping[Cell, Metric]
) -> Question:
    """The question with its subscribers."""
    by: dict[str, tuple[Subscription, ...]] = {}
    for s in subscriptions:
        by[s.cell.attributor] = (*by.get(s.cell.attributor, ()), s)
    asks = {e: frozenset().union(*(cells[s.cell].asks for s in given)) for e, given in by.items()}
    return dataclasses.replace(
        question,
        by=by,
        asks=frozenset().union(*asks.values()),
        explained=tuple(e for e, asked in asks.items() if "attribution" in asked),
        in_rounds=all(of_few(cells[s.cell]) for s in subscriptions),
    )


def of_few(metric: Metric) -> bool:
    """Whether only a few steps are asked at a time: of a curve, to a tolerance."""
    return metric.steps_are in ("curve", "binary") and limit_of(metric) is not None


ROUNDS = (9, 4, 2, 1, 1 / 4)
"""Steps a sample that are asked in each round for areas to a tolerance, as a guess."""
WORTH = 64
"""Full chunks that a second program of the model must save: more than it takes to compile."""


def chunk_width(
    questions: Sequence[Question], local: int, batch_size: int, fixed: float = 1 / 16
) -> int:
    """Slots per chunk, at most `batch_size`, chosen to minimise padding.

    Clean samples and parameter steps come `local` at a time, areas to a tolerance in `ROUNDS`,
    other questions all at once; each is padded to whole chunks. A chunk's fixed cost counts as a
    sixteenth of a full one.
    """
    loads = [(1, local)]
    for q in questions:
        loads += loads_of(q, local)
    candidates = widths_of(loads, batch_size)
    candidates = sorted({max(local, width) for width in candidates} | {local}, reverse=True)
    return min(candidates, key=lambda width: slots(loads, width, batch_size * fixed))


def narrow_width(
    questions: Sequence[Question], local: int, batch_size: int, width: int, blocks: int
) -> int:
    """Slots per chunk of the questions that are asked `in_rounds`; `width`, unless another pays."""
    loads = [load for q in questions if q.in_rounds for load in loads_of(q, local)]
    fixed = batch_size / 16
    if not loads or all(q.in_rounds for q in questions):
        return width
    found = min(widths_of(loads, width), key=lambda width: slots(loads, width, fixed))
    saved = slots(loads, width, fixed) - slots(loads, found, fixed)
    return found if saved * blocks > WORTH * width else width


def loads_of(q: Question, local: int) -> list[tuple[int, int]]:
    """How many slots a question asks at once, and how often: [(times, slots)]."""
    if q.in_rounds:
        return [(1, int(min(k, q.n_steps) * local)) for k in ROUNDS if k * local >= 1]
    return [(q.n_steps, local) if q.pert.changes_params else (1, q.n_steps * local)]


def widths_of(loads: Sequence[tuple[int, int]], most: int) -> set[int]:
    """Widths of chunks, at most `most`, that leave little of the largest load's last one empty."""
    largest = max(load for _, load in loads)
    fewest = -(-largest // most)
    return {-(-largest // chunks) for chunks in range(fewest, fewest + 32)}


def slots(loads: Sequence[tuple[int, int]], width: int, fixed: float) -> float:
    """The cost of all loads in chunks of this width, in slots; each chunk costs `fixed` more."""
    return (width + fixed) * sum(times * -(-load // width) for times, load in loads)


def naive_cost(
    cells: Mapping[Cell, Metric],
    steps: Mapping[Cell, list[int]],
    n: int,
    explained: Mapping[str, bool],
) -> dict[str, int]:
    """The evaluations needed by one separate run per metric and explainer.

    Args:
      steps: per cell, the total number of steps over all samples of each of its questions.
      explained: per explainer, whether it computes maps (stored ones cost nothing).
    """
    cost = {"output": 0, "attribution": 0, "hidden": 0}
    for cell, metric in cells.items():
        total = sum(steps.get(cell, ()))
        if needs_output(metric):
            cost["output"] += n
        if "hidden" in metric.asks:
            cost["hidden"] += n + total
        if metric.asks & {"output", "hidden"}:
            cost["output"] += total
        if explained[cell.attributor]:
            cost["attribution"] += n + (total if "attribution" in metric.asks else 0)
    return cost
