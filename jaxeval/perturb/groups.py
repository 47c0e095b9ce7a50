"""Removal of one group of features at a time, in the order of their attribution."""

from __future__ import annotations

from typing import Any, ClassVar

import jax.numpy as jnp

from .. import ops
from ..types import Answer, Query, Sample, pytree, static
from .base import (
    RandomPerturbation,
    changed_features,
    check_baseline,
    feature_places,
    plan_baseline,
    step_baseline,
)


@pytree
class RankedGroups(RandomPerturbation):
    """Each step sets a single group of features to the baseline; groups follow the order of `a`.

    Group g holds the features at positions m g to m (g + 1) - 1 of the order ("morf": most
    relevant first; "lerf": least relevant first), m = `features_in_step`; the last group may be
    smaller. Each group is repeated in `n_samples` consecutive steps. A random baseline is drawn
    for each step. `draws`: the replacement values as whole inputs,
    [S, *x] or [N, S, *x], S = groups x n_samples.
    """

    reads: ClassVar[Any] = frozenset({"a"})
    takes_padding: ClassVar[bool] = True
    takes_ids: ClassVar[bool] = True

    order: str = static("morf")
    features_in_step: int = static(1)
    n_samples: int = static(1)
    baseline: Any = "black"

    def bind(self, model: Any, sample: Sample) -> RankedGroups:
        check_baseline(self.baseline, sample)
        if self.draws is not None and self.n_steps(sample) != self.n_draws(sample):
            raise ValueError(
                f"draws give {self.n_steps(sample)} replacements, wanted groups x n_samples = "
                f"{self.n_groups(sample)} x {self.n_samples}"
            )
        return self

    def draw_shape(self, sample: Sample) -> tuple[int | None, ...]:
        return tuple(sample.x.shape)

    def n_groups(self, sample: Sample) -> int:
        return -(-sample.n_features // self.features_in_step)

    def n_draws(self, sample: Sample) -> int:
        return self.n_groups(sample) * self.n_samples

    def plan(self, sample: Sample, reference: Answer) -> Any:
        place = feature_places(sample, self.order)
        return {"place": place, "baseline": plan_baseline(sample, self.baseline)}

    def count(self, sample: Sample, plan: Any) -> Any:
        return -(-sample.n_valid // self.features_in_step) * self.n_samples

    def same(self, sample: Sample, plan: Any) -> Any:
        if plan["baseline"] is None:
            return None
        group, n = jnp.arange(self.n_steps(sample)) // self.n_samples, self.n_groups(sample)
        changed = changed_features(sample, plan["baseline"]).astype(jnp.int32)
        changed = ops.segment_sum(changed, plan["place"] // self.features_in_step, n) > 0
        return jnp.where(changed[group], group, -1)

    def apply(self, sample: Sample, plan: Any, step: Any) -> Query:
        first = step // self.n_samples * self.features_in_step
        gone = (plan["place"] >= first) & (plan["place"] < first + self.features_in_step)
        replacement = sample.draw
        if replacement is None:
            replacement = step_baseline(sample, self.baseline, plan["baseline"], step)
        x = sample.replace_features(gone, jnp.asarray(replacement, sample.x.dtype))
        return Query(x=x, y=sample.y)
