"""Pixel flipping: how fast does the output drop as features are removed, most relevant first?"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ... import check, ops
from ...metric import DirectionBy
from ...perturb import RankedDeletion
from ...perturb.base import REMOVAL_ORDERS
from ...types import Answer, Outcome, Sample, pytree, static
from ..bases import Area, Ranked


def pixel_flipping(
    curve: Float[Array, " S"], where: Bool[Array, " S"] | None = None
) -> Float[Array, ""]:
    """The area under f(x_1), ..., f(x_S), evenly spaced on [0, 1] (trapezoidal rule).

    >>> import jax.numpy as jnp
    >>> float(pixel_flipping(jnp.array([1.0, 0.5, 0.0])))
    0.5
    """
    return ops.area(curve, where)


@pytree
class PixelFlipping(Area, Ranked):
    r"""Area under the output as features are set to the baseline, the most relevant first.

    .. math:: c_s = f(x_{\text{top } k_s \to b}), \quad k_s = \lfloor F s / S \rfloor,
              \quad s = 1 \dots S

    Lower is better for order "morf" (most relevant first), higher for "lerf" (least relevant
    first); "random" is a control that ignores the attribution. f(x) itself is not part of the
    curve, so the score depends on S: on digits of 64 pixels it was lower with 32 steps than with
    all by .011. ``n_steps=None`` asks about all features. Never NaN.

    Args:
      n_steps: S, at most the number of features F; None: F. Ignored with `features_in_step`.
      features_in_step: m, features per step, instead of `n_steps`: k_s = min(m s, F).
      order: "morf", "lerf" or "random".
      draws: the random order: feature indices [F] or [N, F].
      baseline: b, see `jaxeval.ops.baseline`; random ones are drawn once per sample,
        "uniform_value" once per step.
      tolerance: ask only the steps that the area needs to be this close to that of all, see
        `jaxeval.evaluate`; None: all.

    Outcome: score []; error [], from the features between steps; curve [S].
    """

    family = "faithfulness"
    direction = DirectionBy("order", "lower", lerf="higher")
    asks = frozenset({"output"})
    takes_padding = True
    reference = "Bach et al. 2015, On pixel-wise explanations, PLOS ONE"

    order: str = static("morf")
    draws: Any = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check.one_of(self, "order", REMOVAL_ORDERS)

    def questions(self) -> RankedDeletion:
        return self.ranked(order=self.order, draws=self.draws)

    def reduce(self, sample: Sample, reference: Answer, measured: Any, valid: Any) -> Outcome:
        score = pixel_flipping(measured, sample.step_mask(valid))
        points = jnp.concatenate([self.value(reference, sample.y)[None], measured])
        return self.of_curve(sample, score, measured, points, valid)
