"""Cumulative removal of features in the order of their attribution."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np

from .. import ops
from ..types import Answer, Query, Sample, pytree, static
from .base import (
    Ordered,
    changed_features,
    check_baseline,
    equal_removals,
    feature_places,
    removed_baseline,
)


@pytree
class RankedDeletion(Ordered):
    """Step s sets the first k_s features in the order of `a` to the baseline, s = 1..S.

    k_s = floor(F s / S) with `steps` = S (at most F), or min(m s, F) with `features_in_step` = m.
    `order`: "morf": most relevant first; "lerf": least relevant first; "random": independent of
    `a`, or given as `draws`, feature indices [F] or [N, F].
    With `insert`, step s = 0..S-1 starts from the baseline and restores the first k_s features of
    x. The clean x itself is never a step. A random baseline is drawn once per sample. For a padded
    sample, F is the number of its valid features, so S may be smaller.
    """

    blind_reads: ClassVar[frozenset[str]] = frozenset({"features"})
    takes_padding: ClassVar[bool] = True
    takes_ids: ClassVar[bool] = True

    steps: int | None = static(32)
    features_in_step: int | None = static(None)
    insert: bool = static(False)
    baseline: Any = "black"

    def bind(self, model: Any, sample: Sample) -> RankedDeletion:
        check_baseline(self.baseline, sample)
        n, m = sample.n_features, self.features_in_step
        if m and (n % m or sample.valid is not None):
            return self
        # Equivalent `steps` and `features_in_step` must be the same question.
        steps = n // m if m else min(self.steps or n, n)
        return dataclasses.replace(self, steps=steps, features_in_step=None)

    def sizes(self, sample: Sample) -> np.ndarray:
        """k_0..k_S, on the host: on the device, F s overflows int32 at F = S = 150,528."""
        n, m = sample.n_features, self.features_in_step
        s = np.arange((-(-n // m) if m else min(self.steps or n, n)) + 1)
        return np.minimum(m * s, n) if m else n * s // s[-1]

    def n_valid_steps(self, sample: Sample) -> Any:
        """S for the valid features of this sample."""
        n, m = sample.n_valid, self.features_in_step
        return -(-n // m) if m else jnp.minimum(self.steps or n, n)

    def size(self, sample: Sample, s: Any) -> Any:
        """k_s for this sample."""
        if sample.valid is None:
            return jnp.asarray(self.sizes(sample), jnp.int32)[s]
        n, m = sample.n_valid, self.features_in_step
        if m:
            return jnp.minimum(m * s, n)
        total = self.n_valid_steps(sample)
        return ops.portion(n, jnp.minimum(s, total), total, self.n_steps(sample))

    def n_ordered(self, sample: Sample) -> int:
        return sample.n_features

    def n_draws(self, sample: Sample) -> int:
        return len(self.sizes(sample)) - 1

    def plan(self, sample: Sample, reference: Answer) -> Any:
        if self.order == "random":
            where = None if sample.valid is None else sample.where.ravel()
            place = self.random_places(sample, where)
        else:
            place = feature_places(sample, self.order)
        return {"place": place, "baseline": self.replacement(sample, place)}

    def replacement(self, sample: Sample, place: Any) -> Any:
        """The replacement values; "uniform_value" draws one per step."""

        def steps() -> Any:
            sizes = self.size(sample, jnp.arange(self.n_steps(sample) + 1))
            return sample.to_input(jnp.searchsorted(sizes, place, side="right") - 1)

        return removed_baseline(sample, self.baseline, steps)

    def count(self, sample: Sample, plan: Any) -> Any:
        return self.n_steps(sample) if sample.valid is None else self.n_valid_steps(sample)

    def same(self, sample: Sample, plan: Any) -> Any:
        steps = jnp.arange(self.n_steps(sample))
        sizes = self.size(sample, steps if self.insert else steps + 1)
        changed = changed_features(sample, plan["baseline"])
        return equal_removals(sizes, plan["place"], changed, self.insert)

    def apply(self, sample: Sample, plan: Any, step: Any) -> Query:
        place = plan["place"]
        if self.insert:
            gone = place >= self.size(sample, step)
        else:
            gone = place < self.size(sample, step + 1)
        return Query(x=sample.replace_features(gone, plan["baseline"]), y=sample.y)
