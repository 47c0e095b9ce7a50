"""Faithfulness estimate: do single features with more attribution affect the output more?"""

from __future__ import annotations

from typing import Any

from jaxtyping import Array, Bool, Float

from ... import ops
from ...perturb import RankedGroups, SingleFeature
from ...types import Answer, Outcome, Sample, pytree
from ..bases import Grouped, exact


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
class FaithfulnessEstimate(Grouped):
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

    def questions(self) -> RankedGroups | SingleFeature:
        return self.groups(order="morf")

    def reduce(self, sample: Sample, reference: Answer, measured: Any, valid: Any) -> Outcome:
        sums, drops = self.by_group(sample, measured, order="morf")
        score = faithfulness_estimate(sums, drops[:, 0], sample.step_mask(valid))
        return Outcome(score=score) if ops.is_random(self.baseline) else exact(score)
