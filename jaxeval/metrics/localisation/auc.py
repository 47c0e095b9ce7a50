"""AUC: does the attribution rank the object's features above the others?"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ... import ops
from ...metric import Metric
from ...types import Answer, Outcome, Sample, pytree


def auc(
    a: Float[Array, "*features"],
    mask: Bool[Array, "*features"],
    where: Bool[Array, "*features"] | None = None,
) -> Float[Array, ""]:
    """The area under the ROC curve of a for the mask; NaN for an empty or a full mask.

    >>> import jax.numpy as jnp
    >>> float(auc(jnp.array([3.0, 2.0, 2.0, 1.0]), jnp.array([True, True, False, False])))
    0.875
    """
    inside = mask.ravel()
    n = inside.sum()
    marks = None if where is None else where.ravel()
    rest = (inside.size if marks is None else marks.sum()) - n
    # The mean of ranks: their sum is not exact in float32 for images of ImageNet size.
    mean_rank = jnp.where(inside, ops.average_ranks(a, marks) / jnp.maximum(n, 1), 0).sum()
    score = (mean_rank - (n + 1) / 2) / jnp.maximum(rest, 1)
    return jnp.where((n > 0) & (rest > 0), score, jnp.nan)


@pytree
class AUC(Metric):
    r"""Probability that a feature inside the object has a larger attribution than one outside.

    .. math:: \frac{1}{|M| |\bar M|} \sum_{i \in M} \sum_{j \notin M}
              1[a_i > a_j] + \tfrac12 1[a_i = a_j]

    which is the area under the ROC curve. Higher is better, within [0, 1]; 0.5 is chance. NaN
    for an empty or a full mask.

    Outcome: score [].
    """

    family = "localisation"
    direction = "higher"
    needs = frozenset({"mask"})
    takes_padding = True
    reference = "Fawcett 2006, An introduction to ROC analysis, Pattern Recognition Letters"

    def reduce(self, sample: Sample, reference: Answer, measured: Any, valid: Any) -> Outcome:
        return Outcome(score=auc(sample.a, sample.mask, sample.where))
