"""Removal of patches: in the order of their attribution, one at a time, or at random positions."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from .. import ops
from ..types import Answer, Query, Sample, pytree, static
from .base import (
    Ordered,
    Perturbation,
    RandomPerturbation,
    changed_entries,
    check_baseline,
    check_positions,
    equal_removals,
    plan_baseline,
    removed_baseline,
    step_baseline,
    step_key,
)


def spatial_shape(sample: Sample) -> tuple[int, ...]:
    """The shape of one input without its channel axis."""
    return tuple(n for i, n in enumerate(sample.x.shape) if i != sample.channel_axis)


def sides_of(sample: Sample, patch_size: Any) -> tuple[int, ...]:
    """The sides of a patch along the axes of the input that are no channels.

    Args:
      patch_size: a number for all axes, or one for each. None: 8, or an axis that is
        shorter as a whole.

    Raises:
      ValueError: a patch that is larger than the input, or another number of axes.
    """
    shape = spatial_shape(sample)
    if patch_size is None:
        return tuple(min(8, n) for n in shape)
    if isinstance(patch_size, (int, np.integer)):
        patch_size = (int(patch_size),) * len(shape)
    sides = tuple(patch_size)
    if len(sides) != len(shape):
        raise ValueError(
            f"patch_size={sides} must be one number, or one for each of the {len(shape)} axes "
            f"of the input without its channels, whose lengths are {shape}"
        )
    if any(p > n for p, n in zip(sides, shape, strict=True)):
        shown = sides[0] if len(set(sides)) == 1 else sides
        raise ValueError(
            f"patch_size={shown} is larger than the input, whose spatial shape is {shape}"
        )
    return sides


def with_channels(sample: Sample, where: Any) -> Any:
    """where [space], with a channel axis added so that it broadcasts against x."""
    return where if sample.channel_axis is None else jnp.expand_dims(where, sample.channel_axis)


def valid_positions(sample: Sample) -> Any:
    """Mask of the positions without padding, bool [space]."""
    axis = sample.channel_axis
    return sample.valid if axis is None else sample.valid.all(axis)


def bounding_box(valid: Any) -> list[tuple[Any, Any]]:
    """(start, stop) along each axis of the smallest box around the True entries of [space]."""
    found = []
    for axis, n in enumerate(valid.shape):
        there = valid.any(tuple(i for i in range(valid.ndim) if i != axis))
        found.append((there.argmax(), n - there[::-1].argmax()))
    return found


def patch_ids(sample: Sample, patch_size: Any) -> Any:
    """The patch index of every position of the input, [space].

    For a padded sample, the grid starts at the first corner of the bounding box of its valid
    positions.
    """
    shape, sides = spatial_shape(sample), sides_of(sample, patch_size)
    if sample.valid is None:
        return ops.patch_ids(shape, sides)
    ids = jnp.zeros(shape, jnp.int32)
    for axis, (first, _) in enumerate(bounding_box(valid_positions(sample))):
        n = shape[axis]
        at = jnp.maximum(jnp.arange(n) - first, 0) // sides[axis]
        ids = ids * -(-n // sides[axis]) + jnp.expand_dims(
            at, [i for i in range(len(shape)) if i != axis]
        )
    return ids


def n_patches(sample: Sample, patch_size: Any) -> int:
    """The number of patches of an input without padding."""
    sides = zip(spatial_shape(sample), sides_of(sample, patch_size), strict=True)
    return int(np.prod([-(-n // p) for n, p in sides]))


def changed_patches(sample: Sample, ids: Any, n: int, values: Any) -> Any:
    """Mask [n] of the patches that setting to `values` changes; ids outside 0..n-1 are none."""
    changed = changed_entries(sample, values)
    if sample.channel_axis is not None:
        changed = changed.any(sample.channel_axis)
    return ops.segment_sum(changed.astype(jnp.int32), ids, n) > 0


def valid_patches(sample: Sample, ids: Any, n: int) -> Any:
    """Mask [n] of the patches with at least one valid position."""
    return ops.segment_sum(valid_positions(sample).astype(jnp.int32), ids, n) > 0


@pytree
class RankedPatches(Ordered):
    """Step s sets the first s + 1 patches in the order of their summed attribution to the baseline.

    Patches with sides of `patch_size` tile the input from its first corner; the last ones along an
    axis are smaller if `patch_size` does not divide the axis. At most `n_regions` steps (None: all
    patches). `order`: "morf": most relevant first; "lerf": least relevant first; "random":
    independent of `a`, or given as `draws`, patch indices [P] or [N, P] in row-major order. A
    random baseline is drawn once per sample. A padded sample is tiled as if cropped to its valid
    positions.
    """

    takes_padding: ClassVar[bool] = True

    patch_size: Any = static(None)
    n_regions: int | None = static(100)
    baseline: Any = "black"

    def bind(self, model: Any, sample: Sample) -> RankedPatches:
        check_baseline(self.baseline, sample)
        if self.order != "random":
            check_positions(sample, "patches are ordered by the attribution of their positions")
        self = dataclasses.replace(self, patch_size=sides_of(sample, self.patch_size))
        return dataclasses.replace(self, n_regions=self.n_steps(sample))

    def n_ordered(self, sample: Sample) -> int:
        return n_patches(sample, self.patch_size)

    def n_draws(self, sample: Sample) -> int:
        patches = self.n_ordered(sample)
        return min(self.n_regions or patches, patches)

    def plan(self, sample: Sample, reference: Answer) -> Any:
        ids, n = patch_ids(sample, self.patch_size), self.n_ordered(sample)
        valid = None if sample.valid is None else valid_patches(sample, ids, n)
        if self.order == "random":
            place = self.random_places(sample, valid)
        else:
            a = sample.a
            if sample.channel_axis is not None and a.ndim == sample.x.ndim:
                a = a.sum(sample.channel_axis)
            sums = ops.segment_sum(a, ids, n)
            if valid is not None:
                sums = jnp.where(valid, sums, -jnp.inf if self.order == "morf" else jnp.inf)
            place = ops.places((ops.descending if self.order == "morf" else ops.ascending)(sums))
        at = with_channels(sample, place[ids])
        b = removed_baseline(sample, self.baseline, lambda: at)
        return {"place": place, "at": at, "baseline": b}

    def count(self, sample: Sample, plan: Any) -> Any:
        if sample.valid is None:
            return self.n_steps(sample)
        ids, n = patch_ids(sample, self.patch_size), self.n_ordered(sample)
        return jnp.minimum(valid_patches(sample, ids, n).sum(), self.n_steps(sample))

    def same(self, sample: Sample, plan: Any) -> Any:
        ids, n = patch_ids(sample, self.patch_size), self.n_ordered(sample)
        changed = changed_patches(sample, ids, n, plan["baseline"])
        return equal_removals(jnp.arange(self.n_steps(sample)) + 1, plan["place"], changed)

    def apply(self, sample: Sample, plan: Any, step: Any) -> Query:
        return Query(x=jnp.where(plan["at"] <= step, plan["baseline"], sample.x), y=sample.y)


@pytree
class EachPatch(Perturbation):
    """Step s sets only patch s to the baseline; patches as in `RankedPatches`."""

    takes_padding: ClassVar[bool] = True

    patch_size: Any = static(None)
    baseline: Any = "black"

    def sides(self, sample: Sample) -> tuple[int, ...]:
        """The sides of a patch along the axes of the input that are no channels."""
        return sides_of(sample, self.patch_size)

    def bind(self, model: Any, sample: Sample) -> EachPatch:
        check_baseline(self.baseline, sample)
        sides = self.sides(sample)
        return dataclasses.replace(self, patch_size=sides)

    def n_steps(self, sample: Sample) -> int:
        return n_patches(sample, self.sides(sample))

    def plan(self, sample: Sample, reference: Answer) -> Any:
        return plan_baseline(sample, self.baseline)

    def valid(self, sample: Sample) -> Any:
        """Mask of this sample's patches that are not only padding."""
        return valid_patches(sample, patch_ids(sample, self.sides(sample)), self.n_steps(sample))

    def count(self, sample: Sample, plan: Any) -> Any:
        return self.n_steps(sample) if sample.valid is None else self.valid(sample).sum()

    def same(self, sample: Sample, plan: Any) -> Any:
        if plan is None:
            return None
        ids, n = patch_ids(sample, self.sides(sample)), self.n_steps(sample)
        changed, steps = changed_patches(sample, ids, n, plan), jnp.arange(n)
        if sample.valid is not None:
            changed = changed[jnp.argsort(~self.valid(sample), stable=True)]
        return jnp.where(changed, steps, -1)

    def apply(self, sample: Sample, plan: Any, step: Any) -> Query:
        ids = patch_ids(sample, self.sides(sample))
        gone = jnp.asarray(ids) == step
        if sample.valid is not None:  # step s: the s-th valid patch
            valid = self.valid(sample)
            gone = (valid & (jnp.cumsum(valid) - 1 == step))[ids]
        replacement = step_baseline(sample, self.baseline, plan, step)
        return Query(x=jnp.where(with_channels(sample, gone), replacement, sample.x), y=sample.y)


@pytree
class RandomSquares(RandomPerturbation):
    """Each step sets one square with sides of `patch_size`, at a uniformly random position inside
    the input, to the baseline. `draws`: the first corners, int [S, space axes] or [N, S, ...].
    Squares that contain padding are never drawn; a sample with no other squares has no valid steps.
    """

    takes_padding: ClassVar[bool] = True

    patch_size: Any = static(None)
    n_samples: int = static(50)
    baseline: Any = "black"

    def sides(self, sample: Sample) -> tuple[int, ...]:
        """The sides of a patch along the axes of the input that are no channels."""
        return sides_of(sample, self.patch_size)

    def bind(self, model: Any, sample: Sample) -> RandomSquares:
        check_baseline(self.baseline, sample)
        sides = self.sides(sample)
        return dataclasses.replace(self, n_samples=self.n_steps(sample), patch_size=sides)

    def draw_shape(self, sample: Sample) -> tuple[int | None, ...]:
        return (len(spatial_shape(sample)),)

    def draw_range(self, sample: Sample) -> tuple[Any, Any]:
        return 0, np.subtract(spatial_shape(sample), self.sides(sample))

    def n_draws(self, sample: Sample) -> int:
        return self.n_samples

    def plan(self, sample: Sample, reference: Answer) -> Any:
        return plan_baseline(sample, self.baseline)

    def corners(self, sample: Sample) -> Any:
        """Mask of the first corners of squares that contain no padding."""
        valid, sides = valid_positions(sample), self.sides(sample)
        return jax.lax.reduce_window(
            valid, np.array(True), jax.lax.bitwise_and, sides, (1,) * len(sides), "VALID"
        )

    def count(self, sample: Sample, plan: Any) -> Any:
        n = self.n_steps(sample)
        return n if sample.valid is None else jnp.where(self.corners(sample).any(), n, 0)

    def apply(self, sample: Sample, plan: Any, step: Any) -> Query:
        shape, corner = spatial_shape(sample), sample.draw
        sides = self.sides(sample)
        if corner is None and sample.valid is not None:
            free = self.corners(sample)
            chosen = jax.random.randint(step_key(sample, step), (1,), 0, free.sum())
            at = jnp.searchsorted(jnp.cumsum(free), chosen[0], side="right")
            corner = jnp.unravel_index(at, free.shape)
        elif corner is None:
            room = jnp.asarray([n - p + 1 for n, p in zip(shape, sides, strict=True)])
            corner = jax.random.randint(step_key(sample, step), (len(shape),), 0, room)
        gone = jnp.ones(shape, bool)
        for axis, n in enumerate(shape):
            at = jnp.arange(n) - corner[axis]
            inside = (at >= 0) & (at < sides[axis])
            gone &= jnp.expand_dims(inside, [i for i in range(len(shape)) if i != axis])
        replacement = step_baseline(sample, self.baseline, plan, step)
        return Query(x=jnp.where(with_channels(sample, gone), replacement, sample.x), y=sample.y)
