"""Additive noise on the input or on some of its features."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import numpy as np

from .. import check
from ..ops import draw
from ..types import Answer, Query, Sample, pytree, static
from .base import RandomPerturbation, at_count, feature_counts, feature_places, step_key

KINDS = ("uniform", "gaussian")


@pytree
class Noise(RandomPerturbation):
    """Each step queries x + n (or x - n with `subtract`).

    n is uniform on [-scale, scale] or Gaussian with standard deviation `scale`. Metrics with equal
    noise share its queries; a metric recovers the noise as ``query.x - sample.x``. `draws`: the
    noise itself, [S, *x] or [N, S, *x].

    By default, each metric that explains noisy inputs uses the noise of its own paper. Given the
    same noise, they share its explanations, and together cost as much as one of them:

    >>> import jaxeval as je
    >>> noise = je.Noise(kind="uniform", scale=0.1, n_samples=50)
    >>> metrics = [je.MaxSensitivity(noise=noise), je.LocalLipschitz(noise=noise)]
    """

    takes_padding: ClassVar[bool] = True
    counted_by: ClassVar[str | None] = "n_samples"

    kind: str = static("uniform")
    scale: Any = 0.2
    n_samples: int = static(200)
    subtract: bool = static(False)

    def __post_init__(self) -> None:
        check.one_of(self, "kind", KINDS)
        check.real(self, "scale", above=0)
        check.integer(self, "n_samples")
        check.one_of(self, "subtract", (True, False))

    def bind(self, model: Any, sample: Sample) -> Noise:
        if self.draws is None:
            return self
        # Equal draws are one question: the unused fields must not tell them apart.
        return dataclasses.replace(self, kind="uniform", scale=1.0, n_samples=1)

    def draw_shape(self, sample: Sample) -> tuple[int | None, ...]:
        return tuple(sample.x.shape)

    def n_draws(self, sample: Sample) -> int:
        return self.n_samples

    def apply(self, sample: Sample, plan: Any, step: Any) -> Query:
        x, key = sample.x, step_key(sample, step)
        if sample.draw is not None:
            noise = sample.draw.astype(x.dtype)
        elif self.kind == "uniform":
            noise = self.scale * draw.uniform(key, x.shape, x.dtype)
        else:
            noise = self.scale * draw.normal(key, x.shape, x.dtype)
        return Query(x=x - noise if self.subtract else x + noise, y=sample.y)


@pytree
class RankedNoise(RandomPerturbation):
    """Each step adds Gaussian noise with standard deviation `scale` to the most relevant features.

    These are the fraction `share` of the features with the highest `a`, rounded up; with
    ``top=False`` the noise is added to all other features instead. `draws`: the noise on all
    features, [S, *x] or [N, S, *x].
    """

    reads: ClassVar[Any] = frozenset({"a"})
    takes_padding: ClassVar[bool] = True
    counted_by: ClassVar[str | None] = "n_samples"

    top: bool = static(True)
    share: Any = 0.25
    size: Any = None
    scale: Any = 0.1
    n_samples: int = static(50)

    def bind(self, model: Any, sample: Sample) -> RankedNoise:
        if self.size is not None:
            return self
        # The offset makes 0.2 of 10 give 2 in spite of binary rounding.
        size = np.ceil(float(self.share) * feature_counts(sample) - 1e-4)
        return dataclasses.replace(self, share=0.0, size=np.maximum(size, 1).astype(np.int32))

    def draw_shape(self, sample: Sample) -> tuple[int | None, ...]:
        return tuple(sample.x.shape)

    def n_draws(self, sample: Sample) -> int:
        return self.n_samples

    def plan(self, sample: Sample, reference: Answer) -> Any:
        place = feature_places(sample, "morf").reshape(sample.features)
        size = at_count(sample, self.size)
        return place < size if self.top else place >= size

    def apply(self, sample: Sample, plan: Any, step: Any) -> Query:
        x, noise = sample.x, sample.draw
        if noise is None:
            noise = self.scale * draw.normal(step_key(sample, step), x.shape, x.dtype)
        return Query(x=sample.replace_features(plan, x + noise.astype(x.dtype)), y=sample.y)
