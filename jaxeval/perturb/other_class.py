"""The same input, another class."""

from __future__ import annotations

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from ..types import Answer, Model, Query, Sample, pytree
from .base import RandomPerturbation, step_key


@pytree
class OtherClass(RandomPerturbation):
    """One step: x with a class drawn uniformly from the K - 1 others.

    `draws`: the class, a number or [N].
    """

    reads: ClassVar[Any] = frozenset({"output"})
    draws_per: ClassVar[str] = "sample"

    def bind(self, model: Model, sample: Sample) -> OtherClass:
        if self.draws is None or model.host:
            return self
        one = jax.ShapeDtypeStruct((1, *sample.x.shape), sample.x.dtype)
        n = jax.eval_shape(model.apply, model.params, one).shape[-1]
        if np.max(self.draws) >= n:
            raise ValueError(
                f"draws hold the class {np.max(self.draws)}, but the model has {n} outputs"
            )
        return self

    def draw_shape(self, sample: Sample) -> tuple[int | None, ...]:
        return ()

    def draw_range(self, sample: Sample) -> tuple[Any, Any]:
        return 0, np.iinfo(np.int32).max

    def n_draws(self, sample: Sample) -> int:
        return 1

    def plan(self, sample: Sample, reference: Answer) -> Any:
        if sample.draw is not None:
            return sample.draw.astype(jnp.int32)
        other = jax.random.randint(step_key(sample, 0), (), 0, reference.logits.size - 1)
        return other + (other >= sample.y)

    def apply(self, sample: Sample, plan: Any, step: Any) -> Query:
        return Query(x=sample.x, y=plan)
