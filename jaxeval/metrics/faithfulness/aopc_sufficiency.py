"""Sufficiency of a rationale: how far does the output drop with the top-ranked tokens only?"""

from __future__ import annotations

from typing import Any, ClassVar

from jaxtyping import Array, Float

from ...types import Answer, Outcome, Sample, pytree
from ..shares import TopShares


def aopc_sufficiency(drops: Float[Array, " B"]) -> Float[Array, ""]:
    """The mean of f(x) - f(the top k alone) over the numbers k of features.

    >>> import jax.numpy as jnp
    >>> print(aopc_sufficiency(jnp.array([0.25, -0.25])))
    0.0
    """
    return drops.mean()


@pytree
class AOPCSufficiency(TopShares):
    r"""Drop of the output with the top-ranked features only, averaged over their share.

    .. math:: \frac{1}{B} \sum_b f(x) - f(x_{\text{all but top } k_b \to b_0}),
              \quad k_b = \lceil b F \rceil

    Of texts, special tokens stay, too. Ties go to the first. Lower is better; may be negative.
    Never NaN. (`Sufficiency` is another metric.)

    Args:
      bins: the shares b.
      baseline: b_0, as for `AOPCComprehensiveness`.

    Outcome: score []; curve [B], the drop at each share.
    """

    family = "faithfulness"
    direction = "lower"
    asks = frozenset({"output"})
    takes_padding = True
    reference = "DeYoung et al. 2020, ERASER: a benchmark to evaluate rationalized NLP models, ACL"
    inserts: ClassVar[bool] = True

    def reduce(self, sample: Sample, reference: Answer, measured: Any, valid: Any) -> Outcome:
        drops = self.at_bins(sample, measured)
        return Outcome(score=aopc_sufficiency(drops), curve=drops)
