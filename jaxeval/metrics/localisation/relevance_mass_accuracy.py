"""Relevance mass accuracy: how much of the attribution is on the object?"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ... import check, ops
from ...metric import Metric
from ...types import Answer, Outcome, Sample, pytree, static


def relevance_mass_accuracy(
    a: Float[Array, "*features"], mask: Bool[Array, "*features"], signed: bool = False
) -> Float[Array, ""]:
    """The share of the positive attribution (`signed`: of |a|) that lies inside the mask.

    NaN for an empty mask and for a map without positive attribution (`signed`: of zeros).

    >>> import jax.numpy as jnp
    >>> float(relevance_mass_accuracy(jnp.array([3.0, 1.0, -4.0]), jnp.array([True, False, True])))
    0.75
    """
    return ops.mass_inside(jnp.abs(a) if signed else a, mask)


@pytree
class RelevanceMassAccuracy(Metric):
    r"""Share of the attribution that lies on the object.

    .. math:: \sum_{i \in M} a_i^+ \Big/ \sum_i a_i^+

    Higher is better, within [0, 1]. NaN for an empty mask and for a map without positive
    attribution.

    Args:
      signed: use magnitudes |a_i| instead of the positive part.

    Outcome: score [].
    """

    family = "localisation"
    direction = "higher"
    needs = frozenset({"mask"})
    takes_padding = True
    reference = "Arras et al. 2022, CLEVR-XAI, Information Fusion"

    signed: bool = static(False)

    def __post_init__(self) -> None:
        super().__post_init__()
        check.one_of(self, "signed", (True, False))

    def reduce(self, sample: Sample, reference: Answer, measured: Any, valid: Any) -> Outcome:
        return Outcome(score=relevance_mass_accuracy(sample.a, sample.mask, self.signed))
