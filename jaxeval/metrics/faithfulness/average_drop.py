"""Average drop: how much of the output is lost when only what the map shows is kept?"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from ...metric import Metric
from ...perturb import SoftMask
from ...types import Answer, Outcome, Query, Sample, pytree


def average_drop(drop: Float[Array, ""], value: Float[Array, ""]) -> Float[Array, ""]:
    """max(0, drop) / value, for drop = f(x) - f(x m) and value = f(x); NaN where f(x) is 0.

    >>> import jax.numpy as jnp
    >>> float(average_drop(jnp.array(0.2), jnp.array(0.8)))
    0.25
    """
    return jnp.where(value == 0, jnp.nan, jnp.maximum(drop, 0) / jnp.where(value == 0, 1, value))


@pytree
class AverageDrop(Metric):
    r"""Share of the output that is lost when the input is multiplied by its map.

    .. math:: \frac{\max(0, \; f(x) - f(x \odot m))}{f(x)}, \quad
              m = \frac{a - \min a}{\max a - \min a}

    Lower is better, within [0, 1] for probabilities. NaN where f(x) = 0. Meant for outputs that
    are not negative. Shares its question with `IncreaseInConfidence` and `ADCC`.

    Outcome: score [].
    """

    family = "faithfulness"
    direction = "lower"
    asks = frozenset({"output"})
    reference = "Chattopadhay et al. 2018, Grad-CAM++, WACV"

    def questions(self) -> SoftMask:
        return SoftMask()

    def measure(self, sample: Sample, reference: Answer, query: Query, answer: Answer) -> Any:
        return self.drop(reference, answer, sample.y)

    def reduce(self, sample: Sample, reference: Answer, measured: Any, valid: Any) -> Outcome:
        return Outcome(score=average_drop(measured[0], self.value(reference, sample.y)))
