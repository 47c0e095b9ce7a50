"""Translation of the input along its last spatial axis."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

from ..types import Answer, Query, Sample, pytree, static
from .base import Perturbation, check_baseline, plan_baseline, step_baseline


@pytree
class Shift(Perturbation):
    """Step s shifts x by an integer number of positions along its last spatial axis, of length W.

    The shifts are `n_shifts` evenly spaced numbers on [-W, W], rounded, without duplicates, 0 and
    -W (which, like W, shifts everything out). Vacated positions are set to the baseline.
    """

    n_shifts: int = static(28)
    baseline: Any = "black"

    def bind(self, model: Any, sample: Sample) -> Shift:
        check_baseline(self.baseline, sample)
        return self

    def axis(self, sample: Sample) -> int:
        """The last axis of x that is not the channel axis."""
        last = len(sample.x.shape) - 1
        return last - 1 if sample.channel_axis == last else last

    def shifts(self, sample: Sample) -> np.ndarray:
        """The shift of each step in positions; positive shifts are to higher indices."""
        width = sample.x.shape[self.axis(sample)]
        moves = np.unique(np.round(np.linspace(-width, width, self.n_shifts)).astype(np.int32))
        return moves[(moves != 0) & (moves != -width)]

    def n_steps(self, sample: Sample) -> int:
        return len(self.shifts(sample))

    def plan(self, sample: Sample, reference: Answer) -> Any:
        return plan_baseline(sample, self.baseline)

    def apply(self, sample: Sample, plan: Any, step: Any) -> Query:
        x, axis = sample.x, self.axis(sample)
        width = x.shape[axis]
        source = jnp.arange(width) - jnp.asarray(self.shifts(sample))[step]
        moved = jnp.take(x, jnp.clip(source, 0, width - 1), axis)
        inside = (source >= 0) & (source < width)
        inside = jnp.expand_dims(inside, [i for i in range(x.ndim) if i != axis])
        replacement = step_baseline(sample, self.baseline, plan, step)
        return Query(x=jnp.where(inside, moved, replacement), y=sample.y)
