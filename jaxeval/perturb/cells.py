"""Removal of random subsets of grid cells."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from .. import ops
from ..ops import draw
from ..types import Answer, Query, Sample, pytree, static
from .base import (
    RandomPerturbation,
    check_baseline,
    exclude,
    plan_baseline,
    step_baseline,
    step_key,
)
from .region import bounding_box, spatial_shape, valid_positions, with_channels

MOST_CELLS = 31
"""A set of so many cells fits into an integer; sets of more hardly ever repeat."""


@pytree
class RandomCells(RandomPerturbation):
    """Each step sets a uniformly random subset of grid cells to the baseline.

    The grid has `grid_size` cells of about equal size along each spatial axis (at most the axis
    length); a subset holds the fraction `share` of all cells, rounded, at least one. `aux` is the
    mask of removed positions, bool [space], with a channel axis of size 1 if x has channels.
    `draws`: cell indices [S, n] or [N, S, n] in row-major order, -1 for none. For a padded sample,
    the grid covers the bounding box of its valid positions, and cells with only padding are never
    chosen.
    """

    takes_padding: ClassVar[bool] = True
    counted_by: ClassVar[str | None] = "n_runs"

    n_runs: int = static(200)
    grid_size: int = static(9)
    share: Any = 0.2
    size: Any = None
    baseline: Any = "black"

    def bind(self, model: Any, sample: Sample) -> RandomCells:
        check_baseline(self.baseline, sample)
        if self.size is not None:
            return self
        n = self.n_cells(sample)
        n = n if sample.valid is None else np.arange(n + 1)
        size = np.floor(float(self.share) * n + 0.5)
        return dataclasses.replace(self, share=0.0, size=np.maximum(size, 1).astype(np.int32))

    def cells(self, sample: Sample) -> tuple[Any, Any, Any]:
        """(cell index of every position [space], mask of eligible cells or None, subset size)."""
        shape, n = spatial_shape(sample), self.n_cells(sample)
        if sample.valid is None:
            grid = [min(self.grid_size, k) for k in shape]
            at = [np.arange(k) * g // k for k, g in zip(shape, grid, strict=True)]
            ids = np.ravel_multi_index(np.meshgrid(*at, indexing="ij"), grid).astype(np.int32)
            return ids, None, self.size
        valid, ids = valid_positions(sample), jnp.zeros(shape, jnp.int32)
        for axis, (k, (first, end)) in enumerate(zip(shape, bounding_box(valid), strict=True)):
            others = tuple(i for i in range(len(shape)) if i != axis)
            long = end - first
            grid = jnp.minimum(self.grid_size, long)
            at = jnp.clip((jnp.arange(k) - first) * grid // long, 0, grid - 1)
            ids = ids * grid + jnp.expand_dims(at, others)
        some = ops.segment_sum(valid.astype(jnp.int32), ids, n) > 0
        return ids, some, jnp.asarray(self.size)[some.sum()]

    def n_cells(self, sample: Sample) -> int:
        return int(np.prod([min(self.grid_size, n) for n in spatial_shape(sample)]))

    def draw_shape(self, sample: Sample) -> tuple[int | None, ...]:
        return (None,)

    def draw_range(self, sample: Sample) -> tuple[Any, Any]:
        return -1, self.n_cells(sample) - 1

    def n_draws(self, sample: Sample) -> int:
        return self.n_runs

    def plan(self, sample: Sample, reference: Answer) -> Any:
        return plan_baseline(sample, self.baseline)

    def same(self, sample: Sample, plan: Any) -> Any:
        n, (_, some, size) = self.n_cells(sample), self.cells(sample)
        if plan is None or n > MOST_CELLS:
            return None
        bits = np.left_shift(1, np.arange(n, dtype=np.int32))

        def code(step: Any) -> Any:
            return jnp.where(self.subset(sample, step, some, size), bits, 0).sum(dtype=jnp.int32)

        # There may be thousands; one batch without a remainder compiles fastest.
        return jax.lax.map(code, jnp.arange(self.n_runs), batch_size=min(self.n_runs, 512))

    def same_draws(self, draws: np.ndarray) -> np.ndarray | None:
        if ops.is_random(self.baseline):
            return None
        return np.unique(np.sort(draws, -1), axis=0, return_inverse=True)[1].reshape(-1)

    def subset(self, sample: Sample, step: Any, some: Any, size: Any) -> Any:
        """The cells of one step, bool [n_cells]; `some` and `size` as from `cells`."""
        n = self.n_cells(sample)
        if sample.draw is not None:
            at = jnp.where(sample.draw < 0, n, sample.draw)  # out of range: dropped
            return jnp.zeros(n, bool).at[at].set(True, mode="drop")
        bits = draw.bits(step_key(sample, step), (n,))
        return ops.smallest(bits if some is None else exclude(bits, some), size)

    def apply(self, sample: Sample, plan: Any, step: Any) -> Query:
        ids, some, size = self.cells(sample)
        gone = with_channels(sample, self.subset(sample, step, some, size)[ids])
        replacement = step_baseline(sample, self.baseline, plan, step)
        return Query(x=jnp.where(gone, replacement, sample.x), y=sample.y, aux=gone)
