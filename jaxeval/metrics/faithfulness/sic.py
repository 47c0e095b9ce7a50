"""SIC: how much of an image, most relevant first, must be shown for the output to come back?"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from ... import ops
from ...types import Answer, Sample, pytree
from ..bases import InformationCurve


def sic(
    shares: Float[Array, " S+1"], sizes: Float[Array, " S+1"]
) -> tuple[Float[Array, ""], Float[Array, " S+1"]]:
    """(area, curve) of shares of the output over the information shown, from code sizes.

    >>> import jax.numpy as jnp
    >>> area, curve = sic(jnp.array([0.0, 1.0, 1.0]), jnp.array([10.0, 14.0, 18.0]))
    >>> float(area), curve.tolist()
    (0.75, [0.0, 1.0, 1.0])
    """
    return ops.information_curve(jnp.clip(shares, 0, 1), sizes)


@pytree
class SIC(InformationCurve):
    r"""Softmax information curve: area under the output's share over the information shown.

    .. math:: \int_0^1 \min\big(1, \tfrac{f(x_h)}{f(x)}\big) \, dh, \quad
              h_s = \frac{H(x_s) - H(x_0)}{H(x) - H(x_0)}

    x_0 is x blurred, x_s has its first k_s = floor(F s / S) features sharp, the most relevant
    first, and H is the size of the image's code, an estimate of its information: the bits of an
    ideal entropy coder behind PNG's Paeth filter, of 8 bits between the extremes of x
    (`jaxeval.ops.code_length`). h is cut to [0, 1] and to never fall along the order; the area is
    that of the trapezoids. Higher is better, within [0, 1]. NaN where x_0 has no smaller code
    than x, and where f(x) is not above 0 (a logit may be).
    Shares its questions with `Insertion` and `AIC`.

    Args:
      n_steps: S, cut to the number of features F. Ignored with `features_in_step`.
      features_in_step: m instead of n_steps: k_s = min(m s, F).
      baseline: what is in place of the features not shown, see `jaxeval.ops.baseline`.

    Outcome: score []; curve [S + 1], at even steps of h.
    """

    family = "faithfulness"
    direction = "higher"
    asks = frozenset({"output"})
    reference = "Kapishnikov et al. 2019, XRAI: Better attributions through regions, ICCV"

    def shown(self, sample: Sample, reference: Answer, answer: Answer) -> Any:
        return 1 - ops.relative_drop(reference.logits, answer.logits, sample.y, self.output)

    def area(self, outputs: Any, sizes: Any) -> Any:
        return sic(outputs, sizes)
