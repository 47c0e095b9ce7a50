"""Removal of features in the order of their attribution."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np

from .. import ops
from ..types import Answer, Query, Sample, pytree, static
from .base import Ordered, check_baseline, places, removed_baseline


@pytree
class RankedDeletion(Ordered):
    """Step s sets the k_s first features in the order of `a` to the baseline, s = 1..S.

    k_s = floor(F s / S) with `n_steps` = S (at most F), or min(m s, F) with
    `features_in_step` = m. "morf": the most relevant first, "lerf": the least, "random": any
    order (blind to `a`; `draws=` gives the order, [F] or [N, F] feature indices).
    With `insert` step s = 0..S-1 starts from the baseline and puts the first k_s features of x
    back.
    The clean x itself is never a step. A random baseline is drawn once per sample. Of a sample
    with padding F is the number of its own features, and so S may be smaller.
    """

    blind_reads: ClassVar[frozenset[str]] = frozenset({"features"})
    takes_padding: ClassVar[bool] = True

    steps: int | None = static(32)
    features_in_step: int | None = static(None)
    insert: bool = static(False)
    baseline: Any = "black"

    def bind(self, model: Any, sample: Sample) -> RankedDeletion:
        check_baseline(self.baseline, sample)
        n, m = sample.n_features, self.features_in_step
        if m and (n % m or sample.valid is not None):
            return self
        # Two ways to say one thing are one question.
        steps = n // m if m else min(self.steps or n, n)
        return dataclasses.replace(self, steps=steps, features_in_step=None)

    def sizes(self, sample: Sample) -> np.ndarray:
        """k_0..k_S. On the host: F s overflows int32 on the device at F = S = 150,528."""
        n, m = sample.n_features, self.features_in_step
        s = np.arange((-(-n // m) if m else min(self.steps or n, n)) + 1)
        return np.minimum(m * s, n) if m else n * s // s[-1]

    def own_steps(self, sample: Sample) -> Any:
        """S, of the features that are no padding."""
        n, m = sample.n_valid, self.features_in_step
        return -(-n // m) if m else jnp.minimum(self.steps or n, n)

    def size(self, sample: Sample, s: Any) -> Any:
        """k_s of this sample."""
        if sample.valid is None:
            return jnp.asarray(self.sizes(sample), jnp.int32)[s]
        n, m = sample.n_valid, self.features_in_step
        if m:
            return jnp.minimum(m * s, n)
        own = self.own_steps(sample)
        return ops.portion(n, jnp.minimum(s, own), own, self.n_steps(sample))

    def n_ordered(self, sample: Sample) -> int:
        return sample.n_features

    def n_draws(self, sample: Sample) -> int:
        return len(self.sizes(sample)) - 1

    def plan(self, sample: Sample, reference: Answer) -> Any:
        if self.order == "random":
            where = None if sample.valid is None else sample.where.ravel()
            place = self.random_places(sample, where)
        else:
            place = places(sample, self.order)
        return {"place": place, "baseline": self.replacement(sample, place)}

    def replacement(self, sample: Sample, place: Any) -> Any:
        """What takes the place of the features, those of one step being drawn together."""

        def steps() -> Any:
            sizes = self.size(sample, jnp.arange(self.n_steps(sample) + 1))
            return sample.to_input(jnp.searchsorted(sizes, place, side="right") - 1)

        return removed_baseline(sample, self.baseline, steps)

    def count(self, sample: Sample, plan: Any) -> Any:
        return self.n_steps(sample) if sample.valid is None else self.own_steps(sample)

    def apply(self, sample: Sample, plan: Any, step: Any) -> Query:
        place = plan["place"]
        if self.insert:
            gone = place >= self.size(sample, step)
        else:
            gone = place < self.size(sample, step + 1)
        return Query(x=sample.replace_features(gone, plan["baseline"]), y=sample.y)
