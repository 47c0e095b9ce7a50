"""IROF: how far does the output drop as superpixels are removed, most relevant first?"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ... import check, ops
from ...perturb import RankedSegments
from ...types import Answer, Outcome, Query, Sample, pytree, static
from ..bases import Area, exact


def irof(drops: Float[Array, " S"], valid: Bool[Array, " S"]) -> Float[Array, ""]:
    """The area over the curve of f(x_k) / f(x), k = 0..L, on [0, 1] (trapezoidal rule).

    `drops` are the relative drops 1 - f(x_k) / f(x) for k = 1..S; the first L are valid.

    >>> import jax.numpy as jnp
    >>> drops = jnp.array([0.5, 1.0, jnp.nan])
    >>> float(irof(drops, jnp.array([True, True, False])))
    0.5
    """
    n = valid.sum()
    drops = jnp.where(valid, drops, 0)
    return (drops.sum() - drops[n - 1] / 2) / n


@pytree
class IROF(Area):
    r"""Iterative removal of features: area over the relative output as superpixels are removed.

    .. math:: 1 - \frac{1}{L} \sum_{k=1}^{L} \frac{r_{k-1} + r_k}{2}, \quad
              r_k = \frac{f(x_k)}{f(x)}

    x_k is x with the first k of L superpixels, in the order of their mean attribution, set to the
    baseline. By default, SLIC computes superpixels on the host, once per image (requires
    scikit-image); alternatively, provide them as ``extras={"segments": ids}``, integers
    [N, *space] below 2 n_segments. Higher is better. NaN if f(x) <= 0 (possible for logits).

    Args:
      n_segments: approximate number of superpixels for SLIC.
      compactness: SLIC's weight of spatial proximity relative to colour proximity.
      baseline: see `jaxeval.ops.baseline`; random ones are drawn once per sample, "uniform_value"
        once per step.
      tolerance: ask only the steps that the area needs to be this close to that of all, see
        `jaxeval.evaluate`; None: all.

    Raises:
      ImportError: when it is evaluated without scikit-image and without segments.

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
        return exact(irof(measured, valid))
