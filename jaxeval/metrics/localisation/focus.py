"""Focus: in a mosaic of images, is the attribution on the tiles of the explained class?"""

from __future__ import annotations

from typing import Any

from jaxtyping import Array, Bool, Float

from ... import ops
from ...metric import Metric
from ...types import Answer, Outcome, Sample, pytree


def focus(a: Float[Array, "*features"], mask: Bool[Array, "*features"]) -> Float[Array, ""]:
    """The share of the positive attribution that lies on the tiles of the target class.

    NaN for an empty mask and for a map without positive attribution.

    >>> import jax.numpy as jnp
    >>> float(focus(jnp.array([3.0, 1.0, -2.0]), jnp.array([True, False, True])))
    0.75
    """
    return ops.mass_inside(a, mask)


@pytree
class Focus(Metric):
    r"""Share of the positive attribution that lies on the tiles of the explained class.

    .. math:: \sum_{i \in \text{target tiles}} a_i^+ \Big/ \sum_i a_i^+

    `jaxeval.data.mosaic` builds 2 x 2 mosaics, their classes and the mask of the target tiles.
    Higher is better, within [0, 1]; 0.5 is chance for two target tiles of four. NaN for an empty
    mask and for a map without positive attribution.

    Outcome: score [].
    """

    family = "localisation"
    direction = "higher"
    needs = frozenset({"mask"})
    takes_padding = True
    reference = "Arias-Duart et al. 2022, Focus! Rating XAI methods and finding biases, FUZZ-IEEE"

    def reduce(self, sample: Sample, reference: Answer, measured: Any, valid: Any) -> Outcome:
        return Outcome(score=focus(sample.a, sample.mask))
