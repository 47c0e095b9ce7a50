"""Relevance rank accuracy: are the top-ranked features on the object?"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ... import ops
from ...metric import Metric
from ...types import Answer, Outcome, Sample, pytree


def relevance_rank_accuracy(
    a: Float[Array, "*features"], mask: Bool[Array, "*features"]
) -> Float[Array, ""]:
    """The fraction of the |mask| top features that lie inside the mask; NaN for an empty mask.

    >>> import jax.numpy as jnp
    >>> float(relevance_rank_accuracy(jnp.array([3.0, 2.0, 1.0]), jnp.array([True, False, True])))
    0.5
    """
    n = mask.sum()
    hits = (ops.top(a, n) & mask).sum()
    return jnp.where(n > 0, hits / jnp.maximum(n, 1), jnp.nan)


@pytree
class RelevanceRankAccuracy(Metric):
    r"""Fraction of the K features with the largest attribution that belong to the object.

    .. math:: |\operatorname{top}_K(a) \cap M| / K, \quad K = |M|

    Ties go to the lowest index. Higher is better, within [0, 1]. NaN for an empty mask.

    Outcome: score [].
    """

    family = "localisation"
    direction = "higher"
    needs = frozenset({"mask"})
    takes_padding = True
    reference = "Arras et al. 2022, CLEVR-XAI, Information Fusion"

    def reduce(self, sample: Sample, reference: Answer, measured: Any, valid: Any) -> Outcome:
        a = sample.filled(-jnp.inf)
        return Outcome(score=relevance_rank_accuracy(a, sample.mask))
