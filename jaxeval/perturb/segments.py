"""Cumulative removal of superpixels in the order of their attribution."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np

from .. import ops
from ..types import Answer, Query, Sample, pytree, static
from .base import (
    HostExtra,
    Perturbation,
    check_baseline,
    check_positions,
    equal_removals,
    removed_baseline,
)
from .region import changed_patches, spatial_shape, with_channels


@dataclasses.dataclass(frozen=True)
class Slic:
    """SLIC superpixels of one input by scikit-image: (x [...], channel_axis) -> ids [space].

    x is rescaled to [0, 1]; inputs with three channels are converted to Lab colour space. SLIC may
    return more or fewer superpixels than `n_segments`; if it returns more than twice as many
    (noise at a low compactness), the last ones are merged.
    """

    in_threads: ClassVar[bool] = True

    n_segments: int
    compactness: float

    def __call__(self, x: np.ndarray, channel_axis: int | None) -> np.ndarray:
        try:
            from skimage.segmentation import slic
        except ImportError as e:
            raise ImportError(
                'superpixels need scikit-image: pip install "jaxeval[image]", or give your own as '
                'extras={"segments": ids}, integers [N, *space]'
            ) from e
        x = np.asarray(x, np.float64)
        x = (x - x.min()) / (np.ptp(x) or 1)
        x = x[..., None] if channel_axis is None else np.moveaxis(x, channel_axis, -1)
        series = x.ndim == 2
        ids = slic(
            x[None] if series else x,
            n_segments=self.n_segments,
            compactness=self.compactness,
            convert2lab=x.shape[-1] == 3,
            start_label=0,
            channel_axis=-1,
        )
        ids = np.unique(ids[0] if series else ids, return_inverse=True)[1].reshape(x.shape[:-1])
        return np.minimum(ids, 2 * self.n_segments - 1).astype(np.int32)


@pytree
class RankedSegments(Perturbation):
    """Step s sets the first s + 1 superpixels in the order of their mean attribution to the
    baseline.

    The superpixels are the extra "segments", ids [space] from 0 to 2 `n_segments` - 1, computed on
    the host by SLIC unless the caller provides them. Ids outside this range belong to no
    superpixel. There are 2 `n_segments` steps; the valid ones of a sample are as many as its
    superpixels. A random baseline is drawn once per sample.
    """

    reads: ClassVar[Any] = frozenset({"a", "segments"})

    n_segments: int = static(100)
    compactness: Any = 10.0
    baseline: Any = "channel_mean"

    def host_extras(self) -> dict[str, HostExtra]:
        return {"segments": Slic(self.n_segments, float(self.compactness))}

    def bind(self, model: Any, sample: Sample) -> RankedSegments:
        check_baseline(self.baseline, sample)
        check_positions(sample, "superpixels are ordered by the attribution of their positions")
        if len(spatial_shape(sample)) > 2:
            raise ValueError(
                "superpixels need an image or a series, one or two axes besides the channels; got "
                f"inputs with {len(spatial_shape(sample))}"
            )
        return self

    def n_steps(self, sample: Sample) -> int:
        return 2 * self.n_segments

    def plan(self, sample: Sample, reference: Answer) -> Any:
        a, ids, n = sample.a, self.ids(sample), self.n_steps(sample)
        if sample.channel_axis is not None and a.ndim == sample.x.ndim:
            a = a.sum(sample.channel_axis)
        sizes = ops.segment_sum(jnp.ones(ids.shape, jnp.int32), ids, n)
        means = ops.segment_sum(a, ids, n) / jnp.maximum(sizes, 1)
        place = ops.places(ops.descending(jnp.where(sizes > 0, means, -jnp.inf)))
        at = with_channels(sample, place[jnp.clip(ids, 0, n - 1)])
        inside = with_channels(sample, (ids >= 0) & (ids < n))
        b = removed_baseline(sample, self.baseline, lambda: at)
        at = jnp.where(inside, at, n)  # never removed
        return {"place": place, "at": at, "count": (sizes > 0).sum(), "baseline": b}

    def ids(self, sample: Sample) -> Any:
        """The superpixel id of every position of the input, [space]."""
        return jnp.asarray((sample.extras or {})["segments"]).reshape(spatial_shape(sample))

    def count(self, sample: Sample, plan: Any) -> Any:
        return plan["count"]

    def same(self, sample: Sample, plan: Any) -> Any:
        n = self.n_steps(sample)
        changed = changed_patches(sample, self.ids(sample), n, plan["baseline"])
        return equal_removals(jnp.arange(n) + 1, plan["place"], changed)

    def apply(self, sample: Sample, plan: Any, step: Any) -> Query:
        return Query(x=jnp.where(plan["at"] <= step, plan["baseline"], sample.x), y=sample.y)
