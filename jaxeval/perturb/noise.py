"""Additive noise on the input."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax

from .. import check
from ..types import Query, Sample, pytree, static
from .base import RandomPerturbation, step_key

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
            noise = self.scale * jax.random.uniform(key, x.shape, x.dtype, minval=-1)
        else:
            noise = self.scale * jax.random.normal(key, x.shape, x.dtype)
        return Query(x=x - noise if self.subtract else x + noise, y=sample.y)
