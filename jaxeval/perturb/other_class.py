"""The same input, another class."""

from __future__ import annotations

from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from ..types import Answer, Query, Sample, pytree
from .base import RandomPerturbation, step_key


@pytree
class OtherClass(RandomPerturbation):
    """One step: x with a class drawn uniformly from the K - 1 others.

    `draws`: the class, a number or [N].
    """

    reads: ClassVar[Any] = frozenset({"output"})
    draws_per: ClassVar[str] = "sample"

    def draw_ndim(self, sample: Sample) -> int:
        return 0

    def n_draws(self, sample: Sample) -> int:
        return 1

    def plan(self, sample: Sample, reference: Answer) -> Any:
        if sample.draw is not None:
            return sample.draw.astype(jnp.int32)
        other = jax.random.randint(step_key(sample, 0), (), 0, reference.logits.size - 1)
        return other + (other >= sample.y)

    def apply(self, sample: Sample, plan: Any, step: Any) -> Query:
        return Query(x=sample.x, y=plan)
