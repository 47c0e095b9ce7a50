"""Removal of one feature at a time, and of all features."""

from __future__ import annotations

from typing import Any, ClassVar

import jax.numpy as jnp

from ..types import Answer, Query, Sample, pytree, static
from .base import (
    Perturbation,
    RandomPerturbation,
    changed_features,
    check_baseline,
    plan_baseline,
    step_baseline,
)


@pytree
class SingleFeature(RandomPerturbation):
    """Step s replaces feature floor(s / n_samples): each feature `n_samples` times.

    Padding is not counted as features. `draws`: the replacement values, [F n_samples] or
    [N, F n_samples], the same for all entries of a feature.
    """

    reads: ClassVar[Any] = frozenset({"features"})
    takes_padding: ClassVar[bool] = True
    takes_ids: ClassVar[bool] = True

    n_samples: int = static(1)
    baseline: Any = "uniform"

    def bind(self, model: Any, sample: Sample) -> SingleFeature:
        check_baseline(self.baseline, sample)
        if self.draws is not None and self.n_steps(sample) != self.n_draws(sample):
            raise ValueError(
                f"draws give {self.n_steps(sample)} replacements, wanted n_samples x features = "
                f"{self.n_samples} x {sample.n_features}"
            )
        return self

    def draw_shape(self, sample: Sample) -> tuple[int | None, ...]:
        return ()

    def n_draws(self, sample: Sample) -> int:
        return sample.n_features * self.n_samples

    def plan(self, sample: Sample, reference: Answer) -> Any:
        return plan_baseline(sample, self.baseline)

    def count(self, sample: Sample, plan: Any) -> Any:
        return sample.n_valid * self.n_samples

    def same(self, sample: Sample, plan: Any) -> Any:
        if plan is None:
            return None
        feature = jnp.arange(self.n_steps(sample)) // self.n_samples
        changed = changed_features(sample, plan)
        if sample.valid is not None:  # step s: the s-th valid feature
            changed = changed[jnp.argsort(~sample.where.ravel(), stable=True)]
        return jnp.where(changed[feature], feature, -1)

    def apply(self, sample: Sample, plan: Any, step: Any) -> Query:
        gone = sample.at_features(jnp.arange(sample.n_features)) == step // self.n_samples
        replacement = sample.draw
        if replacement is None:
            replacement = step_baseline(sample, self.baseline, plan, step)
        return Query(x=sample.replace_features(gone, replacement), y=sample.y)


@pytree
class Blank(Perturbation):
    """One step: query the baseline itself. A random baseline is drawn once."""

    takes_padding: ClassVar[bool] = True
    takes_ids: ClassVar[bool] = True

    baseline: Any = "black"

    def bind(self, model: Any, sample: Sample) -> Blank:
        check_baseline(self.baseline, sample)
        return self

    def n_steps(self, sample: Sample) -> int:
        return 1

    def apply(self, sample: Sample, plan: Any, step: Any) -> Query:
        replacement = step_baseline(
            sample, self.baseline, plan_baseline(sample, self.baseline), step
        )
        return Query(x=jnp.broadcast_to(replacement, sample.x.shape), y=sample.y)
