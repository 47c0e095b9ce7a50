"""Removal of pixels in the order of their attribution, by noisy linear imputation."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np

from .. import ops
from ..ops import draw
from ..types import Answer, Query, Sample, pytree, static
from .base import RandomPerturbation, check_positions, step_key
from .region import spatial_shape, with_channels


@pytree
class RankedImputation(RandomPerturbation):
    """Step s imputes the first k_s pixels in the order of `a` from the others and adds noise.

    k_s = floor(P p_s / 100) of P pixels, for `percentages` p [S]. A map with channels is summed
    over them. `order`: "morf": most relevant first; "lerf": least relevant first. The noise on
    each imputed entry is Gaussian with standard deviation `scale`. `tolerance` is the solver's, see
    `jaxeval.ops.impute`.
    `draws`: the noise, [S, *x] or [N, S, *x].
    """

    reads: ClassVar[Any] = frozenset({"a"})

    order: str = static("morf")
    percentages: Any = None
    sizes: Any = None
    scale: Any = 0.01
    tolerance: Any = ops.IMPUTE_TOLERANCE

    def bind(self, model: Any, sample: Sample) -> RankedImputation:
        shape = spatial_shape(sample)
        check_positions(sample, "pixels are imputed from their neighbours")
        if len(shape) > 2:
            raise ValueError(
                "imputation needs an image or a series, one or two axes besides the channels; got "
                f"inputs with {len(shape)}"
            )
        if self.sizes is not None:
            return self
        n = int(np.prod(shape))
        # Rounded first, so that 29% of 100 pixels is 29 in spite of binary rounding.
        share = np.asarray(self.percentages, np.float64) / 100
        sizes = np.floor(np.round(n * share, 4)).astype(np.int32)
        if sizes.max() >= n:
            raise ValueError(f"percentages leave none of the {n} pixels to impute the others from")
        bound = dataclasses.replace(self, percentages=None, sizes=sizes)
        if self.draws is not None and self.n_steps(sample) != len(sizes):
            raise ValueError(
                f"draws give {self.n_steps(sample)} steps for {len(sizes)} percentages"
            )
        return bound

    def draw_shape(self, sample: Sample) -> tuple[int | None, ...]:
        return tuple(sample.x.shape)

    def n_draws(self, sample: Sample) -> int:
        return len(self.sizes)

    def plan(self, sample: Sample, reference: Answer) -> Any:
        a = sample.a
        if sample.channel_axis is not None and a.ndim == sample.x.ndim:
            a = a.sum(sample.channel_axis)
        place = ops.places((ops.descending if self.order == "morf" else ops.ascending)(a))
        return place.reshape(spatial_shape(sample))

    def apply(self, sample: Sample, plan: Any, step: Any) -> Query:
        x, noise = sample.x, sample.draw
        gone = plan < jnp.asarray(self.sizes)[step]
        if noise is None:
            noise = self.scale * draw.normal(step_key(sample, step), x.shape, x.dtype)
        imputed = ops.impute(x, gone, sample.channel_axis, self.tolerance) + noise
        return Query(
            x=jnp.where(with_channels(sample, gone), imputed, x).astype(x.dtype), y=sample.y
        )
