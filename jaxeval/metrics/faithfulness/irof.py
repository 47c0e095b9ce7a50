"""IROF: how far does the output fall as superpixels go, the top-ranked first?"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ... import check, ops
from ...metric import Metric
from ...perturb import RankedSegments
from ...types import Answer, Outcome, Query, Sample, pytree, static


def irof(drops: Float[Array, " S"], valid: Bool[Array, " S"]) -> Float[Array, ""]:
    """The area over the curve of f(x_k) / f(x), k = 0..L, on [0, 1]: 1 minus the trapezoids.

    `drops` are the relative drops 1 - f(x_k) / f(x) for k = 1..S, of which the first L are valid.

    >>> import jax.numpy as jnp
    >>> drops = jnp.array([0.5, 1.0, jnp.nan])
    >>> float(irof(drops, jnp.array([True, True, False])))
    0.5
    """
    n = valid.sum()
    drops = jnp.where(valid, drops, 0)
    return (drops.sum() - drops[n - 1] / 2) / n


@pytree
class IROF(Metric):
    r"""Iterative removal of features: area over the output's share as superpixels go.

    .. math:: 1 - \frac{1}{L} \sum_{k=1}^{L} \frac{r_{k-1} + r_k}{2}, \quad
              r_k = \frac{f(x_k)}{f(x)}

    x_k is x with its first k of L superpixels, in the order of their mean attribution, at the
    baseline. They are made by SLIC on the host (which needs scikit-image), once per image; or give
    your own as ``extras={"segments": ids}``, whole numbers [N, *space] below 2 n_segments.
    Higher is better. NaN where f(x) is not above 0 (a logit may be).

    Args:
      n_segments: how many superpixels to ask for; SLIC makes about as many.
      compactness: SLIC's weight of nearness in space against nearness in colour.
      baseline: see `jaxeval.ops.baseline`; a random one is drawn once per sample, but
        "uniform_value" for each step.

    Raises:
      ImportError: when it is run without scikit-image and without segments.

    Outcome: score [].
    """

    family = "faithfulness"
    direction = "higher"
    asks = frozenset({"output"})
    reference = "Rieger and Hansen 2020, IROF: a low resource evaluation metric, ICLR workshop"

    n_segments: int = static(100)
    compactness: Any = 10.0
    baseline: Any = "channel_mean"

    def __post_init__(self) -> None:
        super().__post_init__()
        check.integer(self, "n_segments", least=2)
        check.real(self, "compactness", above=0)
        check.baseline(self, "baseline", ops.BASELINES)

    def questions(self) -> RankedSegments:
        return RankedSegments(
            n_segments=self.n_segments, compactness=self.compactness, baseline=self.baseline
        )

    def measure(self, sample: Sample, reference: Answer, query: Query, answer: Answer) -> Any:
        return ops.relative_drop(reference.logits, answer.logits, sample.y, self.output)

    def reduce(self, sample: Sample, reference: Answer, measured: Any, valid: Any) -> Outcome:
        return Outcome(score=irof(measured, valid))
