"""AIC: how much of an image, most relevant first, must be shown for a correct prediction?"""

from __future__ import annotations

from typing import Any

from jaxtyping import Array, Float

from ... import ops
from ...types import Answer, Sample, pytree
from ..shares import InformationCurve


def aic(
    right: Float[Array, " S+1"], sizes: Float[Array, " S+1"]
) -> tuple[Float[Array, ""], Float[Array, " S+1"]]:
    """(area, curve) of the accuracy over the information shown, given compressed sizes.

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

    x_0 is x blurred; x_s shows the first k_s = floor(F s / S) features of x, the most relevant
    first. H estimates the information of an image by its compressed size: quantised to 8 bits
    between the minimum and maximum of x, with PNG's Paeth filter and ideal entropy coding
    (`jaxeval.ops.code_length`). h is clipped to [0, 1] and made non-decreasing by a running
    maximum; the area uses the trapezoidal rule. Higher is better, within [0, 1]. NaN unless
    H(x) > H(x_0). Shares its questions with `Insertion` and `SIC`.

    Args:
      n_steps: S, at most the number of features F; None: F. Ignored with `features_in_step`.
      features_in_step: m, features per step, instead of `n_steps`: k_s = min(m s, F).
      baseline: the values of features that are not shown, see `jaxeval.ops.baseline`.
      tolerance: none is taken: every step has to measure the information shown.

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
