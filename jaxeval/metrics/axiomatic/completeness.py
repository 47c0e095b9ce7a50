"""Completeness: does the attribution add up to what the output gained over the baseline?"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from ... import check, ops
from ...metric import DirectionBy, Metric
from ...perturb import Blank
from ...types import Answer, Outcome, Query, Sample, pytree, static


def completeness(
    a: Float[Array, "*features"], gain: Float[Array, ""], relative: bool = False
) -> Float[Array, ""]:
    """|sum a - gain|, gain = f(x) - f(b); `relative`: over |gain|, NaN where that is 0.

    >>> import jax.numpy as jnp
    >>> float(completeness(jnp.array([1.0, 2.0]), jnp.array(4.0), relative=True))
    0.25
    """
    gap = jnp.abs(a.sum() - gain)
    if relative:
        gap = jnp.where(gain == 0, jnp.nan, gap / jnp.where(gain == 0, 1, jnp.abs(gain)))
    return gap


@pytree
class Completeness(Metric):
    r"""Distance of the attribution's sum from the gain of the output over the baseline.

    .. math:: \Big| \sum_i a_i - (f(x) - f(b)) \Big|

    Lower is better, 0 at best. Maps are not normalised by default, and f is the logit; of a model
    that gives none, its own number. NaN only for `relative` where f(x) = f(b).

    Args:
      baseline: b, see `jaxeval.ops.baseline`: the one that the explainer used.
      relative: divide by |f(x) - f(b)|.
      satisfied: score 1 where the distance is at most `tolerance`, else 0 (higher is better).
      tolerance: in units of the output, or relative.

    Outcome: score [].
    """

    family = "axiomatic"
    direction = DirectionBy("satisfied", "lower", **{"True": "higher"})
    asks = frozenset({"output"})
    takes_padding = True
    reference = "Sundararajan et al. 2017, Axiomatic attribution for deep networks, ICML"

    normalise: str | None = static(None)
    output: Any = static("logit")
    baseline: Any = "black"
    relative: bool = static(False)
    satisfied: bool = static(False)
    tolerance: Any = 1e-3

    def __post_init__(self) -> None:
        super().__post_init__()
        check.baseline(self, "baseline", ops.BASELINES)
        check.one_of(self, "relative", (True, False))
        check.one_of(self, "satisfied", (True, False))
        check.real(self, "tolerance", least=0)

    def questions(self) -> Blank:
        return Blank(baseline=self.baseline)

    def measure(self, sample: Sample, reference: Answer, query: Query, answer: Answer) -> Any:
        return self.drop(reference, answer, sample.y)

    def reduce(self, sample: Sample, reference: Answer, measured: Any, valid: Any) -> Outcome:
        gap = completeness(sample.a, measured[0], self.relative)
        if not self.satisfied:
            return Outcome(score=gap)
        kept = (gap <= self.tolerance).astype(gap.dtype)
        return Outcome(score=jnp.where(jnp.isnan(gap), jnp.nan, kept))
