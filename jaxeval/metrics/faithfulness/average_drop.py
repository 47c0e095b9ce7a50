"""Average drop: how much of the output is lost when the input is masked by its map?"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from ... import ops
from ...metric import Metric
from ...perturb import SoftMask
from ...types import Answer, Outcome, Query, Sample, pytree


def average_drop(drop: Float[Array, ""]) -> Float[Array, ""]:
    """max(0, drop), for the relative drop (f(x) - f(x m)) / f(x).

    >>> import jax.numpy as jnp
    >>> float(average_drop(jnp.array(0.25))), float(average_drop(jnp.array(-0.25)))
    (0.25, 0.0)
    """
    return jnp.maximum(drop, 0)


@pytree
class AverageDrop(Metric):
    r"""Fraction of the output that is lost when the input is multiplied by its map.

    .. math:: \frac{\max(0, \; f(x) - f(x \odot m))}{f(x)}, \quad
              m = \frac{a - \min a}{\max a - \min a}

    Lower is better, within [0, 1] for probabilities. NaN if f(x) <= 0 (possible for logits). The
    paper reports the mean over samples. Shares its question with `IncreaseInConfidence` and `ADCC`.

    Outcome: score [].
    """

    family = "faithfulness"
    direction = "lower"
    asks = frozenset({"output"})
    takes_padding = True
    reference = "Chattopadhay et al. 2018, Grad-CAM++, WACV"

    def questions(self) -> SoftMask:
        return SoftMask()

    def measure(self, sample: Sample, reference: Answer, query: Query, answer: Answer) -> Any:
        return ops.relative_drop(reference.logits, answer.logits, sample.y, self.output)

    def reduce(self, sample: Sample, reference: Answer, measured: Any, valid: Any) -> Outcome:
        return Outcome(score=average_drop(measured[0]))
