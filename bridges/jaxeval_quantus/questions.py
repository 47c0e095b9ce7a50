"""What Quantus's metrics ask the model, with indices, values and inputs that NumPy drew.

The perturbations take everything from the caller, so that the random numbers are those that
Quantus would draw. `Outputs` and `Explanations` give what the model answers, step by step.
"""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import jax.numpy as jnp

import jaxeval as je
from jaxeval import ops
from jaxeval.perturb import Perturbation, RandomPerturbation


@je.pytree
class Removed(Perturbation):
    """Step s sets the entries of groups 0..s to their values, s = 0..S-1.

    Reads the extras `group` (integers in the shape of x) and `value` (in the shape of x).
    """

    reads: ClassVar[Any] = frozenset({"group", "value"})

    steps: int = je.static(1)

    def n_steps(self, sample: je.Sample) -> int:
        return self.steps

    def apply(self, sample: je.Sample, plan: Any, step: Any) -> je.Query:
        gone = sample.extras["group"] <= step
        return je.Query(x=jnp.where(gone, sample.extras["value"], sample.x), y=sample.y)


@je.pytree
class Replaced(RandomPerturbation):
    """Step s sets the entries of group s // `repeats`, and no others, to one value.

    Reads the extra `group` (integers in the shape of x). `draws`: the values, [N, S].
    """

    reads: ClassVar[Any] = frozenset({"group"})

    repeats: int = je.static(1)

    def draw_shape(self, sample: je.Sample) -> tuple[int | None, ...]:
        return ()

    def n_draws(self, sample: je.Sample) -> int:
        return 1

    def apply(self, sample: je.Sample, plan: Any, step: Any) -> je.Query:
        gone = sample.extras["group"] == step // self.repeats
        return je.Query(x=jnp.where(gone, sample.draw, sample.x), y=sample.y)


@je.pytree
class Subsets(RandomPerturbation):
    """Step s sets a subset of the entries to one value.

    Reads the extra `fill`, the values [N, S]. `draws`: positions in the flat input, [N, S, n].
    """

    reads: ClassVar[Any] = frozenset({"fill"})

    def draw_shape(self, sample: je.Sample) -> tuple[int | None, ...]:
        return (None,)

    def draw_range(self, sample: je.Sample) -> tuple[Any, Any]:
        return 0, sample.x.size - 1

    def n_draws(self, sample: je.Sample) -> int:
        return 1

    def apply(self, sample: je.Sample, plan: Any, step: Any) -> je.Query:
        x = sample.x.ravel().at[sample.draw].set(sample.extras["fill"][step])
        return je.Query(x=x.reshape(sample.x.shape), y=sample.y)


@je.pytree
class Inputs(RandomPerturbation):
    """Step s queries an input that is given. `draws`: the inputs, [N, S, *x]."""

    def draw_shape(self, sample: je.Sample) -> tuple[int | None, ...]:
        return tuple(sample.x.shape)

    def n_draws(self, sample: je.Sample) -> int:
        return 1

    def apply(self, sample: je.Sample, plan: Any, step: Any) -> je.Query:
        return je.Query(x=sample.draw.astype(sample.x.dtype), y=sample.y)


class OfGivenDraws(je.Metric):
    """Its programs do not depend on how many samples there are draws for."""

    question: Any

    def questions(self) -> Any:
        return self.question

    def compiled(self) -> je.Metric:
        if getattr(self.question, "draws", None) is None:
            return self
        question = dataclasses.replace(self.question, draws=None)
        return dataclasses.replace(self, question=question)


@je.pytree
class Outputs(OfGivenDraws):
    """The answers to one question, one number a step; not a metric, although it is asked as one.

    Outcome: score [], f(x); curve [S], f(x_s) for `what` "value", f(x) - f(x_s) for "drop", the
    predicted class for "predicted".
    """

    family = "faithfulness"
    direction = "higher"
    asks = frozenset({"output"})

    normalise: str | None = je.static(None)
    question: Any = None
    what: str = je.static("value")

    def measure(
        self, sample: je.Sample, reference: je.Answer, query: je.Query, answer: je.Answer
    ) -> Any:
        if self.what == "drop":
            return self.drop(reference, answer, sample.y)
        if self.what == "predicted":
            return answer.predicted.astype(jnp.float32)
        return self.value(answer, sample.y)

    def reduce(
        self, sample: je.Sample, reference: je.Answer, measured: Any, valid: Any
    ) -> je.Outcome:
        return je.Outcome(score=self.value(reference, sample.y), curve=measured)


class _AsksOf:
    """What is asked depends on the fields."""

    def __get__(self, owner: Any, cls: type) -> frozenset[str]:
        asks = {"attribution"}
        if owner is not None and (owner.watch or any(map(_of_outputs, owner.distances))):
            asks.add("output")
        if owner is not None and any(isinstance(d, je.RRS) for d in owner.distances):
            asks.add("hidden")
        return frozenset(asks)


def _of_outputs(distance: Any) -> bool:
    return isinstance(distance, je.ROS)


@je.pytree
class Explained(OfGivenDraws):
    """How the maps of given inputs differ, and the maps themselves; asked like a metric.

    Each step gives the distance ||a - a'||, that of the relative change (`eps`), 1 where the
    predicted class changes (`watch`), the map's smallest and largest entry, a number for each of
    `distances`, and with `raw` the map.

    Outcome: score 0; curve [S k], step after step.

    Args:
      distances: metrics of relative stability, whose distances are taken.
      magnitudes: compare the sizes of entries; a holds sizes.
    """

    NUMBERS: ClassVar[int] = 5
    """How many numbers a step has before those of `distances`."""

    family = "robustness"
    direction = "lower"
    asks: ClassVar[Any] = _AsksOf()

    normalise: str | None = je.static(None)
    question: Any = None
    eps: Any = 1e-6
    distances: tuple[Any, ...] = ()
    watch: bool = je.static(False)
    raw: bool = je.static(False)
    magnitudes: bool = je.static(False)

    def measure(
        self, sample: je.Sample, reference: je.Answer, query: je.Query, answer: je.Answer
    ) -> Any:
        a, b = sample.a, answer.attribution
        changed = jnp.float32(0)
        if self.watch:
            changed = (answer.predicted != reference.predicted).astype(jnp.float32)
        far = [d.distance(sample, reference, query, answer) for d in self.distances]
        extremes = b.min(), b.max()
        b = jnp.abs(b) if self.magnitudes else b
        change = ops.l2(a, b), ops.relative_change(a, b, self.eps)
        numbers = jnp.stack([*change, changed, *extremes, *far])
        return jnp.concatenate([numbers, b.ravel()]) if self.raw else numbers

    def reduce(
        self, sample: je.Sample, reference: je.Answer, measured: Any, valid: Any
    ) -> je.Outcome:
        return je.Outcome(score=jnp.float32(0), curve=measured.ravel())
