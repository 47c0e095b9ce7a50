"""Smooth MPRT: the parameter randomisation test, on explanations freed of noise."""

from __future__ import annotations

from typing import Any

from jaxtyping import Array, Float

from ... import check, ops
from ...explain.smoothed import Smoothed, check_noise
from ...metric import Metric
from ...perturb.layers import ORDERS, WAYS, RandomiseLayers
from ...types import Answer, Outcome, Query, Sample, pytree, static

SCORES = ("mean", "last")


def smooth_mprt(similarities: Float[Array, "seeds L"], score: str = "mean") -> Float[Array, ""]:
    """As `mprt`, of similarities of smoothed maps.

    >>> import jax.numpy as jnp
    >>> float(smooth_mprt(jnp.array([[1.0, 0.5], [0.0, 0.5]]), "mean"))
    0.5
    """
    return similarities.mean() if score == "mean" else similarities[:, -1].mean()


@pytree
class SmoothMPRT(Metric):
    r"""MPRT of the mean map over noisy inputs, so that gradient shattering is not held against it.

    .. math:: \frac{1}{L} \sum_{l=1}^{L} \operatorname{sim}\big(
              \bar\phi(x; \theta), \bar\phi(x; \theta^{(l)})\big), \quad
              \bar\phi(x; \theta) = \frac{1}{S} \sum_{s=1}^{S} \phi(x + \sigma \epsilon_s; \theta)

    The clean map is smoothed like the others (one given as an array is not used), with the same
    noise. Lower is better. NaN where a similarity is (a constant map).

    Args:
      n_samples: S, noisy inputs a map, so it takes S explanations a layer, seed and sample.
      noise_level: sigma as a share of the sample's range max x - min x.
      draws: a dict with "params", random parameters, a pytree as the model's with a leading axis
        [n_seeds], or "noise", epsilon [S, *x] for all samples (S is then its length), or both.

    `order`, `randomise`, `n_seeds`, `similarity`, `score`, `layers`: as for `MPRT`.

    Outcome: score []; curve [L] and curve_std [L] as for `MPRT`.
    """

    family = "randomisation"
    direction = "lower"
    asks = frozenset({"attribution"})
    reference = "Hedström et al. 2023, Sanity checks revisited, XAI in Action (NeurIPS workshop)"

    absolute: bool = static(True)
    n_samples: int = static(50)
    noise_level: Any = 0.1
    order: str = static("top_down")
    randomise: str = static("normal")
    n_seeds: int = static(1)
    similarity: Any = static("spearman")
    score: str = static("mean")
    layers: tuple[str, ...] | None = static(None)
    draws: Any = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check.integer(self, "n_samples")
        check.real(self, "noise_level", least=0)
        check.one_of(self, "order", ORDERS)
        check.one_of(self, "randomise", WAYS)
        check.integer(self, "n_seeds")
        if not callable(self.similarity):
            check.one_of(self, "similarity", ops.SIMILARITIES)
        check.one_of(self, "score", SCORES)
        if self.draws is not None and not (
            isinstance(self.draws, dict) and self.draws.keys() <= {"params", "noise"}
        ):
            raise ValueError('SmoothMPRT(draws=...) must be a dict with "params", "noise" or both')
        check_noise(self, "draws['noise']", (self.draws or {}).get("noise"))

    def explainer(self, explainer: Any) -> Smoothed:
        noise = (self.draws or {}).get("noise")
        n_samples, level = self.n_samples, self.noise_level
        return Smoothed(explainer=explainer, n_samples=n_samples, noise_level=level, draws=noise)

    def questions(self) -> RandomiseLayers:
        return RandomiseLayers(
            order=self.order,
            randomise=self.randomise,
            n_seeds=self.n_seeds,
            names=self.layers if self.layers is None else tuple(self.layers),
            draws=(self.draws or {}).get("params"),
        )

    def points(self, asked: Any) -> tuple[str, ...]:
        return asked[0].stages

    def measure(self, sample: Sample, reference: Answer, query: Query, answer: Answer) -> Any:
        axis = sample.map_channel_axis
        return ops.similarity(sample.a, answer.attribution, self.similarity, channel_axis=axis)

    def reduce(self, sample: Sample, reference: Answer, measured: Any, valid: Any) -> Outcome:
        by_seed = measured.reshape(self.n_seeds, -1)
        score, std = smooth_mprt(by_seed, self.score), by_seed.std(0)
        several = std if self.n_seeds > 1 else None
        return Outcome(score=score, curve=by_seed.mean(0), curve_std=several)
