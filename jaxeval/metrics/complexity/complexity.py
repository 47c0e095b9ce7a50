"""Complexity: over how many features is the attribution spread?"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ...metric import Metric
from ...types import Answer, Outcome, Sample, pytree


def complexity(a: Float[Array, "*features"]) -> Float[Array, ""]:
    """The entropy, in nats, of |a| / sum |a|, with 0 log 0 = 0; NaN for a map of zeros.

    >>> import jax.numpy as jnp
    >>> round(float(complexity(jnp.ones(4))), 4)
    1.3863
    """
    p = jnp.abs(a)
    top = p.max()
    p = p / jnp.where(top > 0, top, 1)
    total = p.sum()
    shares = p / jnp.where(total > 0, total, 1)
    return jnp.where(total > 0, jax.scipy.special.entr(shares).sum(), jnp.nan)


@pytree
class Complexity(Metric):
    r"""Entropy of the features' shares of the total absolute attribution.

    .. math:: -\sum_i p_i \log p_i, \quad p_i = |a_i| / \sum_j |a_j|

    Lower is better, within [0, log F]. NaN for a map of zeros.

    Outcome: score [], in nats.
    """

    family = "complexity"
    direction = "lower"
    takes_padding = True
    reference = "Bhatt et al. 2020, Evaluating and aggregating feature-based explanations, IJCAI"

    def reduce(self, sample: Sample, reference: Answer, measured: Any, valid: Any) -> Outcome:
        return Outcome(score=complexity(sample.a))
