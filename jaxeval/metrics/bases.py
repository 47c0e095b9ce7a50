"""Abstract base classes: settings, questions and measurements shared by several metrics.

A subclass adds its family, direction and reference, and computes the score from the measurements.
"""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Float

from .. import check, ops
from ..metric import Metric, limit_of, refusal
from ..perturb import (
    Noise,
    RandomiseLayers,
    RankedDeletion,
    RankedGroups,
    RankedNoise,
    SingleFeature,
)
from ..perturb.base import feature_places
from ..perturb.layers import LAYER_ORDERS, RANDOMISATIONS
from ..tolerance import Tolerance, read
from ..types import Answer, Outcome, Query, Sample, pytree, static


def exact(score: Any, curve: Any = None) -> Outcome:
    """The outcome of a score without any error of estimation."""
    score = jnp.asarray(score)
    return Outcome(score=score, curve=curve, error=jnp.zeros_like(score))


def of_draws(
    score: Any, influence: Float[Array, " ..."], where: Any = None, curve: Any = None
) -> Outcome:
    """The outcome of a score from random draws, given the influence of each on it."""
    error, effective, heavy = ops.half_width(influence, where)
    return Outcome(score=score, curve=curve, error=error, effective=effective, heavy_tails=heavy)


@pytree
class Limited(Metric):
    """Has a `tolerance`: a number (absolute, for each sample), or a `jaxeval.Tolerance`.

    `positive`: scores are never negative, so that a relative tolerance means something.
    """

    positive: ClassVar[bool] = False

    tolerance: float | Tolerance | None = static(None)

    def __post_init__(self) -> None:
        super().__post_init__()
        limit = read(self.tolerance)
        if limit is not None and (why := refusal(self, limit)) is not None:
            raise ValueError(f"{type(self).__name__}(tolerance=...): {why}")

    @property
    def draws_given(self) -> bool:
        """Whether the caller gave the draws."""
        given = (self, getattr(self, "noise", None))
        return any(getattr(v, "draws", None) is not None for v in given)


@pytree
class Area(Limited):
    """A score that is linear in the measurements of ordered steps, one number each.

    With a `tolerance`, fewer steps are asked than there are, chosen for each sample, or at random
    for the mean over the samples; an estimate, see docs/statistics.md.
    """

    steps_are: ClassVar[Any] = "curve"


@pytree
class Drawn(Limited):
    """A score from random draws; with a `tolerance`, from as many as it takes, not its own number.

    `first_draws`: how many are asked before the first decision.
    """

    steps_are: ClassVar[Any] = "draws"
    first_draws: ClassVar[int] = 32

    def at_most(self, n: int) -> int:
        """The number of draws: n, or the budget of the tolerance."""
        limit = limit_of(self)
        return n if limit is None or limit.budget is None else limit.budget

    def among(self, sample: Sample, valid: Any) -> Any:
        """Mask [S] of the draws that were asked, or None for all."""
        return sample.step_mask(valid) if limit_of(self) is None else valid

    def outcome(self, score: Any, influence: Float[Array, " ..."], where: Any = None) -> Outcome:
        """As `of_draws`; to a tolerance, 30 effective draws are wanted."""
        limit = limit_of(self)
        if limit is None:
            return of_draws(score, influence, where)
        error, effective, heavy = ops.half_width(influence, where, limit.confidence, ops.ENOUGH)
        return Outcome(score=score, error=error, effective=effective, heavy_tails=heavy)


@pytree
class Largest(Drawn):
    """The largest of the values of random draws, or a `quantile` of them; NaN are ignored.

    A quantile has a limit as the draws become many, and an interval that holds for any
    distribution; see `jaxeval.ops.quantile_interval`.
    """

    positive: ClassVar[bool] = True

    quantile: Any = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.quantile is not None:
            check.real(self, "quantile", above=0, most=1)

    @property
    def steps_are(self) -> str:
        return "max" if self.quantile is None else "draws"

    def of_values(self, largest: Any, sample: Sample, values: Any, valid: Any) -> Outcome:
        """The outcome, given the function that takes the maximum."""
        if self.quantile is None:
            return Outcome(score=largest(values))
        where, limit = ~jnp.isnan(values), limit_of(self)
        if (asked := self.among(sample, valid)) is not None:
            where &= asked
        confidence = 0.95 if limit is None else limit.confidence
        score, error, n = ops.quantile_interval(values, self.quantile, where, confidence)
        return Outcome(score=score, error=error, effective=n, heavy_tails=jnp.zeros((), bool))


@pytree
class Ranked(Metric):
    """Evaluates the model while features are removed, or restored, in the order of attribution.

    `n_steps` or `features_in_step` sets the step size; `baseline` gives the values of removed
    features, see `jaxeval.ops.baseline`.
    """

    n_steps: int | None = static(32)
    features_in_step: int | None = static(None)
    baseline: Any = "black"

    def __post_init__(self) -> None:
        super().__post_init__()
        check.integer(self, "n_steps", optional=True)
        check.integer(self, "features_in_step", optional=True)
        check.baseline(self, "baseline", ops.BASELINES)

    def ranked(self, **how: Any) -> RankedDeletion:
        """The perturbation with these steps and this baseline."""
        return RankedDeletion(
            steps=self.n_steps,
            features_in_step=self.features_in_step,
            baseline=self.baseline,
            **how,
        )

    def of_curve(self, sample: Sample, score: Any, curve: Any, points: Any, valid: Any) -> Outcome:
        """The outcome of an area; `points` are the curve with the first and the last state."""
        steps = len(valid) if sample.valid is None else valid.sum()
        error = ops.curve_error(points, score, steps >= sample.n_valid)
        return Outcome(score=score, curve=curve, error=error)


@pytree
class Grouped(Metric):
    """Evaluates the model with one group of features replaced at a time, in rank order.

    `features_in_step` features are a group; single features are asked about in their own order,
    which all explainers share.
    """

    features_in_step: int = static(1)
    baseline: Any = "black"

    def __post_init__(self) -> None:
        super().__post_init__()
        check.integer(self, "features_in_step")
        check.baseline(self, "baseline", ops.BASELINES)

    def groups(
        self, order: str, n_samples: int = 1, draws: Any = None
    ) -> RankedGroups | SingleFeature:
        """The perturbation; `draws` are given group by group, in rank order."""
        if self.features_in_step == 1 and draws is None:
            return SingleFeature(n_samples=n_samples, baseline=self.baseline)
        return RankedGroups(
            order=order,
            features_in_step=self.features_in_step,
            n_samples=n_samples,
            baseline=self.baseline,
            draws=draws,
        )

    def measure(self, sample: Sample, reference: Answer, query: Query, answer: Answer) -> Any:
        return self.drop(reference, answer, sample.y)

    def by_group(
        self, sample: Sample, measured: Any, order: str, n_samples: int = 1
    ) -> tuple[Float[Array, " S"], Float[Array, "S n"]]:
        """(attribution of each group, the drops under its replacements), in rank order."""
        place, drops = feature_places(sample, order), measured.reshape(-1, n_samples)
        sums = ops.segment_sum(sample.a, place // self.features_in_step, len(drops))
        if isinstance(self.questions(), SingleFeature):
            features = ops.places(place)
            at = features if sample.valid is None else (jnp.cumsum(sample.where) - 1)[features]
            drops = drops[at]
        return sums, drops


def rank_correlation(sample: Sample, answer: Answer) -> Any:
    """Spearman's rho of the clean map and that of the answer, from their ranks if known."""
    if sample.ranks is None:
        return ops.spearman(sample.a, answer.attribution, sample.where)
    return ops.pearson(sample.ranks, answer.ranks, sample.where)


@pytree
class PredictionGap(Drawn):
    """The change of the output under noise on the top features, or on all others."""

    positive: ClassVar[bool] = True
    top: ClassVar[bool]

    absolute: bool = static(True)
    top_fraction: Any = 0.25
    std: Any = 0.1
    n_samples: int = static(50)
    draws: Any = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check.real(self, "top_fraction", above=0, most=1)
        check.real(self, "std", above=0)
        check.integer(self, "n_samples")

    def questions(self) -> RankedNoise:
        return RankedNoise(
            top=self.top,
            share=self.top_fraction,
            scale=self.std,
            n_samples=self.at_most(self.n_samples),
            draws=self.draws,
        )

    def measure(self, sample: Sample, reference: Answer, query: Query, answer: Answer) -> Any:
        return self.drop(reference, answer, sample.y)


@pytree
class NoisyInputMetric(Drawn):
    """Explains inputs with uniform noise of a given `radius`, or with a shared `noise`."""

    positive: ClassVar[bool] = True

    radius: Any = 0.2
    n_samples: int = static(200)
    draws: Any = None
    noise: Noise | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check.real(self, "radius", above=0)
        check.integer(self, "n_samples")
        check.instance(self, "noise", Noise)

    def questions(self) -> Noise:
        noise = self.noise or Noise(scale=self.radius, n_samples=self.n_samples, draws=self.draws)
        return dataclasses.replace(noise, n_samples=self.at_most(noise.n_samples))


@pytree
class Sensitivity(NoisyInputMetric):
    """Measures ||a - a'|| / ||a||; NaN for a map of zeros. Maps are not normalised by default."""

    normalise: str | None = static(None)
    norm_numerator: Any = static("l2")
    norm_denominator: Any = static("l2")
    similarity: Any = static("difference")

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("norm_numerator", "norm_denominator"):
            if not callable(getattr(self, name)):
                check.one_of(self, name, ops.NORMS)
        if not callable(self.similarity):
            check.one_of(self, "similarity", ("difference",))

    def measure(self, sample: Sample, reference: Answer, query: Query, answer: Answer) -> Any:
        size = ops.norm_of(sample.a, self.norm_denominator)
        between: Any = self.similarity if callable(self.similarity) else jnp.subtract
        change = ops.norm_of(between(sample.a, answer.attribution), self.norm_numerator)
        return jnp.where(size > 0, change / jnp.where(size > 0, size, 1), jnp.nan)


@pytree
class RelativeStability(Largest, NoisyInputMetric):
    """Measures ||(a - a') / a|| / `distance`; NaN where the predicted class changes."""

    radius: Any = 0.05
    eps: Any = 1e-6

    def __post_init__(self) -> None:
        super().__post_init__()
        check.real(self, "eps", above=0)

    def distance(self, sample: Sample, reference: Answer, query: Query, answer: Answer) -> Any:
        """The distance [] between the clean and the noisy sample."""
        raise NotImplementedError(f"{type(self).__name__}.distance")

    def measure(self, sample: Sample, reference: Answer, query: Query, answer: Answer) -> Any:
        distance = self.distance(sample, reference, query, answer)
        change = ops.relative_change(sample.a, answer.attribution, self.eps)
        same = answer.predicted == reference.predicted
        return jnp.where(same, change / jnp.maximum(distance, self.eps), jnp.nan)


@pytree
class LayerRandomisation(Metric):
    """Compares maps with those of models with randomised layers; the curve is over layers."""

    absolute: bool = static(True)
    order: str = static("top_down")
    randomise: str = static("normal")
    n_seeds: int = static(1)
    similarity: Any = static("spearman")
    score: str = static("mean")
    layers: tuple[str, ...] | None = static(None)
    draws: Any = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check.one_of(self, "order", LAYER_ORDERS)
        check.one_of(self, "randomise", RANDOMISATIONS)
        check.integer(self, "n_seeds")
        if not callable(self.similarity):
            check.one_of(self, "similarity", ops.SIMILARITIES)
        check.one_of(self, "score", ("mean", "last"))

    def summary(self, similarities: Float[Array, "seeds L"]) -> Any:
        """The score [] from the similarities of all seeds and steps."""
        raise NotImplementedError(f"{type(self).__name__}.summary")

    def params(self) -> Any:
        """The user-provided random parameters, or None."""
        return self.draws

    def questions(self) -> RandomiseLayers:
        return RandomiseLayers(
            order=self.order,
            randomise=self.randomise,
            n_seeds=self.n_seeds,
            names=self.layers if self.layers is None else tuple(self.layers),
            draws=self.params(),
        )

    def points(self, asked: Any) -> tuple[str, ...]:
        return asked[0].stages

    @property
    def of_ranks(self) -> bool:
        return self.similarity == "spearman" and type(self).measure is LayerRandomisation.measure

    def measure(self, sample: Sample, reference: Answer, query: Query, answer: Answer) -> Any:
        if self.of_ranks:
            return rank_correlation(sample, answer)
        maps, axis = (sample.a, answer.attribution), sample.map_channel_axis
        return ops.similarity(*maps, self.similarity, channel_axis=axis, where=sample.where)

    def reduce(self, sample: Sample, reference: Answer, measured: Any, valid: Any) -> Outcome:
        by_seed = measured.reshape(self.n_seeds, -1)
        std = by_seed.std(0) if self.n_seeds > 1 else None
        return Outcome(score=self.summary(by_seed), curve=by_seed.mean(0), curve_std=std)
