"""Random logit: is the explanation for another class the same?"""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Array, Float

from ... import ops
from ...metric import Metric
from ...perturb import OtherClass
from ...types import Answer, Outcome, Query, Sample, pytree


def random_logit(
    a: Float[Array, "*features"], other: Float[Array, "*features"], channel_axis: int | None = 0
) -> Float[Array, ""]:
    """The SSIM of two maps, see `jaxeval.ops.ssim`; NaN if both are constant.

    >>> import jax.numpy as jnp
    >>> a = jnp.arange(64.0).reshape(8, 8)
    >>> round(float(random_logit(a, a)), 4)
    1.0
    """
    return ops.ssim(a, other, channel_axis=channel_axis)


@pytree
class RandomLogit(Metric):
    r"""SSIM of the explanations for y and for a random other class.

    .. math:: \operatorname{SSIM}(\phi(x, y), \phi(x, y')), \quad y' \ne y

    Lower is better, at most 1. NaN if both maps are constant.

    Args:
      draws: the other class, [N] or [] (one for all samples).

    Outcome: score [].
    """

    family = "randomisation"
    direction = "lower"
    asks = frozenset({"attribution"})
    reference = "Sixt et al. 2020, When explanations lie: why many modified BP attributions fail"

    draws: Any = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.draws is not None and np.ndim(self.draws) > 1:
            raise ValueError(
                f"RandomLogit(draws=...): must be classes [N] or one for all, got the shape "
                f"{np.shape(self.draws)}"
            )

    def questions(self) -> OtherClass:
        return OtherClass(draws=self.draws)

    def measure(self, sample: Sample, reference: Answer, query: Query, answer: Answer) -> Any:
        return random_logit(sample.a, answer.attribution, sample.map_channel_axis)

    def reduce(self, sample: Sample, reference: Answer, measured: Any, valid: Any) -> Outcome:
        return Outcome(score=measured[0])
