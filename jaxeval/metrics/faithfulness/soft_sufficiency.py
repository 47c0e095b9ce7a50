"""Soft sufficiency: does the output last as entries are kept by their attribution?"""

from __future__ import annotations

from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Float

from ...types import pytree
from ..shares import SoftRemovalMetric


def soft_sufficiency(drops: Float[Array, " S"], most: Float[Array, ""]) -> Float[Array, " S"]:
    """What of the output is left, as a share of the drop without any feature.

    >>> print(soft_sufficiency(jnp.array([0.125, 1.0]), jnp.array(0.5)))
    [0.75 0.  ]
    """
    return jnp.clip((most - drops) / most, 0, 1)


@pytree
class SoftSufficiency(SoftRemovalMetric):
    r"""What is left of the output as features are kept in proportion to their attribution.

    Entries of the input, or of the embeddings of tokens, are set to zero at random: an entry of
    feature i stays with probability a'_i, with a' the map rescaled to [0, 1] (min-max).

    .. math:: \operatorname{clip}_0^1
              \Big( 1 - \frac{\max(0, f(x) - f(x'))}{\max(0, f(x) - f(x_0))} \Big)

    with x' the remaining input and x_0 all features at zero, averaged over draws. The mean of a'
    decides how much is erased, so methods with flat maps are erased alike: the share of entries
    that is erased is part of the outcome. Higher is better, within [0, 1]. NaN if f(x_0) is not
    below f(x), or for a constant map.

    Args:
      n_samples: number of draws.
      draws: numbers in [0, 1], [S, *x] or [N, S, *x] (for token ids: [S, T, E] or [N, S, T, E]); an
        entry stays where its number is below its probability.

    Outcome: score [], with its error; curve [1], the share that is erased.
    """

    family = "faithfulness"
    direction = "higher"
    asks = frozenset({"output"})
    takes_padding = True
    reference = "Zhao and Aletras 2023, Incorporating attribution importance for faithfulness, ACL"
    keeps_top: ClassVar[bool] = True

    def share(self, drops: Float[Array, " S"], most: Float[Array, ""]) -> Float[Array, " S"]:
        return soft_sufficiency(drops, most)
