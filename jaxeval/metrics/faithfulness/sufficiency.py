"""Sufficiency: do samples with similar explanations have the same prediction?"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int, Real

from ... import check
from ...metric import Metric
from ...types import Answer, Outcome, Sample, pytree

BLOCK = 2**23
"""Maximum number of distances in memory at a time."""


def sufficiency(
    a: Real[np.ndarray, "N F"], labels: Int[np.ndarray, " N"], threshold: float
) -> Float[np.ndarray, " N"]:
    """For each map, the fraction of the other maps near it that have the same label.

    Near: a standardised Euclidean distance of at most `threshold` times the largest one in the data
    set; NaN if no map is near. On the host, in float64.

    >>> import numpy as np
    >>> a = np.array([[0.0], [1.0], [2.0], [10.0]])
    >>> sufficiency(a, np.array([0, 0, 1, 1]), 0.2).tolist()
    [0.5, 0.5, 0.0, nan]
    """
    a = np.asarray(a, np.float64).reshape(len(a), -1)
    a = a[:, np.ptp(a, 0) > 0]
    a = (a - a.mean(0)) / a.std(0)
    squares = (a**2).sum(1)

    def distances(rows: slice) -> np.ndarray:
        d = squares[rows, None] + squares[None] - 2 * a[rows] @ a.T
        return np.sqrt(np.maximum(d, 0))

    n, step = len(a), max(1, BLOCK // len(a))
    blocks = [slice(start, min(start + step, n)) for start in range(0, n, step)]
    # The factor absorbs rounding: d(i, j) and d(j, i) may differ in the last digits.
    limit = threshold * max(distances(rows).max() for rows in blocks) * (1 + 1e-9)
    same = np.zeros(n)
    near = np.zeros(n)
    for rows in blocks:
        others = (distances(rows) <= limit) & (np.arange(n) != np.arange(n)[rows, None])
        near[rows] = others.sum(1)
        same[rows] = (others & (labels[rows, None] == labels[None])).sum(1)
    return np.where(near > 0, same / np.maximum(near, 1), np.nan)


@pytree
class Sufficiency(Metric):
    r"""Fraction of the samples with similar explanations that have the same predicted class.

    .. math:: \frac{|\{ j \in B_i : c_j = c_i \}|}{|B_i|}, \quad
              B_i = \{ j \ne i : d(a_i, a_j) \le t \max_{k, l} d(a_k, a_l) \}

    c is the predicted class and d the Euclidean distance of the maps after standardising each
    feature over the data set; constant features are omitted. All pairs of samples of the data set
    are compared. Higher is better, within [0, 1]. NaN if no other map is near.

    Args:
      threshold: t, as a fraction of the largest distance in the data set, in [0, 1].

    Outcome: score [].
    """

    family = "faithfulness"
    direction = "higher"
    asks = frozenset({"output"})
    of_classes = True
    reference = "Dasgupta et al. 2022, Framework for evaluating faithfulness of explanations, ICML"

    threshold: Any = 0.6

    def __post_init__(self) -> None:
        super().__post_init__()
        check.real(self, "threshold", least=0, most=1)

    def reduce(self, sample: Sample, reference: Answer, measured: Any, valid: Any) -> Outcome:
        record = {"a": sample.a.ravel(), "label": reference.predicted}
        return Outcome(score=jnp.float32(jnp.nan), record=record)

    def aggregate(self, outcome: Outcome) -> Outcome:
        a, labels = outcome.record["a"], outcome.record["label"]
        score = sufficiency(a, labels, float(self.threshold))
        return Outcome(score=score.astype(np.float32))
