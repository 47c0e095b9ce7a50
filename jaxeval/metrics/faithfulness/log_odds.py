"""Log-odds: how far does the log-probability fall without the top-ranked tokens?"""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Array, Float

from ... import check, ops
from ...metric import Metric
from ...perturb import RankedDeletion
from ...perturb.base import at_count, feature_counts
from ...types import Answer, Outcome, Query, Sample, pytree, static
from ..shares import share_of


def log_odds(drop: Float[Array, ""]) -> Float[Array, ""]:
    """log p(x without the top k) - log p(x), given the drop of the log-probability.

    >>> import jax.numpy as jnp
    >>> print(log_odds(jnp.array(0.5)))
    -0.5
    """
    return -drop


@pytree
class LogOdds(Metric):
    r"""Change of the log-probability without the top-ranked share of the features.

    .. math:: \log p(x_{\text{top } k \to b}) - \log p(x), \quad k = \lceil \rho F \rceil

    Ties go to the first. Lower is better. Never NaN.

    Args:
      share: rho, the share of the features that is removed.
      baseline: b, as for `AOPCComprehensiveness`.

    Outcome: score [].
    """

    family = "faithfulness"
    direction = "lower"
    asks = frozenset({"output"})
    takes_padding = True
    of_classes = True
    reference = "Shrikumar et al. 2017, Learning important features, ICML"

    output: Any = static("log_probability")
    share: float = static(0.2)
    baseline: Any = "black"

    def __post_init__(self) -> None:
        super().__post_init__()
        check.real(self, "share", above=0, most=1)
        object.__setattr__(self, "share", float(self.share))
        check.baseline(self, "baseline", ops.BASELINES)

    def questions(self) -> RankedDeletion:
        return RankedDeletion(steps=None, baseline=self.baseline)

    def chosen(self, counts: np.ndarray, n_steps: int) -> np.ndarray:
        return share_of(self.share, counts)[:, None] - 1 == np.arange(n_steps)

    def measure(self, sample: Sample, reference: Answer, query: Query, answer: Answer) -> Any:
        return self.drop(reference, answer, sample.y)

    def reduce(self, sample: Sample, reference: Answer, measured: Any, valid: Any) -> Outcome:
        k = at_count(sample, share_of(self.share, feature_counts(sample)))
        return Outcome(score=log_odds(measured[k - 1]))
