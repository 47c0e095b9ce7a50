"""Abstract base classes: settings, questions and measurements shared by several metrics.

A subclass adds its family, direction and reference, and computes the score from the measurements.
"""

from __future__ import annotations

from typing import Any, ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Float

from .. import check, ops
from ..metric import Metric
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
from ..types import Answer, Outcome, Query, Sample, pytree, static


def of_draws(
    score: Any, influence: Float[Array, " ..."], where: Any = None, curve: Any = None
) -> Outcome:
    """The outcome of a score from random draws, given the influence of each on it."""
    error, effective, heavy = ops.half_width(influence, where)
    return Outcome(score=score, curve=curve, error=error, effective=effective, heavy_tails=heavy)


def exact(score: Any, curve: Any = None) -> Outcome:
    """The outcome of a score without any error of estimation."""
    score = jnp.asarray(score)
    return Outcome(score=score, curve=curve, error=jnp.zeros_like(score))


@pytree
class Area(Metric):
    """An area under a curve, linear in the measurements of ordered steps, one number each.

    `tolerance`: how far the score may be from that with all its steps, in its unit. Fewer steps are
    then asked, chosen for each sample; an estimate, see docs/statistics.md. None: all are asked.
    """

    areas: ClassVar[bool] = True

    tolerance: float | None = static(None)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.tolerance is not None:
            check.real(self, "tolerance", above=0)


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


@pytree
class InformationCurve(Ranked):
    """The area under an output as a function of the information shown, from blurred to sharp."""

    of_signals: ClassVar[bool] = True

    baseline: Any = "blur"

    def questions(self) -> RankedDeletion:
        return self.ranked(insert=True)

    def shown(self, sample: Sample, reference: Answer, answer: Answer) -> Any:
        """The output [] for a partly shown image."""
        raise NotImplementedError(f"{type(self).__name__}.shown")

    def area(
        self, outputs: Float[Array, " S+1"], sizes: Float[Array, " S+1"]
    ) -> tuple[Float[Array, ""], Float[Array, " S+1"]]:
        """(area, curve) of the outputs over the information, given compressed sizes."""
        raise NotImplementedError(f"{type(self).__name__}.area")

    def measure(self, sample: Sample, reference: Answer, query: Query, answer: Answer) -> Any:
        bits = ops.code_length(query.x, sample.x.min(), sample.x.max(), sample.channel_axis)
        return jnp.stack([self.shown(sample, reference, answer).astype(bits.dtype), bits])

    def reduce(self, sample: Sample, reference: Answer, measured: Any, valid: Any) -> Outcome:
        query = Query(x=sample.x, y=sample.y)
        whole = self.measure(sample, reference, query, reference)
        outputs, sizes = jnp.concatenate([measured, whole[None]]).T
        score, curve = self.area(outputs, sizes)
        return Outcome(score=score, curve=curve)


@pytree
class PredictionGap(Metric):
    """The change of the output under noise on the top features, or on all others."""

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
            n_samples=self.n_samples,
            draws=self.draws,
        )

    def measure(self, sample: Sample, reference: Answer, query: Query, answer: Answer) -> Any:
        return self.drop(reference, answer, sample.y)


@pytree
class NoisyInputMetric(Metric):
    """Explains inputs with uniform noise of a given `radius`, or with a shared `noise`."""

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
        own = Noise(scale=self.radius, n_samples=self.n_samples, draws=self.draws)
        return self.noise or own


@pytree
class Sensitivity(NoisyInputMetric):
    """Measures ||a - a'|| / ||a||; NaN for a map of zeros. Maps are not normalised by default.

    Args:
      norm_numerator, norm_denominator: "l2" (Frobenius), "l1", "linf", or a JAX function of an
        array; of the change, and of the map.
      similarity: "difference", a - a', or a JAX function ``(a, a') -> array``.
    """

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
        between = self.similarity if callable(self.similarity) else jnp.subtract
        change = ops.norm_of(between(sample.a, answer.attribution), self.norm_numerator)
        return jnp.where(size > 0, change / jnp.where(size > 0, size, 1), jnp.nan)


@pytree
class RelativeStability(NoisyInputMetric):
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

    def measure(self, sample: Sample, reference: Answer, query: Query, answer: Answer) -> Any:
        maps, axis = (sample.a, answer.attribution), sample.map_channel_axis
        return ops.similarity(*maps, self.similarity, channel_axis=axis, where=sample.where)

    def reduce(self, sample: Sample, reference: Answer, measured: Any, valid: Any) -> Outcome:
        by_seed = measured.reshape(self.n_seeds, -1)
        std = by_seed.std(0) if self.n_seeds > 1 else None
        return Outcome(score=self.summary(by_seed), curve=by_seed.mean(0), curve_std=std)
