"""Leave-one-out correlation: are tokens ranked by what the output loses without them?"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ... import check, ops
from ...perturb import SingleFeature
from ...types import Answer, Outcome, Query, Sample, pytree, static
from ..bases import Grouped, exact


def loo_correlation(
    a: Float[Array, " F"], drops: Float[Array, " F"], where: Bool[Array, " F"] | None = None
) -> Float[Array, ""]:
    """Kendall's tau-b of the attributions with the drops of the output without each feature.

    >>> import jax.numpy as jnp
    >>> print(loo_correlation(jnp.array([1.0, 2.0, 3.0]), jnp.array([0.1, 0.3, 0.2])))
    0.33333334
    """
    return ops.kendall(a, drops, where)


@pytree
class LOOCorrelation(Grouped):
    r"""Rank correlation of each feature's attribution with the drop of the output without it.

    .. math:: \tau_b \big( a_i, \; f(x) - f(x_{i \to b}) \big)

    With `absolute_drop`, the drop is the total variation between the distributions over classes,
    .. math:: \tfrac12 \sum_c | p_c(x) - p_c(x_{i \to b}) |

    Of texts, features are the tokens that count. Higher is better, within [-1, 1]. NaN with fewer
    than two features, or if either side is constant. Its twin with Pearson's correlation is
    `FaithfulnessEstimate`.

    Args:
      features_in_step: 1, as one feature at a time is left out.
      absolute_drop: the total variation, of Jain and Wallace, instead of the drop of one class.
      baseline: b, as for `AOPCComprehensiveness`.

    Outcome: score [].
    """

    family = "faithfulness"
    direction = "higher"
    asks = frozenset({"output"})
    takes_padding = True
    reference = "Jain and Wallace 2019, Attention is not explanation, NAACL"

    absolute_drop: bool = static(False)

    def __post_init__(self) -> None:
        super().__post_init__()
        check.one_of(self, "absolute_drop", (True, False))
        if self.features_in_step != 1:
            raise ValueError("LOOCorrelation leaves out one feature at a time: features_in_step=1")

    @property
    def of_classes(self) -> bool:  # type: ignore[override]
        return self.absolute_drop

    def questions(self) -> SingleFeature:
        return SingleFeature(n_samples=1, baseline=self.baseline)

    def measure(self, sample: Sample, reference: Answer, query: Query, answer: Answer) -> Any:
        if not self.absolute_drop:
            return self.drop(reference, answer, sample.y)

        def change(c: Any) -> Any:
            return ops.difference(reference.logits, answer.logits, c, "probability")

        return jnp.abs(jax.vmap(change)(jnp.arange(len(answer.logits)))).sum() / 2

    def reduce(self, sample: Sample, reference: Answer, measured: Any, valid: Any) -> Outcome:
        a, drops = self.by_group(sample, measured, order="morf")
        score = loo_correlation(a, drops[:, 0], sample.step_mask(valid))
        return Outcome(score=score) if ops.is_random(self.baseline) else exact(score)
