"""Comprehensiveness: how far does the output drop without the top-ranked tokens?"""

from __future__ import annotations

from typing import Any

from jaxtyping import Array, Float

from ...types import Answer, Outcome, Sample, pytree
from ..shares import TopShares


def aopc_comprehensiveness(drops: Float[Array, " B"]) -> Float[Array, ""]:
    """The mean of f(x) - f(x without the top k) over the numbers k of features.

    >>> import jax.numpy as jnp
    >>> print(aopc_comprehensiveness(jnp.array([0.25, 0.75])))
    0.5
    """
    return drops.mean()


@pytree
class AOPCComprehensiveness(TopShares):
    r"""Drop of the output without the top-ranked features, averaged over their share.

    .. math:: \frac{1}{B} \sum_b f(x) - f(x_{\text{top } k_b \to b_0}),
              \quad k_b = \lceil b F \rceil

    Of texts, F are the tokens that count, and `baseline` says how they are removed, on which the
    score depends strongly. Ties go to the first. Higher is better. Never NaN.

    Args:
      bins: the shares b. As in the authors' code, k = 0 is not part of the mean.
      baseline: b_0: "mask", "pad", "delete" or an id for tokens (default: the mask token, else
        padding); for other inputs see `jaxeval.ops.baseline`.

    Outcome: score []; curve [B], the drop at each share.
    """

    family = "faithfulness"
    direction = "higher"
    asks = frozenset({"output"})
    takes_padding = True
    reference = "DeYoung et al. 2020, ERASER: a benchmark to evaluate rationalized NLP models, ACL"

    def reduce(self, sample: Sample, reference: Answer, measured: Any, valid: Any) -> Outcome:
        drops = self.at_bins(sample, measured)
        return Outcome(score=aopc_comprehensiveness(drops), curve=drops)
