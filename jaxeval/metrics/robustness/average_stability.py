"""Average stability: how different are the attributions of similar inputs, on average?"""

from __future__ import annotations

from typing import Any

from jaxtyping import Array, Bool, Float

from ... import check, ops
from ...types import Answer, Outcome, Query, Sample, pytree, static
from ..bases import NoisyInputMetric, rank_correlation

DISTANCES = ("spearman", "l2")


def average_stability(
    distances: Float[Array, " S"], where: Bool[Array, " S"] | None = None
) -> Float[Array, ""]:
    """The mean distance over the draws.

    >>> import jax.numpy as jnp
    >>> float(average_stability(jnp.array([0.0, 1.0])))
    0.5
    """
    return distances.mean(where=where)


@pytree
class AverageStability(NoisyInputMetric):
    r"""Mean distance between the attributions of the input and of noisy inputs.

    .. math:: \frac{1}{S} \sum_s d(\phi(x), \phi(x + u_s)), \quad u_s \sim U[-r, r]^d

    Lower is better; 0 for an explainer that ignores the input. NaN for "spearman" if a map is
    constant; never for "l2".

    Args:
      distance: "spearman" (1 - rho, within [0, 2]) or "l2" (Euclidean, between normalised maps).
      radius: r, in units of the input.
      n_samples: number of draws.
      draws: the noise, [S, *x] or [N, S, *x].
      noise: a `jaxeval.Noise` that replaces `radius`, `n_samples` and `draws`.
      tolerance: ask as many draws as the score needs to be this close to its limit, instead of
        `n_samples`; see `jaxeval.Tolerance`.

    Outcome: score []; error [], from the draws.
    """

    family = "robustness"
    direction = "lower"
    asks = frozenset({"attribution"})
    takes_padding = True
    reference = "Bhatt et al. 2020, Evaluating and aggregating feature-based explanations, IJCAI"

    distance: str = static("spearman")

    def __post_init__(self) -> None:
        super().__post_init__()
        check.one_of(self, "distance", DISTANCES)

    @property
    def of_ranks(self) -> bool:
        return self.distance == "spearman" and type(self).measure is AverageStability.measure

    def measure(self, sample: Sample, reference: Answer, query: Query, answer: Answer) -> Any:
        if self.distance == "l2":
            return ops.l2(sample.a, answer.attribution)
        return 1 - rank_correlation(sample, answer)

    def reduce(self, sample: Sample, reference: Answer, measured: Any, valid: Any) -> Outcome:
        where = self.among(sample, valid)
        influence = ops.mean_influence(measured, where)
        return self.outcome(average_stability(measured, where), influence, where)
