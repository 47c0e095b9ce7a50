"""Consistency: do inputs with the same explanation have the same predicted class?"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Integer

from ... import check, ops
from ...metric import Metric
from ...shown import count
from ...types import Answer, Outcome, Sample, pytree, static

DISCRETISATIONS = ("top_n_sign", "sign", "rank", "round")


def consistency(codes: Any, predicted: Any) -> np.ndarray:
    """The fraction [N] of other samples with the same code [N, ...] and also the same prediction.

    NaN for a code that no other sample has. In NumPy.

    >>> consistency([7, 7, 7, 8], [0, 0, 1, 1]).tolist()
    [0.5, 0.5, 0.0, nan]
    """
    codes, predicted = np.asarray(codes), np.asarray(predicted)
    _, group = np.unique(codes.reshape(len(codes), -1), axis=0, return_inverse=True)
    pairs = np.stack([group.reshape(-1), predicted], 1)

    def others(rows: np.ndarray) -> np.ndarray:
        _, which, count = np.unique(rows, axis=0, return_inverse=True, return_counts=True)
        return count[which.reshape(-1)] - 1

    alike = others(pairs[:, :1])
    return np.where(alike > 0, others(pairs) / np.maximum(alike, 1), np.nan).astype(np.float32)


@pytree
class Consistency(Metric):
    r"""Probability that another sample with the same explanation has the same predicted class.

    .. math:: \frac{|\{j \neq i : d(a_j) = d(a_i), \hat y_j = \hat y_i\}|}
              {|\{j \neq i : d(a_j) = d(a_i)\}|}

    over the whole data set, with d(a) the discretised map. Higher is better, within [0, 1]. NaN if
    no other sample has the same explanation.

    Args:
      discretise: when two maps count as the same explanation:
        "top_n_sign": the n features with the largest magnitudes (ties to the lowest index) are
        the same, in any order, and have the same signs;
        "sign": all signs are equal;
        "rank": the order of the features is the same (ties to the lowest index);
        "round": the entries of the normalised maps are equal after rounding.
      n: number of features for "top_n_sign".
      decimals: number of decimals for "round".

    Outcome: score [].
    """

    family = "robustness"
    direction = "higher"
    asks = frozenset({"output"})
    of_classes = True
    reference = "Dasgupta et al. 2022, Framework for evaluating faithfulness of local explanations"

    discretise: str = static("top_n_sign")
    n: Any = 5
    decimals: Any = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        check.one_of(self, "discretise", DISCRETISATIONS)
        check.integer(self, "n")
        check.integer(self, "decimals", least=0)

    def fit(self, model: Any, sample: Sample) -> None:
        if self.discretise == "top_n_sign" and self.n > sample.n_features:
            raise ValueError(
                f"n={int(self.n)} is larger than the "
                f"{count(sample.n_features, 'feature')} of the attribution, shape "
                f"{tuple(sample.features)}"
            )

    def code(self, a: Array) -> Integer[Array, " ..."]:
        """The discretised map, as integers."""
        if self.discretise == "rank":
            return ops.descending(a)
        if self.discretise == "round":
            rounded = jnp.round(a * 10.0**self.decimals).astype(jnp.float32)
            return lax.bitcast_convert_type(jnp.where(rounded == 0, 0, rounded), jnp.int32)
        signs = jnp.sign(a).astype(jnp.int32)
        if self.discretise == "sign":
            return signs
        return jnp.where(ops.top(jnp.abs(a), self.n), signs + 2, 0)

    def reduce(self, sample: Sample, reference: Answer, measured: Any, valid: Any) -> Outcome:
        code, predicted = ops.fingerprint(self.code(sample.a)), reference.predicted
        return Outcome(score=jnp.nan, record={"code": code, "predicted": predicted})

    def aggregate(self, outcome: Outcome) -> Outcome:
        return Outcome(score=consistency(outcome.record["code"], outcome.record["predicted"]))
