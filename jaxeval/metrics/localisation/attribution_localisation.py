"""Attribution localisation: how much of the positive attribution is on the object?"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ... import check, ops
from ...metric import Metric
from ...types import Answer, Outcome, Sample, pytree, static


def attribution_localisation(
    a: Float[Array, "*features"],
    mask: Bool[Array, "*features"],
    weighted: bool = False,
    where: Bool[Array, "*features"] | None = None,
) -> Float[Array, ""]:
    """The share of positive attribution inside the mask; `weighted`: divided by the mask's area.

    The area is the fraction of features in the mask. NaN for an empty mask and for a map without
    positive attribution.

    >>> import jax.numpy as jnp
    >>> a, mask = jnp.array([3.0, 1.0, 0.0, -9.0]), jnp.array([True, False, False, True])
    >>> float(attribution_localisation(a, mask)), float(attribution_localisation(a, mask, True))
    (0.75, 1.5)
    """
    share = ops.mass_inside(a, mask)
    n = a.size if where is None else where.sum()
    return share * n / jnp.maximum(mask.sum(), 1) if weighted else share


@pytree
class AttributionLocalisation(Metric):
    r"""Ratio of the positive attribution inside the object to the total.

    .. math:: \mu = \sum_{i \in M} a_i^+ \Big/ \sum_i a_i^+, \qquad
              \mu_w = \mu \, F / |M| \text{ (weighted)}

    Higher is better, within [0, 1], or within [0, F / |M|] if weighted, where 1 is chance. NaN for
    an empty mask and for a map without positive attribution. Unweighted, it equals
    `RelevanceMassAccuracy`.

    Args:
      weighted: divide by the fraction of features in the object, |M| / F.

    Outcome: score [].
    """

    family = "localisation"
    direction = "higher"
    needs = frozenset({"mask"})
    takes_padding = True
    reference = "Kohlbrenner et al. 2020, Towards best practice in explaining with LRP, IJCNN"

    weighted: bool = static(False)

    def __post_init__(self) -> None:
        super().__post_init__()
        check.one_of(self, "weighted", (True, False))

    def reduce(self, sample: Sample, reference: Answer, measured: Any, valid: Any) -> Outcome:
        given = sample.a, sample.mask, self.weighted, sample.where
        return Outcome(score=attribution_localisation(*given))
