"""AIC: how much of an image, most relevant first, must be shown for the class to be right?"""

from __future__ import annotations

from typing import Any

from jaxtyping import Array, Float

from ... import ops
from ...types import Answer, Sample, pytree
from ..bases import InformationCurve


def aic(
    right: Float[Array, " S+1"], sizes: Float[Array, " S+1"]
) -> tuple[Float[Array, ""], Float[Array, " S+1"]]:
    """(area, curve) of whether the class is right over the information shown, from code sizes.

    >>> import jax.numpy as jnp
    >>> area, curve = aic(jnp.array([0.0, 1.0, 1.0]), jnp.array([10.0, 14.0, 18.0]))
    >>> float(area), curve.tolist()
    (0.75, [0.0, 1.0, 1.0])
    """
    return ops.information_curve(right, sizes)


@pytree
class AIC(InformationCurve):
    r"""Accuracy information curve: area under the accuracy over the information shown.

    .. math:: \int_0^1 1[\operatorname{argmax} z(x_h) = y] \, dh, \quad
              h_s = \frac{H(x_s) - H(x_0)}{H(x) - H(x_0)}

    x_0 is x blurred, x_s has its first k_s = floor(F s / S) features sharp, the most relevant
    first, and H is the size of the image's code, an estimate of its information: the bits of an
    ideal entropy coder behind PNG's Paeth filter, of 8 bits between the extremes of x
    (`jaxeval.ops.code_length`). h is cut to [0, 1] and to never fall along the order; the area is
    that of the trapezoids. Higher is better, within [0, 1]. NaN where x_0 has no smaller code
    than x.
    Shares its questions with `Insertion` and `SIC`.

    Args:
      n_steps: S, cut to the number of features F. Ignored with `features_in_step`.
      features_in_step: m instead of n_steps: k_s = min(m s, F).
      baseline: what is in place of the features not shown, see `jaxeval.ops.baseline`.

    Outcome: score []; curve [S + 1], at even steps of h.
    """

    family = "faithfulness"
    direction = "higher"
    asks = frozenset({"output"})
    of_classes = True
    reference = "Kapishnikov et al. 2019, XRAI: Better attributions through regions, ICCV"

    def shown(self, sample: Sample, reference: Answer, answer: Answer) -> Any:
        return answer.predicted == sample.y

    def area(self, outputs: Any, sizes: Any) -> Any:
        return aic(outputs, sizes)
