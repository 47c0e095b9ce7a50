"""What one sample looks like to a perturbation and to a metric; shared by both drivers."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..metric import Metric, asks_of
from ..perturb import Perturbation
from ..types import Answer, Outcome, Query, Sample


class Withheld:
    """Stands for what a perturbation does not declare that it reads; any use says so."""

    def __init__(self, what: str, name: str):
        self.__dict__.update(what=what, name=name)

    def _refuse(self, *_: Any, **__: Any) -> Any:
        d = self.__dict__
        raise TypeError(
            f'a perturbation looked at {d["what"]}, which it does not declare: add "{d["name"]}" '
            "to its `reads`, or its answers would be shared where they differ"
        )

    __jax_array__ = __array__ = __getitem__ = __len__ = __iter__ = __bool__ = _refuse

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        self._refuse()


def view(sample: Sample, pert: Perturbation) -> Sample:
    """The sample with everything withheld that the perturbation does not read."""
    reads = pert.reads
    seen: dict[str, Any] = {}
    if "a" not in reads:
        seen["a"] = Withheld("sample.a", "a")
    if not reads & {"a", "features"}:
        seen["features"] = Withheld("sample.features", "features")
    if "mask" not in reads:
        seen["mask"] = Withheld("sample.mask", "mask")
    extras = sample.extras or {}
    seen["extras"] = {
        k: v if k in reads else Withheld(f"sample.extras[{k!r}]", k) for k, v in extras.items()
    }
    return dataclasses.replace(sample, **seen)


def ask(pert: Perturbation, seen: Sample, plan: Any, step: Any) -> Query:
    """The query of one step, of what the perturbation sees of the sample.

    Here padding is left as it is: no perturbation can touch it, but for those that change the
    model and its input together.
    """
    query = pert.apply(seen, plan, step)
    if seen.valid is None or pert.changes_params:
        return query
    return dataclasses.replace(query, x=jnp.where(seen.valid, query.x, seen.x))


def view_reference(reference: Answer, pert: Perturbation) -> Any:
    """The answer on the clean sample, for a perturbation that reads it."""
    return reference if "output" in pert.reads else Withheld("the clean answer", "output")


def reduce_one(
    metric: Metric,
    sample: Sample,
    reference: Answer,
    measured: tuple[Any, ...],
    valid: tuple[Any, ...],
) -> Outcome:
    """The outcome of one sample; a metric with one question gets it bare, not as a tuple."""
    if isinstance(metric.questions(), tuple):
        return metric.reduce(sample, reference, measured, valid)
    first = (measured[0], valid[0]) if measured else (None, None)
    return metric.reduce(sample, reference, *first)


def finish_all(metric: Metric, outcomes: Outcome) -> Outcome:
    """The outcomes [n] of a block, each completed on the host where the metric needs it."""
    if type(metric).finish is Metric.finish:
        return outcomes
    rows = range(len(outcomes.score))
    done = [metric.finish(jax.tree.map(lambda v: v[i], outcomes)) for i in rows]  # noqa: B023
    return jax.tree.map(lambda *v: np.stack(v), *done)


def needs_output(metric: Metric) -> bool:
    """Whether the metric needs the model's answer on the clean sample."""
    return bool(metric.asks & {"output", "hidden"}) or any(
        "output" in p.reads for p in asks_of(metric)
    )


def sample_key(key: Any, index: Any) -> Any:
    """The key of one sample, by its index in the data set, never by its place in a batch."""
    return jax.random.fold_in(jax.random.fold_in(key, 0), index)


def params_key(key: Any) -> Any:
    """The key of parameter draws: they belong to the run, not to a sample."""
    return jax.random.fold_in(key, 1)


def explainer_key(key: Any) -> Any:
    """An explainer's key of one sample: the same for every step, as a map is a function of x."""
    return jax.random.fold_in(key, 1)
