"""Sparseness: is the attribution concentrated on few features?"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ... import ops
from ...metric import Metric
from ...types import Answer, Outcome, Sample, pytree


def sparseness(
    a: Float[Array, "*features"], where: Bool[Array, "*features"] | None = None
) -> Float[Array, ""]:
    """The Gini index of |a|: 0 if all are equal, 1 - 1/F if only one is non-zero; NaN for zeros.

    >>> import jax.numpy as jnp
    >>> float(sparseness(jnp.array([0.0, 0.0, 0.0, -1.0])))
    0.75
    """
    v = ops.sort(jnp.abs(a) if where is None else jnp.where(where, jnp.abs(a), 0))
    n = v.size if where is None else where.sum()
    v = v / jnp.where(v[-1] > 0, v[-1], 1)
    total = v.sum()
    # Excluded entries are 0 and sort first, so they do not contribute.
    weights = (2 * (jnp.arange(1, v.size + 1) - (v.size - n)) - n - 1) / n
    gini = (weights * v).sum() / jnp.where(total > 0, total, 1)
    return jnp.where(total > 0, gini, jnp.nan)


@pytree
class Sparseness(Metric):
    r"""Gini index of the magnitudes of the attribution.

    .. math:: G = \frac{\sum_i (2 i - F - 1) \, |a|_{(i)}}{F \sum_i |a|_{(i)}}

    with |a| in ascending order. Higher is better, within [0, 1 - 1/F]. NaN for a map of zeros.

    Outcome: score [].
    """

    family = "complexity"
    direction = "higher"
    takes_padding = True
    reference = "Chalasani et al. 2020, Concise explanations of neural networks, ICML"

    def reduce(self, sample: Sample, reference: Answer, measured: Any, valid: Any) -> Outcome:
        return Outcome(score=sparseness(sample.a, sample.where))
