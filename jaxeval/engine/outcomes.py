"""Checks of the outcomes of user-defined metrics, before the model is evaluated."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from ..metric import Metric, asks_of
from ..perturb import Perturbation, RandomPerturbation
from ..types import Answer, Outcome, Sample, canonical
from .job import Job
from .questions import Cell, Question
from .sample_view import ask, measure_one, reduce_one, view, view_reference


def check_outcomes(
    job: Job,
    cells: Mapping[Cell, Metric],
    questions: Sequence[Question],
    specs: Mapping[str, Sample],
    logits: Any,
) -> None:
    """Check that user-defined metrics return valid outcomes.

    Args:
      specs: per attributor, a sample of shapes and dtypes.
      logits: shape and dtype of the answer for one sample.

    Raises:
      TypeError: with the metric's name.
    """
    model, data = job.model, job.data
    for cell, metric in cells.items():
        if type(metric).__module__.startswith("jaxeval.metrics."):
            continue
        subscribed = ((q, s) for q in questions for s in q.by.get(cell.attributor, ()))
        slots = {s.slot: (q.pert, s.n_steps) for q, s in subscribed if s.cell == cell}
        layers = {}
        if "hidden" in metric.asks and model.hidden is not None:
            batch = jax.ShapeDtypeStruct((1, *job.one.shape), job.one.dtype)
            layers = jax.eval_shape(model.hidden, model.params, batch)[1]
        sample = specs[cell.attributor]
        features = sample.features
        sample = dataclasses.replace(
            sample,
            key=jax.eval_shape(lambda: jax.random.key(0)),
            a=jax.ShapeDtypeStruct(features, jnp.promote_types(job.one.dtype, jnp.float32)),
            mask=None if data.mask is None else jax.ShapeDtypeStruct(features, bool),
            extras=jax.tree.map(one_row, data.extras),
        )
        hidden = jax.tree.map(one_row, dict(layers))
        answer = Answer(logits=logits, hidden=hidden, outputs=model.outputs)
        try:
            check_outcome(metric, [slots[k] for k in sorted(slots)], sample, answer)
        except (TypeError, ValueError) as error:
            raise type(error)(f"metric {cell.metric!r}: {error}") from error


def one_row(v: Any) -> Any:
    """The shape and type of one row."""
    return jax.ShapeDtypeStruct(v.shape[1:], v.dtype)


def check_outcome(
    metric: Metric, asked: list[tuple[Perturbation, int]], sample: Sample, reference: Answer
) -> None:
    """Evaluate the metric abstractly on one sample.

    Args:
      asked: its questions, bound, with the numbers of their steps.
      sample, reference: shapes and dtypes.

    Raises:
      TypeError: the metric gives no outcome, or its score is no scalar.
    """
    if any(pert.host_extras() for pert, _ in asked):
        return

    def step(pert: Perturbation, sample: Sample, reference: Answer) -> tuple[Any, Any]:
        if isinstance(pert, RandomPerturbation) and pert.draws is not None:
            draws = jnp.asarray(pert.draws)
            one = draws[0] if pert.draws_lead(sample) else draws
            sample = dataclasses.replace(sample, draw=one if pert.draws_per == "sample" else one[0])
            pert = canonical(dataclasses.replace(pert, draws=None))
        seen = view(sample, pert)
        query = ask(pert, seen, pert.plan(seen, view_reference(reference, pert)), jnp.int32(0))
        answer = dataclasses.replace(reference, attribution=sample.a)
        got = jnp.asarray(measure_one(metric, sample, reference, query, answer))
        return got, jnp.ones((), bool)

    def whole(sample: Sample, reference: Answer) -> Any:
        steps = [(step(pert, sample, reference), n) for pert, n in asked]
        repeated = [[jnp.broadcast_to(v, (n, *v.shape)) for v in one] for one, n in steps]
        return reduce_one(
            metric, sample, reference, tuple(m for m, _ in repeated), tuple(v for _, v in repeated)
        )

    assert len(asked) == len(asks_of(metric))
    name, outcome = type(metric).__name__, jax.eval_shape(whole, sample, reference)
    if not isinstance(outcome, Outcome):
        got = type(outcome).__name__
        raise TypeError(
            f"{name}.reduce must return a jaxeval.Outcome(score=...), but it gave "
            + ("an array" if got == "ShapeDtypeStruct" else f"a {got}")
        )
    if jnp.shape(outcome.score) != ():
        raise TypeError(
            f"{name}.reduce must give one number per sample as the score, but it has the shape "
            f"{list(jnp.shape(outcome.score))}: put further values into the outcome's curve"
        )
