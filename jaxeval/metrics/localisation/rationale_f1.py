"""Rationale F1: are the top-ranked tokens those that a person marked?"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ... import check, ops
from ...metric import Metric
from ...types import Answer, Outcome, Sample, pytree


def rationale_f1(
    a: Float[Array, "*features"], mask: Bool[Array, "*features"], k: Any = None
) -> Float[Array, ""]:
    """F1 of the k top features as a detector of the mask; k is the mask's size if None.

    NaN for an empty mask.

    >>> import jax.numpy as jnp
    >>> a, mask = jnp.array([3.0, 2.0, 1.0]), jnp.array([True, False, False])
    >>> round(float(rationale_f1(a, mask, 2)), 4)
    0.6667
    """
    n = mask.sum()
    k = n if k is None else k
    hits = (ops.top(a, k) & mask).sum()
    return jnp.where(n > 0, 2 * hits / jnp.maximum(n + k, 1), jnp.nan)


@pytree
class RationaleF1(Metric):
    r"""F1 of the k top-ranked features as a detector of the rationale (or object) M.

    .. math:: 2 |\operatorname{top}_k(a) \cap M| / (k + |M|)

    which is the harmonic mean of precision and recall. Ties go to the first. With k = |M| it equals
    `RelevanceRankAccuracy`. Higher is better, within [0, 1]. NaN for an empty rationale.

    Args:
      k: number of features, at most F; None: |M|, the size of the rationale.

    Outcome: score [].
    """

    family = "localisation"
    direction = "higher"
    needs = frozenset({"mask"})
    takes_padding = True
    reference = "DeYoung et al. 2020, ERASER: a benchmark to evaluate rationalized NLP models, ACL"

    k: Any = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check.integer(self, "k", optional=True)

    def fit(self, model: Any, sample: Sample) -> None:
        check.at_most_features(self, "k", sample)

    def fewest(self, sample: Sample) -> int:
        return 1 if self.k is None else int(self.k)

    def reduce(self, sample: Sample, reference: Answer, measured: Any, valid: Any) -> Outcome:
        return Outcome(score=rationale_f1(sample.filled(-jnp.inf), sample.mask, self.k))
