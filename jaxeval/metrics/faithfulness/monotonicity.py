"""Monotonicity: does the output never drop as features are inserted, least relevant first?"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ... import check, ops
from ...perturb import RankedDeletion
from ...types import Answer, Outcome, Query, Sample, pytree, static
from ..bases import Ranked

ROUNDING = 16
"""Tolerance for equal outputs, in units in the last place."""


def monotonicity(
    curve: Float[Array, " S+1"], strict: bool = False, where: Bool[Array, " S+1"] | None = None
) -> Float[Array, ""]:
    """The fraction of the S steps that do not lower the curve; `strict`: 1 if none does, else 0.

    >>> import jax.numpy as jnp
    >>> float(monotonicity(jnp.array([0.0, 1.0, 0.5]))), float(monotonicity(jnp.arange(3.0), True))
    (0.5, 1.0)
    """
    size = jnp.maximum(jnp.abs(curve[1:]), jnp.abs(curve[:-1]))
    kept = jnp.diff(curve) >= -ROUNDING * jnp.finfo(curve.dtype).eps * size
    steps = None if where is None else where[1:]
    kept = kept.all(where=steps) if strict else kept.mean(where=steps)
    return kept.astype(curve.dtype)


@pytree
class Monotonicity(Ranked):
    r"""Fraction of the steps from the baseline to x, least relevant first, that do not lower f.

    .. math:: \frac{1}{S} \sum_{s=1}^{S} 1[f(x_s) \ge f(x_{s-1})],
              \quad x_s = b_{\text{lowest } k_s \text{ of } |a| \to x}

    x_0 is the baseline and x_S the input. A step counts as lowering f if the drop exceeds rounding
    errors (16 units in the last place); probabilities are compared by their logarithms, which
    float32 resolves near 1, too. Higher is better, within [0, 1]. Never NaN.

    Args:
      n_steps: S, at most the number of features F; None: F. Ignored with `features_in_step`.
      features_in_step: m, features per step, instead of `n_steps`: k_s = min(m s, F).
      strict: score 1 if no step lowers f, else 0.
      baseline: b, see `jaxeval.ops.baseline`; random ones are drawn once per sample,
        "uniform_value" once per step.

    Outcome: score [].
    """

    family = "faithfulness"
    direction = "higher"
    asks = frozenset({"output"})
    takes_padding = True
    reference = "Arya et al. 2019, One explanation does not fit all"

    absolute: bool = static(True)
    strict: bool = static(False)

    def __post_init__(self) -> None:
        super().__post_init__()
        check.one_of(self, "strict", (True, False))

    def questions(self) -> RankedDeletion:
        return self.ranked(order="lerf", insert=True)

    def value(self, answer: Answer, y: Any) -> Any:
        output = "log_probability" if self.output == "probability" else self.output
        return ops.value(answer.logits, y, output)

    def measure(self, sample: Sample, reference: Answer, query: Query, answer: Answer) -> Any:
        return self.value(answer, sample.y)

    def reduce(self, sample: Sample, reference: Answer, measured: Any, valid: Any) -> Outcome:
        whole = self.value(reference, sample.y)
        curve, where = ops.append(measured, whole, sample.step_mask(valid))
        return Outcome(score=monotonicity(curve, self.strict, where))
