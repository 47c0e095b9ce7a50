"""Completeness: does the attribution sum to the difference of the outputs for x and baseline?"""

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
    """|sum a - gain|, gain = f(x) - f(b); `relative`: divided by |gain|, NaN if that is 0.

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
    r"""Deviation of the sum of attributions from the difference of outputs for x and the baseline.

    .. math:: \Big| \sum_i a_i - (f(x) - f(b)) \Big|

    Lower is better, 0 is optimal. Maps are not normalised by default. f is the logit by default,
    or the model's own output if it has no logits. NaN only with `relative` and f(x) = f(b).

    Args:
      baseline: b, see `jaxeval.ops.baseline`; should be the baseline that the explainer uses.
      relative: divide by |f(x) - f(b)|.
      satisfied: score 1 if the deviation is at most `tolerance`, else 0 (higher is better).
      tolerance: in units of the output; with `relative`, a fraction.

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
