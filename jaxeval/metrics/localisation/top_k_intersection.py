"""Top-k intersection: how many of the k most relevant features are on the object?"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ... import check, ops
from ...metric import Metric
from ...types import Answer, Outcome, Sample, pytree, static


def top_k_intersection(
    a: Float[Array, "*features"],
    mask: Bool[Array, "*features"],
    k: Any,
    concept_influence: bool = False,
    where: Bool[Array, "*features"] | None = None,
) -> Float[Array, ""]:
    """The fraction of the top k features that lie inside the mask; NaN for an empty mask.

    `concept_influence`: divided by the fraction of features in the mask.

    >>> import jax.numpy as jnp
    >>> a, mask = jnp.array([3.0, 2.0, 1.0, 0.0]), jnp.array([True, False, False, False])
    >>> float(top_k_intersection(a, mask, 2)), float(top_k_intersection(a, mask, 2, True))
    (0.5, 2.0)
    """
    n = mask.sum()
    score = (ops.top(a, k) & mask).sum() / k
    if concept_influence:
        size = a.size if where is None else where.sum()
        score = score * size / jnp.maximum(n, 1)
    return jnp.where(n > 0, score, jnp.nan)


@pytree
class TopKIntersection(Metric):
    r"""Fraction of the k features with the largest attribution that belong to the object.

    .. math:: |\operatorname{top}_k(a) \cap M| / k

    Ties go to the lowest index. Higher is better, within [0, 1]; with `concept_influence`,
    multiplied by F / |M|, where 1 is chance. NaN for an empty mask.

    Args:
      k: number of features, at most F; None: 10 % of F, rounded down, at least one.
      concept_influence: divide by the fraction of features in the object, |M| / F.

    Outcome: score [].
    """

    family = "localisation"
    direction = "higher"
    needs = frozenset({"mask"})
    takes_padding = True
    reference = "Theiner et al. 2022, Interpretable semantic photo geolocation, WACV"

    k: Any = None
    concept_influence: bool = static(False)

    def __post_init__(self) -> None:
        super().__post_init__()
        check.integer(self, "k", optional=True)
        check.one_of(self, "concept_influence", (True, False))

    def fit(self, model: Any, sample: Sample) -> None:
        check.at_most_features(self, "k", sample)

    def fewest(self, sample: Sample) -> int:
        return 1 if self.k is None else int(self.k)

    def reduce(self, sample: Sample, reference: Answer, measured: Any, valid: Any) -> Outcome:
        k = jnp.maximum(1, sample.n_valid // 10) if self.k is None else self.k
        a, influence = sample.filled(-jnp.inf), self.concept_influence
        score = top_k_intersection(a, sample.mask, k, influence, sample.where)
        return Outcome(score=score)
