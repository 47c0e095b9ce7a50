"""IoU: do the most relevant features cover the object and nothing else?"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ... import check, ops
from ...metric import Metric
from ...types import Answer, Outcome, Sample, pytree


def iou(
    a: Float[Array, "*features"],
    mask: Bool[Array, "*features"],
    threshold: Any = None,
    k: Any = None,
) -> Float[Array, ""]:
    """|T and mask| / |T or mask|, with T the k (None: |mask|) top features, or those above
    `threshold`.

    NaN for an empty mask.

    >>> import jax.numpy as jnp
    >>> a, mask = jnp.array([3.0, 2.0, 1.0]), jnp.array([True, False, True])
    >>> round(float(iou(a, mask)), 4), round(float(iou(a, mask, 0.5)), 4)
    (0.3333, 0.6667)
    """
    n = mask.sum()
    chosen = ops.top(a, n if k is None else k) if threshold is None else a > threshold
    score = (chosen & mask).sum() / jnp.maximum((chosen | mask).sum(), 1)
    return jnp.where(n > 0, score, jnp.nan)


@pytree
class IoU(Metric):
    r"""Intersection over union of the object and the features with the largest attribution.

    .. math:: |T \cap M| / |T \cup M|, \quad T = \operatorname{top}_k(a), \; k = |M|,
              \text{ or } \{ i : a_i > t \}

    Ties go to the lowest index. Higher is better, within [0, 1]. NaN for an empty mask.

    Args:
      threshold: t, for the normalised map (by default, its largest magnitude is 1); None: T holds
        the k top features.
      k: number of features in T, at most F; None: as many as the object has.
      at_least: c, for a score of 1 where the ratio is at least c, else 0. Its mean with c = .5 is
        the IOU F1 of ERASER, for one rationale in each text.

    Outcome: score [].
    """

    family = "localisation"
    direction = "higher"
    needs = frozenset({"mask"})
    takes_padding = True
    reference = "Zhou et al. 2016, Learning deep features for discriminative localization, CVPR"

    threshold: Any = None
    k: Any = None
    at_least: Any = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.threshold is not None:
            check.real(self, "threshold")
            if self.k is not None:
                raise ValueError("IoU: give threshold or k, not both")
        check.integer(self, "k", optional=True)
        if self.at_least is not None:
            check.real(self, "at_least", above=0, most=1)

    def fit(self, model: Any, sample: Sample) -> None:
        check.at_most_features(self, "k", sample)

    def fewest(self, sample: Sample) -> int:
        return 1 if self.k is None else int(self.k)

    def reduce(self, sample: Sample, reference: Answer, measured: Any, valid: Any) -> Outcome:
        score = iou(sample.filled(-jnp.inf), sample.mask, self.threshold, self.k)
        if self.at_least is not None:
            score = jnp.where(jnp.isnan(score), score, score >= self.at_least)
        return Outcome(score=score)
