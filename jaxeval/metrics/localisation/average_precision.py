"""Average precision: does the attribution retrieve the object's features first?"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from ... import check, ops
from ...metric import Metric
from ...types import Answer, Outcome, Sample, pytree, static

AREAS = ("steps", "trapezoid")


def average_precision(
    a: Float[Array, "*features"], mask: Bool[Array, "*features"], area: str = "steps"
) -> Float[Array, ""]:
    """The mean precision over the thresholds given by the mask's features.

    With ``area="trapezoid"``, the area under the precision-recall curve by the trapezoidal rule.
    Equal entries share one threshold, so their order does not matter. NaN for an empty mask.

    >>> import jax.numpy as jnp
    >>> a, mask = jnp.array([3.0, 2.0, 1.0]), jnp.array([True, False, True])
    >>> round(float(average_precision(a, mask)), 4)
    0.8333
    """
    order = ops.descending(a)
    v, hit = a.ravel()[order], mask.ravel()[order]
    n, at = hit.sum(), jnp.arange(hit.size)
    # A threshold includes all entries equal to it.
    last = jnp.append(v[1:] != v[:-1], True)
    end = lax.cummin(jnp.where(last, at, hit.size), reverse=True)
    hits = jnp.cumsum(hit)
    precision = hits[end] / (end + 1)
    if area == "trapezoid":
        # The point before a threshold: the end of the run before it, or recall 0, precision 1.
        start = lax.cummax(jnp.where(jnp.append(True, last[:-1]), at, 0))
        known = jnp.maximum(start - 1, 0)
        before = jnp.where(start > 0, precision[known], 1)
        gained = hits - jnp.where(start > 0, hits[known], 0)
        total = jnp.where(last, gained * (precision + before) / 2, 0).sum()
        return jnp.where(n > 0, total / jnp.maximum(n, 1), jnp.nan)
    score = jnp.where(hit, precision, 0).sum() / jnp.maximum(n, 1)
    return jnp.where(n > 0, score, jnp.nan)


@pytree
class AveragePrecision(Metric):
    r"""Average precision of the attribution as a detector of the object's features.

    .. math:: \frac{1}{|M|} \sum_{i \in M}
              \frac{|\{j \in M : a_j \ge a_i\}|}{|\{j : a_j \ge a_i\}|}

    which is the area under the (step-wise) precision-recall curve. Higher is better, within
    [0, 1]; chance is |M| / F. NaN for an empty mask.

    Args:
      area: "steps", as above; "trapezoid": straight lines between the points of the curve, which
        begins at recall 0 and precision 1: the AUPRC of ERASER and ferret.

    Outcome: score [].
    """

    family = "localisation"
    direction = "higher"
    needs = frozenset({"mask"})
    takes_padding = True
    reference = "Everingham et al. 2010, The Pascal visual object classes challenge, IJCV"

    area: str = static("steps")

    def __post_init__(self) -> None:
        super().__post_init__()
        check.one_of(self, "area", AREAS)

    def reduce(self, sample: Sample, reference: Answer, measured: Any, valid: Any) -> Outcome:
        a = sample.filled(-jnp.inf)
        return Outcome(score=average_precision(a, sample.mask, self.area))
