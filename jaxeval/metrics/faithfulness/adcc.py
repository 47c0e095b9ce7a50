"""ADCC: average drop, coherency and complexity in one number."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from ... import ops
from ...metric import Metric
from ...perturb import SoftMask
from ...types import Answer, Outcome, Query, Sample, pytree


def adcc(
    coherency: Float[Array, ""], complexity: Float[Array, ""], drop: Float[Array, ""]
) -> Float[Array, ""]:
    """The harmonic mean of coherency, 1 - complexity and 1 - drop, each within [0, 1].

    0 if one of the three is 0.

    >>> import jax.numpy as jnp
    >>> round(float(adcc(jnp.array(1.0), jnp.array(0.5), jnp.array(0.5))), 4)
    0.6
    """
    parts = jnp.stack([coherency, 1 - complexity, 1 - drop])
    zero = parts <= 0
    mean = 3 / (1 / jnp.where(zero, 1, parts)).sum()
    return jnp.where(zero.any(), 0 * parts.sum(), mean)


@pytree
class ADCC(Metric):
    r"""Harmonic mean of coherency, one minus complexity and one minus average drop.

    .. math:: 3 \Big( \frac{1}{\text{coh}} + \frac{1}{1 - \text{com}} + \frac{1}{1 - \text{drop}}
              \Big)^{-1}, \quad m = \frac{a - \min a}{\max a - \min a}

    coh: the Pearson correlation of the maps of x and x m, rescaled from [-1, 1] to [0, 1]; com: the
    mean of m; drop: as in `AverageDrop`. Higher is better, within [0, 1]; 0 if one part is 0. NaN
    if the correlation is undefined (a constant map) or f(x) <= 0.

    Outcome: score [].
    """

    family = "faithfulness"
    direction = "higher"
    asks = frozenset({"output", "attribution"})
    takes_padding = True
    reference = "Poppi et al. 2021, Revisiting the evaluation of class activation mapping, CVPRW"

    def questions(self) -> SoftMask:
        return SoftMask()

    def measure(self, sample: Sample, reference: Answer, query: Query, answer: Answer) -> Any:
        coherency = (1 + ops.pearson(sample.a, answer.attribution, sample.where)) / 2
        drop = ops.relative_drop(reference.logits, answer.logits, sample.y, self.output)
        return jnp.stack([coherency, jnp.maximum(drop, 0)])

    def reduce(self, sample: Sample, reference: Answer, measured: Any, valid: Any) -> Outcome:
        coherency, drop = measured[0]
        complexity = ops.unit_range(sample.a, sample.where).mean(where=sample.where)
        return Outcome(score=adcc(coherency, complexity, drop))
