"""One sample as seen by a perturbation and by a metric; shared by `evaluate` and `as_function`."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..metric import Metric, asks_of
from ..ops import draw
from ..perturb import Perturbation
from ..types import Answer, Outcome, Query, Sample


class Withheld:
    """A placeholder for undeclared inputs; any use raises an error."""

    def __init__(self, what: str, how: str):
        self.__dict__.update(what=what, how=how)

    def _refuse(self, *_: Any, **__: Any) -> Any:
        d = self.__dict__
        raise TypeError(f"{d['what']}, which it does not declare: {d['how']}")

    __jax_array__ = __array__ = __getitem__ = __len__ = __iter__ = __bool__ = _refuse

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        self._refuse()


def _unread(what: str, name: str) -> Withheld:
    return Withheld(
        f"a perturbation looked at {what}",
        f'add "{name}" to its `reads`, or its answers would be shared where they differ',
    )


def view(sample: Sample, pert: Perturbation) -> Sample:
    """The sample without everything that the perturbation does not declare in `reads`."""
    reads = pert.reads
    seen: dict[str, Any] = {}
    if "a" not in reads:
        seen["a"] = _unread("sample.a", "a")
    if not reads & {"a", "features"}:
        seen["features"] = _unread("sample.features", "features")
    if "mask" not in reads:
        seen["mask"] = _unread("sample.mask", "mask")
    extras = sample.extras or {}
    seen["extras"] = {
        k: v if k in reads else _unread(f"sample.extras[{k!r}]", k) for k, v in extras.items()
    }
    return dataclasses.replace(sample, **seen)


def ask(pert: Perturbation, seen: Sample, plan: Any, step: Any) -> Query:
    """The query of one step, from the perturbation's view of the sample.

    Restores the clean x at padding, except for perturbations that change the model and its input
    together.
    """
    query = pert.apply(seen, plan, step)
    query = dataclasses.replace(query, inputs=_merged(seen.inputs, query.inputs))
    if seen.valid is None or pert.changes_params:
        return query
    return dataclasses.replace(query, x=jnp.where(seen.valid, query.x, seen.x))


def _merged(own: Any, more: Any) -> Any:
    return own if more is None else {**(own or {}), **more}


def view_reference(reference: Answer, pert: Perturbation) -> Any:
    """The answer on the clean sample, for a perturbation that reads it."""
    return reference if "output" in pert.reads else _unread("the clean answer", "output")


def asked(answer: Answer, metric: Metric) -> Answer:
    """The answer without everything that the metric does not declare in `asks`."""
    name = type(metric).__name__

    def only(field: str, what: str) -> Any:
        if what in metric.asks:
            return getattr(answer, field)
        return Withheld(f"metric {name} looked at answer.{field}", f'add "{what}" to its `asks`')

    return dataclasses.replace(
        answer,
        logits=only("logits", "output") if "hidden" not in metric.asks else answer.logits,
        attribution=only("attribution", "attribution"),
        hidden=only("hidden", "hidden"),
    )


def unsound(asks: frozenset[str], answer: Answer) -> Any:
    """[2] of 0 and 1: whether a map that was asked for is not finite, and whether an output is NaN.

    The score of such a sample is undefined under the metric that asked.
    """
    bad = [jnp.zeros((), bool)] * 2
    if "attribution" in asks and answer.attribution is not None:
        bad[0] = ~jnp.isfinite(answer.attribution).all()
    if "output" in asks and answer.logits is not None:
        bad[1] = jnp.isnan(answer.logits).any()
    return jnp.stack(bad).astype(jnp.int8)


def undefined(outcome: Outcome, bad: Any) -> Outcome:
    """The outcome with NaN in place of all its numbers where `bad` [] or [n]."""
    xp = jnp if isinstance(bad, jax.Array) else np

    def leaf(v: Any) -> Any:
        if not jnp.issubdtype(v.dtype, jnp.floating):
            v = v.astype(np.float32)
        return xp.where(bad.reshape(bad.shape + (1,) * (v.ndim - bad.ndim)), np.nan, v)

    parts = {k: getattr(outcome, k) for k in ("score", "curve", "curve_std", "error", "effective")}
    return dataclasses.replace(
        outcome, **{k: None if v is None else leaf(v) for k, v in parts.items()}
    )


def measure_one(
    metric: Metric, sample: Sample, reference: Answer, query: Query, answer: Answer
) -> Any:
    """The metric's measurements of one answer, restricted to what it asks for."""
    return metric.measure(sample, asked(reference, metric), query, asked(answer, metric))


def reduce_one(
    metric: Metric,
    sample: Sample,
    reference: Answer,
    measured: tuple[Any, ...],
    valid: tuple[Any, ...],
) -> Outcome:
    """The outcome of one sample; with one question, measurements are passed without a tuple."""
    reference = asked(reference, metric)
    if isinstance(metric.questions(), tuple):
        return metric.reduce(sample, reference, measured, valid)
    first = (measured[0], valid[0]) if measured else (None, None)
    return metric.reduce(sample, reference, *first)


def finish_all(metric: Metric, outcomes: Outcome, bad: np.ndarray) -> Outcome:
    """The outcomes [n] of a block, completed on the host by metrics with `finish`.

    Those of `bad` samples are undefined.
    """
    if type(metric).finish is not Metric.finish:
        rows = np.flatnonzero(~bad)
        # Undefined samples get any value, which then becomes NaN.
        whose = np.where(bad, rows[0] if len(rows) else 0, np.arange(len(bad)))
        if not len(rows):
            return undefined(dataclasses.replace(outcomes, record=None), bad)
        done = {i: metric.finish(jax.tree.map(lambda v: v[i], outcomes)) for i in rows}  # noqa: B023
        outcomes = jax.tree.map(lambda *v: np.stack(v), *(done[i] for i in whose))
    return undefined(outcomes, bad) if bad.any() else outcomes


def needs_output(metric: Metric) -> bool:
    """Whether the metric needs the model's answer on the clean sample."""
    return bool(metric.asks & {"output", "hidden"}) or any(
        "output" in p.reads for p in asks_of(metric)
    )


def sample_key(key: Any, index: Any) -> Any:
    """The key of one sample, from its index in the data set, never from its place in a batch."""
    return jax.random.fold_in(jax.random.fold_in(key, 0), index)


def params_key(key: Any) -> Any:
    """The key of parameter draws: they belong to the run, not to a sample."""
    return jax.random.fold_in(key, 1)


def explainer_key(key: Any) -> Any:
    """An explainer's key for one sample: the same for every step, so its map depends on x only."""
    return draw.fold_in(key, 1)
