"""IoU: do the most relevant features cover the object and nothing else?"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ... import check, ops
from ...metric import Metric
from ...types import Answer, Outcome, Sample, pytree


def iou(
    a: Float[Array, "*features"], mask: Bool[Array, "*features"], threshold: Any = None
) -> Float[Array, ""]:
    """|T and mask| / |T or mask|, with T the |mask| top features, or those above `threshold`.

    NaN for an empty mask.

    >>> import jax.numpy as jnp
    >>> a, mask = jnp.array([3.0, 2.0, 1.0]), jnp.array([True, False, True])
    >>> round(float(iou(a, mask)), 4), round(float(iou(a, mask, 0.5)), 4)
    (0.3333, 0.6667)
    """
    n = mask.sum()
    chosen = ops.top(a, n) if threshold is None else a > threshold
    score = (chosen & mask).sum() / jnp.maximum((chosen | mask).sum(), 1)
    return jnp.where(n > 0, score, jnp.nan)


@pytree
class IoU(Metric):
    r"""Intersection over union of the object and the features with the largest attribution.

    .. math:: |T \cap M| / |T \cup M|, \quad T = \operatorname{top}_{|M|}(a)
              \text{ or } \{ i : a_i > t \}

    Ties go to the lowest index. Higher is better, within [0, 1]. NaN for an empty mask.

    Args:
      threshold: t, for the normalised map (by default, its largest magnitude is 1); None: T holds
        as many features as the object.

    Outcome: score [].
    """

    family = "localisation"
    direction = "higher"
    needs = frozenset({"mask"})
    takes_padding = True
    reference = "Zhou et al. 2016, Learning deep features for discriminative localization, CVPR"

    threshold: Any = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.threshold is not None:
            check.real(self, "threshold")

    def reduce(self, sample: Sample, reference: Answer, measured: Any, valid: Any) -> Outcome:
        return Outcome(score=iou(sample.filled(-jnp.inf), sample.mask, self.threshold))
