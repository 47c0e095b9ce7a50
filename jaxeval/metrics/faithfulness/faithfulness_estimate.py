"""Faithfulness estimate: do single features with more attribution affect the output more?"""

from __future__ import annotations

from typing import Any

from jaxtyping import Array, Bool, Float

from ... import check, ops
from ...metric import Metric
from ...perturb import RankedGroups
from ...types import Answer, Outcome, Query, Sample, pytree, static


def faithfulness_estimate(
    sums: Float[Array, " S"],
    drops: Float[Array, " S"],
    where: Bool[Array, " S"] | None = None,
) -> Float[Array, ""]:
    """The Pearson correlation of the groups' attributions with the drops of the output.

    >>> import jax.numpy as jnp
    >>> v = jnp.arange(4.0)
    >>> round(float(faithfulness_estimate(v, -v)), 4)
    -1.0
    """
    return ops.pearson(sums, drops, where)


@pytree
class FaithfulnessEstimate(Metric):
    r"""Correlation over groups of features in rank order: their attribution against the drop.

    .. math:: \operatorname{corr}_{s} \Big( \sum_{i \in G_s} a_i, \; f(x) - f(x_{G_s \to b}) \Big)

    G_s holds the features with ranks m (s - 1) + 1 to m s; one group is removed at a time. Higher
    is better, within [-1, 1]. NaN if either side is constant.

    Args:
      features_in_step: m, features in a group; the last group may be smaller.
      baseline: b, see `jaxeval.ops.baseline`; random ones are drawn for each group.

    Outcome: score [].
    """

    family = "faithfulness"
    direction = "higher"
    asks = frozenset({"output"})
    takes_padding = True
    reference = "Alvarez-Melis and Jaakkola 2018, Towards robust interpretability, NeurIPS"

    features_in_step: int = static(1)
    baseline: Any = "black"

    def __post_init__(self) -> None:
        super().__post_init__()
        check.integer(self, "features_in_step")
        check.baseline(self, "baseline", ops.BASELINES)

    def questions(self) -> RankedGroups:
        return RankedGroups(features_in_step=self.features_in_step, baseline=self.baseline)

    def measure(self, sample: Sample, reference: Answer, query: Query, answer: Answer) -> Any:
        return self.mass_and_drop(sample, reference, query, answer)

    def reduce(self, sample: Sample, reference: Answer, measured: Any, valid: Any) -> Outcome:
        where = sample.step_mask(valid)
        return Outcome(score=faithfulness_estimate(measured[:, 0], measured[:, 1], where))
