"""Average precision: does the attribution retrieve the object's features first?"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from ... import ops
from ...metric import Metric
from ...types import Answer, Outcome, Sample, pytree


def average_precision(
    a: Float[Array, "*features"], mask: Bool[Array, "*features"]
) -> Float[Array, ""]:
    """The mean precision over the thresholds given by the mask's features.

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
    precision = jnp.cumsum(hit)[end] / (end + 1)
    score = jnp.where(hit, precision, 0).sum() / jnp.maximum(n, 1)
    return jnp.where(n > 0, score, jnp.nan)


@pytree
class AveragePrecision(Metric):
    r"""Average precision of the attribution as a detector of the object's features.

    .. math:: \frac{1}{|M|} \sum_{i \in M}
              \frac{|\{j \in M : a_j \ge a_i\}|}{|\{j : a_j \ge a_i\}|}

    which is the area under the (step-wise) precision-recall curve. Higher is better, within
    [0, 1]; chance is |M| / F. NaN for an empty mask.

    Outcome: score [].
    """

    family = "localisation"
    direction = "higher"
    needs = frozenset({"mask"})
    takes_padding = True
    reference = "Everingham et al. 2010, The Pascal visual object classes challenge, IJCV"

    def reduce(self, sample: Sample, reference: Answer, measured: Any, valid: Any) -> Outcome:
        return Outcome(score=average_precision(sample.filled(-jnp.inf), sample.mask))
