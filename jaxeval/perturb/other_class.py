"""The same input with another class."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from ..model import Model
from ..types import Answer, Query, Sample, pytree, static
from .base import RandomPerturbation, step_key


@pytree
class OtherClass(RandomPerturbation):
    """One step: query x with a class other than y.

    `choose`: "random": drawn uniformly from the K - 1 other classes; "top": the other class with
    the largest logit, ties to the lowest index. `draws`: the class, a number or [N].
    """

    reads: ClassVar[Any] = frozenset({"output"})
    draws_per: ClassVar[str] = "sample"
    takes_padding: ClassVar[bool] = True
    takes_ids: ClassVar[bool] = True

    choose: str = static("random")

    def bind(self, model: Model, sample: Sample) -> OtherClass:
        given = self
        if self.draws is not None:
            given = dataclasses.replace(self, choose="random")  # equal draws are one question
        n = None if model.host else model.n_classes(sample.x)
        if n == 1:
            raise ValueError(
                "it explains a class other than y, but the model has one output: give "
                'Model(outputs="binary") where that is the logit of class 1'
            )
        if n is not None and self.draws is not None and np.max(self.draws) >= n:
            raise ValueError(
                f"draws hold the class {np.max(self.draws)}, but the model has {n} outputs"
            )
        return given

    def draw_shape(self, sample: Sample) -> tuple[int | None, ...]:
        return ()

    def draw_range(self, sample: Sample) -> tuple[Any, Any]:
        return 0, np.iinfo(np.int32).max

    def n_draws(self, sample: Sample) -> int:
        return 1

    def plan(self, sample: Sample, reference: Answer) -> Any:
        if sample.draw is not None:
            return sample.draw.astype(jnp.int32)
        if self.choose == "top":
            others = jnp.arange(reference.logits.size) != sample.y
            return jnp.where(others, reference.logits, -jnp.inf).argmax().astype(jnp.int32)
        other = jax.random.randint(step_key(sample, 0), (), 0, reference.logits.size - 1)
        return other + (other >= sample.y)

    def apply(self, sample: Sample, plan: Any, step: Any) -> Query:
        return Query(x=sample.x, y=plan)
