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
    behind,
    check_baseline,
    counts,
    of_count,
    plan_baseline,
    step_baseline,
    step_key,
)


def spread_sizes(largest: Any, n: int) -> np.ndarray:
    """Whole numbers spread evenly on a log scale from 1 to `largest`, without repeats.

    [K], K at most n; or for several of `largest` [M, n], with zeros at the end.
    """
    sizes = np.round(np.geomspace(1, np.maximum(largest, 1), n, axis=-1)).astype(np.int32)
    if sizes.ndim == 1:
        return np.unique(sizes)
    sizes[:, 1:][sizes[:, 1:] == sizes[:, :-1]] = 0
    return np.take_along_axis(sizes, np.argsort(sizes == 0, axis=1, kind="stable"), 1)


@pytree
class RandomSubsets(RandomPerturbation):
    """Each step sets a uniformly random subset of the features to the baseline.

    `n_runs` subsets for each of the sizes [K] (a number, or K of them), in the order of the
    sizes; sizes=None: `n_sizes` of them, spread evenly on a log scale from 1 to
    floor(`largest` F), without repeats. `aux` is the subset, bool [F].
    `draws`: feature indices [S, n] or [N, S, n], -1 for none, so that sizes may differ; padding
    among them stays as it is.
    """

    reads: ClassVar[Any] = frozenset({"features"})
    takes_padding: ClassVar[bool] = True

    n_runs: int = static(100)
    sizes: Any = None
    n_sizes: int = static(6)
    largest: Any = 0.8
    baseline: Any = "black"

    def bind(self, model: Any, sample: Sample) -> RandomSubsets:
        check_baseline(self.baseline, sample)
        n = sample.n_features
        if self.draws is not None:  # they say it all
            steps, unused = self.n_steps(sample), np.zeros(1, np.int32)
            return dataclasses.replace(self, n_runs=steps, sizes=unused, n_sizes=1, largest=0.0)
        sizes = self.sizes
        if sizes is None:
            sizes = spread_sizes(np.floor(float(self.largest) * counts(sample)), self.n_sizes)
        sizes = np.atleast_1d(np.asarray(sizes))
        if sizes.max() > n:
            raise ValueError(
                f"a subset of {sizes.max()} features is larger than the {n} features of the "
                f"attribution, shape {tuple(sample.features)}"
            )
        return dataclasses.replace(self, sizes=sizes)

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

    def own_sizes(self, sample: Sample) -> Any:
        """The sizes [K] for this sample; 0 for none, at the end."""
        return jnp.asarray(self.sizes) if self.sizes.ndim == 1 else of_count(sample, self.sizes)

    def count(self, sample: Sample, plan: Any) -> Any:
        if self.sizes.ndim == 1:
            return self.n_steps(sample)
        return self.n_runs * (self.own_sizes(sample) > 0).sum()

    def apply(self, sample: Sample, plan: Any, step: Any) -> Query:
        n = sample.n_features
        if sample.draw is not None:
            at = jnp.where(sample.draw < 0, n, sample.draw)  # beyond the features: dropped
            gone = jnp.zeros(n, bool).at[at].set(True, mode="drop")
        else:
            bits = draw.bits(step_key(sample, step), (n,))
            if sample.valid is not None:
                bits = behind(bits, sample.where.ravel())
            gone = ops.smallest(bits, self.own_sizes(sample)[step // self.n_runs])
        there = step_baseline(sample, self.baseline, plan, step)
        return Query(x=sample.replace_features(gone, there), y=sample.y, aux=gone)
