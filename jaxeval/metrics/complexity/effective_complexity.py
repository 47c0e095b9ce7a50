"""Effective complexity: how many features have a non-negligible attribution?"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from ... import check
from ...metric import Metric
from ...types import Answer, Outcome, Sample, pytree


def effective_complexity(a: Float[Array, "*features"], eps: Any = 1e-5) -> Float[Array, ""]:
    """The number of features with |a_i| > eps.

    >>> import jax.numpy as jnp
    >>> float(effective_complexity(jnp.array([0.0, 1e-6, -0.5, 1.0])))
    2.0
    """
    return (jnp.abs(a) > eps).sum().astype(jnp.float32)


@pytree
class EffectiveComplexity(Metric):
    r"""Number of features whose absolute attribution exceeds a threshold.

    .. math:: |\{ i : |a_i| > \epsilon \}|

    for the normalised map. Lower is better, within [0, F]. Never NaN.

    Args:
      eps: epsilon.

    Outcome: score [].
    """

    family = "complexity"
    direction = "lower"
    takes_padding = True
    reference = "Nguyen and Martinez 2020, On quantitative aspects of model interpretability"

    eps: Any = 1e-5

    def __post_init__(self) -> None:
        super().__post_init__()
        check.real(self, "eps", least=0)

    def reduce(self, sample: Sample, reference: Answer, measured: Any, valid: Any) -> Outcome:
        return Outcome(score=effective_complexity(sample.a, self.eps))
