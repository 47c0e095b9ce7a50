"""Additive noise on the input, or on some of its features."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import numpy as np

from .. import check
from ..ops import draw
from ..types import Answer, Query, Sample, pytree, static
from .base import RandomPerturbation, counts, of_count, places, step_key

KINDS = ("uniform", "gaussian")


@pytree
class Noise(RandomPerturbation):
    """Step s asks about x + n, n uniform in [-scale, scale] or Gaussian with std `scale`.

    With `subtract`, about x - n. Equal noise is asked once, whatever metrics want it, so a
    metric reads the noise off as ``query.x - sample.x``. `draws`: the noise itself,
    [S, *x] or [N, S, *x].

    Metrics that explain noisy inputs have defaults of their own papers, and so different noise.
    Given one, they share its explanations, and cost together what one of them costs:

    >>> import jaxeval as je
    >>> noise = je.Noise(kind="uniform", scale=0.1, n_samples=50)
    >>> metrics = [je.MaxSensitivity(noise=noise), je.LocalLipschitz(noise=noise)]
    """

    takes_padding: ClassVar[bool] = True

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
        # They say it all: equal draws are one question, whatever they stand in for.
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
    """Step s asks about x + n on its most relevant features only, n Gaussian with std `scale`.

    They are the `share` of the features that rank highest in `a`, rounded up; with top=False the
    noise is on all others. `draws`: n on all features, [S, *x] or [N, S, *x].
    """

    reads: ClassVar[Any] = frozenset({"a"})
    takes_padding: ClassVar[bool] = True

    top: bool = static(True)
    share: Any = 0.25
    size: Any = None
    scale: Any = 0.1
    n_samples: int = static(50)

    def bind(self, model: Any, sample: Sample) -> RankedNoise:
        if self.size is not None:
            return self
        # 0.2 of 10 is 2, whatever its rounding in binary.
        size = np.ceil(float(self.share) * counts(sample) - 1e-4)
        return dataclasses.replace(self, share=0.0, size=np.maximum(size, 1).astype(np.int32))

    def draw_shape(self, sample: Sample) -> tuple[int | None, ...]:
        return tuple(sample.x.shape)

    def n_draws(self, sample: Sample) -> int:
        return self.n_samples

    def plan(self, sample: Sample, reference: Answer) -> Any:
        place, size = places(sample, "morf"), of_count(sample, self.size)
        return place < size if self.top else place >= size

    def apply(self, sample: Sample, plan: Any, step: Any) -> Query:
        x, noise = sample.x, sample.draw
        if noise is None:
            noise = self.scale * draw.normal(step_key(sample, step), x.shape, x.dtype)
        return Query(x=sample.replace_features(plan, x + noise.astype(x.dtype)), y=sample.y)
