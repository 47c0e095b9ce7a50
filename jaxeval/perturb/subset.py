"""Removal of random subsets of features."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np

from .. import ops
from ..ops import draw
from ..types import Answer, Query, Sample, pytree, static
from .base import (
    RandomPerturbation,
    at_count,
    check_baseline,
    exclude,
    feature_counts,
    plan_baseline,
    step_baseline,
    step_key,
)


def log_spaced_sizes(largest: Any, n: int) -> np.ndarray:
    """At most n integers, evenly spaced on a log scale from 1 to `largest`, without duplicates.

    Returns [K], K <= n; for an array `largest` [M], [M, n] with zeros at the end of each row.
    """
    sizes = np.round(np.geomspace(1, np.maximum(largest, 1), n, axis=-1)).astype(np.int32)
    if sizes.ndim == 1:
        return np.unique(sizes)
    sizes[:, 1:][sizes[:, 1:] == sizes[:, :-1]] = 0
    return np.take_along_axis(sizes, np.argsort(sizes == 0, axis=1, kind="stable"), 1)


@pytree
class RandomSubsets(RandomPerturbation):
    """Each step sets a uniformly random subset of the features to the baseline.

    `n_runs` subsets for each of the `sizes` (a number or [K]), in that order; with ``sizes=None``,
    up to `n_sizes` sizes evenly spaced on a log scale from 1 to floor(`largest` F), without
    duplicates. `aux` is the subset, bool [F]. `draws`: feature indices [S, n] or [N, S, n], -1 for
    none, so that sizes may differ; indices of padding have no effect.
    """

    reads: ClassVar[Any] = frozenset({"features"})
    takes_padding: ClassVar[bool] = True
    takes_ids: ClassVar[bool] = True

    n_runs: int = static(100)
    sizes: Any = None
    n_sizes: int = static(6)
    largest: Any = 0.8
    baseline: Any = "black"

    def bind(self, model: Any, sample: Sample) -> RandomSubsets:
        check_baseline(self.baseline, sample)
        n = sample.n_features
        if self.draws is not None:  # the other fields are unused: equal draws are one question
            steps, unused = self.n_steps(sample), np.zeros(1, np.int32)
            return dataclasses.replace(self, n_runs=steps, sizes=unused, n_sizes=1, largest=0.0)
        sizes = self.sizes
        if sizes is None:
            sizes = log_spaced_sizes(
                np.floor(float(self.largest) * feature_counts(sample)), self.n_sizes
            )
        sizes = np.atleast_1d(np.asarray(sizes))
        if sizes.max() > n:
            raise ValueError(
                f"a subset of {sizes.max()} features is larger than the {n} features of the "
                f"attribution, shape {tuple(sample.features)}: give smaller ones, by subset_size= "
                "of FaithfulnessCorrelation or sizes= of SensitivityN"
            )
        return dataclasses.replace(self, sizes=sizes)

    @property
    def counted_by(self) -> str | None:  # type: ignore[override]
        """The number of subsets, if they all have one size."""
        return "n_runs" if np.ndim(self.sizes) and np.shape(self.sizes)[-1] == 1 else None

    def fewest(self, sample: Sample) -> int:
        return 1 if self.draws is not None or self.sizes.ndim > 1 else int(self.sizes.max())

    def draw_shape(self, sample: Sample) -> tuple[int | None, ...]:
        return (None,)

    def draw_range(self, sample: Sample) -> tuple[Any, Any]:
        return -1, sample.n_features - 1

    def n_draws(self, sample: Sample) -> int:
        return self.n_runs * self.sizes.shape[-1]

    def plan(self, sample: Sample, reference: Answer) -> Any:
        return plan_baseline(sample, self.baseline)

    def valid_sizes(self, sample: Sample) -> Any:
        """The sizes [K] for this sample; zeros at the end stand for no size."""
        return jnp.asarray(self.sizes) if self.sizes.ndim == 1 else at_count(sample, self.sizes)

    def count(self, sample: Sample, plan: Any) -> Any:
        if self.sizes.ndim == 1:
            return self.n_steps(sample)
        return self.n_runs * (self.valid_sizes(sample) > 0).sum()

    def apply(self, sample: Sample, plan: Any, step: Any) -> Query:
        n = sample.n_features
        if sample.draw is not None:
            at = jnp.where(sample.draw < 0, n, sample.draw)  # out of range: dropped
            gone = jnp.zeros(n, bool).at[at].set(True, mode="drop")
        else:
            bits = draw.bits(step_key(sample, step), (n,))
            if sample.valid is not None:
                bits = exclude(bits, sample.where.ravel())
            gone = ops.smallest(bits, self.valid_sizes(sample)[step // self.n_runs])
        replacement = step_baseline(sample, self.baseline, plan, step)
        return Query(x=sample.replace_features(gone, replacement), y=sample.y, aux=gone)
