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
    one_baseline,
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


def valid_places(sample: Sample) -> Any:
    """Which places of the input hold no padding, bool [space]."""
    axis = sample.channel_axis
    return sample.valid if axis is None else sample.valid.all(axis)


def whole_patches(sample: Sample, ids: np.ndarray) -> Any:
    """Which patches hold no padding, bool [patches]; ids as of `ops.patch_ids`."""
    padding = (~valid_places(sample)).astype(jnp.int32)
    return ops.segment_sum(padding, ids, int(ids.max()) + 1) == 0


@pytree
class RankedPatches(Perturbation):
    """Step s sets the s + 1 first patches in the order of their summed attribution to the baseline.

    Patches of `patch_size` on a side tile the input from its first corner; what is left over at
    the end of an axis belongs to no patch. At most `n_regions` steps (None: all patches).
    A random baseline is drawn once per sample. Patches with padding in them are left alone.
    """

    reads: ClassVar[Any] = frozenset({"a"})
    takes_padding: ClassVar[bool] = True

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
        if sample.valid is not None:
            last = -jnp.inf if self.order == "morf" else jnp.inf
            sums = jnp.where(whole_patches(sample, ids), sums, last)
        order = (ops.descending if self.order == "morf" else ops.ascending)(sums)
        b = one_baseline(sample, self.baseline, jax.random.fold_in(sample.key, 2))
        return {"place": ops.places(order), "baseline": b}

    def count(self, sample: Sample, plan: Any) -> Any:
        if sample.valid is None:
            return self.n_steps(sample)
        return jnp.minimum(whole_patches(sample, self.ids(sample)).sum(), self.n_steps(sample))

    def apply(self, sample: Sample, plan: Any, step: Any) -> Query:
        ids = self.ids(sample)
        gone = (plan["place"] <= step)[ids] & (ids >= 0)
        x = jnp.where(over_space(sample, gone), plan["baseline"], sample.x)
        return Query(x=x, y=sample.y)


@pytree
class EachPatch(Perturbation):
    """Step s sets patch s alone to the baseline; patches as in `RankedPatches`."""

    takes_padding: ClassVar[bool] = True

    patch_size: int = static(8)
    baseline: Any = "black"

    def bind(self, model: Any, sample: Sample) -> EachPatch:
        check_baseline(self.baseline, sample)
        check_patch(sample, self.patch_size)
        return self

    def n_steps(self, sample: Sample) -> int:
        return int(self.ids(sample).max()) + 1

    def ids(self, sample: Sample) -> np.ndarray:
        """The patch of every place of the input, [space]; -1 for none."""
        return ops.patch_ids(spatial_shape(sample), self.patch_size)

    def plan(self, sample: Sample, reference: Answer) -> Any:
        return plan_baseline(sample, self.baseline)

    def count(self, sample: Sample, plan: Any) -> Any:
        if sample.valid is None:
            return self.n_steps(sample)
        return whole_patches(sample, self.ids(sample)).sum()

    def apply(self, sample: Sample, plan: Any, step: Any) -> Query:
        ids = self.ids(sample)
        gone = jnp.asarray(ids) == step
        if sample.valid is not None:  # the patches are those that are whole, one after the other
            whole = whole_patches(sample, ids)
            gone = (whole & (jnp.cumsum(whole) - 1 == step))[ids] & (ids >= 0)
        there = step_baseline(sample, self.baseline, plan, step)
        return Query(x=jnp.where(over_space(sample, gone), there, sample.x), y=sample.y)


@pytree
class RandomSquares(RandomPerturbation):
    """Each step sets one square of `patch_size` on a side, at a uniformly random place within
    the input, to the baseline. `draws`: the first corners, int [S, space axes] or [N, S, ...].
    Squares with padding in them are not drawn; a sample where all have some has no steps.
    """

    takes_padding: ClassVar[bool] = True

    patch_size: int = static(8)
    n_samples: int = static(50)
    baseline: Any = "black"

    def bind(self, model: Any, sample: Sample) -> RandomSquares:
        check_baseline(self.baseline, sample)
        check_patch(sample, self.patch_size)
        return dataclasses.replace(self, n_samples=self.n_steps(sample))

    def draw_shape(self, sample: Sample) -> tuple[int | None, ...]:
        return (len(spatial_shape(sample)),)

    def draw_range(self, sample: Sample) -> tuple[Any, Any]:
        return 0, np.asarray(spatial_shape(sample)) - self.patch_size

    def n_draws(self, sample: Sample) -> int:
        return self.n_samples

    def plan(self, sample: Sample, reference: Answer) -> Any:
        return plan_baseline(sample, self.baseline)

    def corners(self, sample: Sample) -> Any:
        """At which first corners a square holds no padding."""
        valid, sides = valid_places(sample), (self.patch_size,) * len(spatial_shape(sample))
        return jax.lax.reduce_window(
            valid, np.array(True), jax.lax.bitwise_and, sides, (1,) * len(sides), "VALID"
        )

    def count(self, sample: Sample, plan: Any) -> Any:
        n = self.n_steps(sample)
        return n if sample.valid is None else jnp.where(self.corners(sample).any(), n, 0)

    def apply(self, sample: Sample, plan: Any, step: Any) -> Query:
        shape, corner = spatial_shape(sample), sample.draw
        if corner is None and sample.valid is not None:
            free = self.corners(sample)
            chosen = jax.random.randint(step_key(sample, step), (1,), 0, free.sum())
            at = jnp.searchsorted(jnp.cumsum(free), chosen[0], side="right")
            corner = jnp.unravel_index(at, free.shape)
        elif corner is None:
            room = jnp.asarray([n - self.patch_size + 1 for n in shape])
            corner = jax.random.randint(step_key(sample, step), (len(shape),), 0, room)
        gone = jnp.ones(shape, bool)
        for axis, n in enumerate(shape):
            at = jnp.arange(n) - corner[axis]
            inside = (at >= 0) & (at < self.patch_size)
            gone &= jnp.expand_dims(inside, [i for i in range(len(shape)) if i != axis])
        there = step_baseline(sample, self.baseline, plan, step)
        return Query(x=jnp.where(over_space(sample, gone), there, sample.x), y=sample.y)
