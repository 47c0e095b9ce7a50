"""Removal of patches: in the order of their attribution, one by one, or at random places."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from .. import ops
from ..types import Answer, Query, Sample, pytree, static
from .base import (
    Perturbation,
    RandomPerturbation,
    check_baseline,
    plan_baseline,
    step_baseline,
    step_key,
)


def spatial_shape(sample: Sample) -> tuple[int, ...]:
    """The shape of one input without its channel axis."""
    return tuple(n for i, n in enumerate(sample.x.shape) if i != sample.channel_axis)


def check_patch(sample: Sample, patch_size: int) -> None:
    """A patch fits into the input."""
    shape = spatial_shape(sample)
    if patch_size > min(shape):
        raise ValueError(
            f"patch_size={patch_size} is larger than the input, whose spatial shape is {shape}"
        )


def over_space(sample: Sample, where: Any) -> Any:
    """where [space] with a channel axis to broadcast against x."""
    return where if sample.channel_axis is None else jnp.expand_dims(where, sample.channel_axis)


@pytree
class RankedPatches(Perturbation):
    """Step s sets the s + 1 first patches in the order of their summed attribution to the baseline.

    Patches of `patch_size` on a side tile the input from its first corner; what is left over at
    the end of an axis belongs to no patch. At most `n_regions` steps (None: all patches).
    A random baseline is drawn once per sample.
    """

    reads: ClassVar[Any] = frozenset({"a"})

    patch_size: int = static(8)
    n_regions: int | None = static(100)
    order: str = static("morf")
    baseline: Any = "black"

    def bind(self, model: Any, sample: Sample) -> RankedPatches:
        check_baseline(self.baseline, sample)
        check_patch(sample, self.patch_size)
        return dataclasses.replace(self, n_regions=self.n_steps(sample))

    def ids(self, sample: Sample) -> np.ndarray:
        """The patch of every place of the input, [space]; -1 for none."""
        return ops.patch_ids(spatial_shape(sample), self.patch_size)

    def n_steps(self, sample: Sample) -> int:
        patches = int(self.ids(sample).max()) + 1
        return min(self.n_regions or patches, patches)

    def plan(self, sample: Sample, reference: Answer) -> Any:
        ids = self.ids(sample)
        a = sample.a
        if sample.channel_axis is not None and a.ndim == sample.x.ndim:
            a = a.sum(sample.channel_axis)
        sums = ops.segment_sum(a, ids, int(ids.max()) + 1)
        order = (ops.descending if self.order == "morf" else ops.ascending)(sums)
        key = jax.random.fold_in(sample.key, 2)
        b = ops.baseline(sample.x, self.baseline, sample.channel_axis, key)
        return {"place": ops.places(order), "baseline": b}

    def apply(self, sample: Sample, plan: Any, step: Any) -> Query:
        ids = self.ids(sample)
        gone = (plan["place"] <= step)[ids] & (ids >= 0)
        x = jnp.where(over_space(sample, gone), plan["baseline"], sample.x)
        return Query(x=x, y=sample.y)


@pytree
class EachPatch(Perturbation):
    """Step s sets patch s alone to the baseline; patches as in `RankedPatches`."""

    patch_size: int = static(8)
    baseline: Any = "black"

    def bind(self, model: Any, sample: Sample) -> EachPatch:
        check_baseline(self.baseline, sample)
        check_patch(sample, self.patch_size)
        return self

    def n_steps(self, sample: Sample) -> int:
        return int(ops.patch_ids(spatial_shape(sample), self.patch_size).max()) + 1

    def plan(self, sample: Sample, reference: Answer) -> Any:
        return plan_baseline(sample, self.baseline)

    def apply(self, sample: Sample, plan: Any, step: Any) -> Query:
        gone = jnp.asarray(ops.patch_ids(spatial_shape(sample), self.patch_size)) == step
        there = step_baseline(sample, self.baseline, plan, step)
        return Query(x=jnp.where(over_space(sample, gone), there, sample.x), y=sample.y)


@pytree
class RandomSquares(RandomPerturbation):
    """Each step sets one square of `patch_size` on a side, at a uniformly random place within
    the input, to the baseline. `draws`: the first corners, int [S, space axes] or [N, S, ...].
    """

    patch_size: int = static(8)
    n_samples: int = static(50)
    baseline: Any = "black"

    def bind(self, model: Any, sample: Sample) -> RandomSquares:
        check_baseline(self.baseline, sample)
        check_patch(sample, self.patch_size)
        return self

    def draw_shape(self, sample: Sample) -> tuple[int | None, ...]:
        return (len(spatial_shape(sample)),)

    def draw_range(self, sample: Sample) -> tuple[Any, Any]:
        return 0, np.asarray(spatial_shape(sample)) - self.patch_size

    def n_draws(self, sample: Sample) -> int:
        return self.n_samples

    def plan(self, sample: Sample, reference: Answer) -> Any:
        return plan_baseline(sample, self.baseline)

    def apply(self, sample: Sample, plan: Any, step: Any) -> Query:
        shape, corner = spatial_shape(sample), sample.draw
        if corner is None:
            room = jnp.asarray([n - self.patch_size + 1 for n in shape])
            corner = jax.random.randint(step_key(sample, step), (len(shape),), 0, room)
        gone = jnp.ones(shape, bool)
        for axis, n in enumerate(shape):
            at = jnp.arange(n) - corner[axis]
            inside = (at >= 0) & (at < self.patch_size)
            gone &= jnp.expand_dims(inside, [i for i in range(len(shape)) if i != axis])
        there = step_baseline(sample, self.baseline, plan, step)
        return Query(x=jnp.where(over_space(sample, gone), there, sample.x), y=sample.y)
