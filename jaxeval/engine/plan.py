"""From metrics x explainers to the distinct questions."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..identity import identity
from ..metric import Metric, asks_of
from ..model import Model
from ..perturb import Perturbation, RandomPerturbation
from ..types import Sample
from .fit import features_of
from .view import needs_output


@dataclasses.dataclass
class Subscription:
    """A metric that wants a question's answers; `slot` says which of its questions it is."""

    metric: str
    slot: int


@dataclasses.dataclass
class Question:
    """One distinct question, who asked it, and what of the answer they need together."""

    pert: Perturbation
    prepared: tuple[str | None, bool] | None
    """How the map that it reads is prepared; None where it reads none."""
    reader: str
    """An explainer whose map (or shape of map) it reads; any will do where it reads none."""
    n_steps: int
    by: dict[str, list[Subscription]] = dataclasses.field(default_factory=dict)
    asks: set[str] = dataclasses.field(default_factory=set)

    def explained(self, metrics: Mapping[str, Metric]) -> list[str]:
        """The explainers that are asked to explain this question's queries."""
        return [
            e
            for e, subscriptions in self.by.items()
            if any("attribution" in metrics[s.metric].asks for s in subscriptions)
        ]

    def cost(self, metrics: Mapping[str, Metric]) -> int:
        """Evaluations a step: a forward pass if outputs are asked, and one each explainer."""
        return bool(self.asks & {"output", "hidden"}) + len(self.explained(metrics))


def _fitted(
    metric: Metric, model: Model, spec: Sample, n: int, valid: np.ndarray | None
) -> list[Perturbation]:
    """The metric's questions, bound; it, they and their draws fit the model and the samples."""
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
                f"it needs {least} features of every sample, but sample {i} has {counts[i]} beside "
                "its padding"
            )
    return perts


def collect(
    runs: Mapping[tuple[str, str], Metric],
    model: Model,
    specs: Mapping[str, Sample],
    n: int,
    valid: np.ndarray | None = None,
) -> list[Question]:
    """The distinct questions of all runs {(explainer, metric name): metric}.

    Two questions are one where their perturbations are equal in value and see the same things:
    the same shape of attribution if they read that, the same explainer's map, prepared alike,
    if they read the map itself.

    Args:
      specs: per explainer a sample of shapes and dtypes.
      n: the number of samples, which given draws may have as a leading axis.
      valid: which entries of the inputs are no padding, bool that broadcasts to x [N, ...].
    """
    found: dict[Any, Question] = {}
    for (explainer, name), metric in runs.items():
        spec = specs[explainer]
        try:
            perts = _fitted(metric, model, spec, n, valid)
        except (TypeError, ValueError) as e:
            raise type(e)(f"metric {name!r} for explainer {explainer!r}: {e}") from e
        for slot, pert in enumerate(perts):
            prepared = (metric.normalise, metric.absolute) if "a" in pert.reads else None
            key = (
                identity(pert),
                spec.features if pert.reads & {"a", "features"} else None,
                (explainer, prepared) if "a" in pert.reads else None,
            )
            if key not in found:
                found[key] = Question(pert, prepared, explainer, pert.n_steps(spec))
            question = found[key]
            question.by.setdefault(explainer, []).append(Subscription(name, slot))
            question.asks |= metric.asks
    return list(found.values())


def chunk_width(
    questions: list[Question], local: int, batch_size: int, fixed: float = 1 / 16
) -> int:
    """Slots of a chunk, at most `batch_size`: what wastes the fewest on padding.

    Clean samples and parameter steps come `local` at a time, other questions as many as there
    are; each is padded to whole chunks. A chunk's fixed cost counts as a sixteenth of a full one.
    """
    loads = []
    for q in questions:
        whole = q.n_steps * local
        loads.append((q.n_steps, local) if q.pert.changes_params else (1, whole))
    most = max((load for _, load in loads), default=local)
    fewest = -(-most // batch_size)
    equal = (-(-most // chunks) for chunks in range(fewest, fewest + 32))
    candidates = sorted({max(local, width) for width in equal} | {local}, reverse=True)

    def slots(width: int) -> float:
        chunks = 1 + sum(times * -(-load // width) for times, load in loads)
        return chunks * (width + batch_size * fixed)

    return min(candidates, key=slots)


def naive_cost(
    runs: Mapping[tuple[str, str], Metric],
    steps: Mapping[tuple[str, str], list[int]],
    n: int,
    explained: Mapping[str, bool],
) -> dict[str, int]:
    """What it would cost to run each metric with each explainer on its own.

    Args:
      steps: per run the total number of steps over all samples, of each of its questions.
      explained: whether an explainer has to be asked at all (stored maps need not).
    """
    cost = {"output": 0, "attribution": 0, "hidden": 0}
    for (explainer, name), metric in runs.items():
        total = sum(steps.get((explainer, name), ()))
        if needs_output(metric):
            cost["output"] += n
        if "hidden" in metric.asks:
            cost["hidden"] += n + total
        if metric.asks & {"output", "hidden"}:
            cost["output"] += total
        if explained[explainer]:
            cost["attribution"] += n + (total if "attribution" in metric.asks else 0)
    return cost
