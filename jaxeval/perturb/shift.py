"""The input moved along its last spatial axis."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

from ..types import Answer, Query, Sample, pytree, static
from .base import Perturbation, check_baseline, plan_baseline, step_baseline


@pytree
class Shift(Perturbation):
    """Step s moves x by a whole number of places along its last spatial axis, of length W.

    The numbers are `n_shifts`, spread evenly over [-W, W] and rounded, without repeats, 0, and
    -W, which leaves what W leaves: nothing. What moves in from outside is the baseline.
    """

    n_shifts: int = static(28)
    baseline: Any = "black"

    def bind(self, model: Any, sample: Sample) -> Shift:
        check_baseline(self.baseline, sample)
        return self

    def axis(self, sample: Sample) -> int:
        """The last axis of x that does not hold its channels."""
        last = len(sample.x.shape) - 1
        return last - 1 if sample.channel_axis == last else last

    def shifts(self, sample: Sample) -> np.ndarray:
        """By how many places each step moves x; positive is to higher indices."""
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
        there = step_baseline(sample, self.baseline, plan, step)
        return Query(x=jnp.where(inside, moved, there), y=sample.y)
