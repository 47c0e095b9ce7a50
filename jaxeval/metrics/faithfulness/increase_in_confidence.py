"""Increase in confidence: does the output rise when the input is masked by its map?"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from ...metric import Metric
from ...perturb import SoftMask
from ...types import Answer, Outcome, Query, Sample, pytree


def increase_in_confidence(drop: Float[Array, ""]) -> Float[Array, ""]:
    """1 if the drop f(x) - f(x m) is negative, else 0.

    >>> import jax.numpy as jnp
    >>> float(increase_in_confidence(jnp.array(-0.1)))
    1.0
    """
    return (drop < 0).astype(jnp.float32)


@pytree
class IncreaseInConfidence(Metric):
    r"""Whether the output rises when the input is multiplied by its map.

    .. math:: 1[f(x \odot m) > f(x)], \quad m = \frac{a - \min a}{\max a - \min a}

    Higher is better; usually reported as the mean over samples. Never NaN. Shares its question with
    `AverageDrop` and `ADCC`.

    Outcome: score [].
    """

    family = "faithfulness"
    direction = "higher"
    asks = frozenset({"output"})
    takes_padding = True
    reference = "Chattopadhay et al. 2018, Grad-CAM++, WACV"

    def questions(self) -> SoftMask:
        return SoftMask()

    def measure(self, sample: Sample, reference: Answer, query: Query, answer: Answer) -> Any:
        return self.drop(reference, answer, sample.y)

    def reduce(self, sample: Sample, reference: Answer, measured: Any, valid: Any) -> Outcome:
        return Outcome(score=increase_in_confidence(measured[0]))
