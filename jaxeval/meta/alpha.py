"""Krippendorff's alpha: do samples agree on the order of explainers?"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from ..results.stats import row_ranks
from .compared import once


def midranks(scores: ArrayLike) -> np.ndarray:
    """The ratings [N, L] of explainers by samples: midranks of the scores [L, N] of each sample.

    A sample with an undefined score rates none of them (NaN).

    >>> midranks([[0.5, 1.0], [0.5, 3.0], [0.9, 2.0]]).tolist()
    [[1.5, 1.5, 3.0], [1.0, 3.0, 2.0]]
    """
    scores = np.asarray(scores, np.float64).T
    whole = ~np.isnan(scores).any(1, keepdims=True)
    return np.where(whole, row_ranks(np.where(whole, scores, 0.0)), np.nan)


def krippendorff_alpha(ratings: ArrayLike) -> float:
    r"""Krippendorff's alpha for ordinal ratings: inter-rater reliability.

    .. math:: \alpha = 1 - (n - 1) \frac{\sum_{ck} o_{ck} \delta_{ck}^2}
        {\sum_{ck} n_c n_k \delta_{ck}^2}, \quad
        \delta_{ck} = \sum_{g=c}^{k} n_g - \frac{n_c + n_k}{2}

    with the coincidences o_ck of values c and k within units, and their sums n_c and n. 1: all
    raters agree; 0: no more than by chance. For metrics, samples are the raters, explainers the
    units, and `midranks` of the scores the values (ranks, not the positions that sort the scores).

    Reference: Krippendorff 2011, "Computing Krippendorff's alpha-reliability"; for metrics of
    explanations Tomsett et al. 2020, "Sanity checks for saliency metrics", AAAI.

    Args:
      ratings: [raters, units], NaN where a rater has not rated a unit.

    Returns:
      alpha in (-∞, 1]; NaN if no unit has two ratings, or if all ratings are equal.

    >>> krippendorff_alpha([[1, 2, 3], [1, 2, 3], [1, 3, 2]]).__round__(3)
    0.704
    """
    ratings = np.asarray(ratings, np.float64)
    if ratings.ndim != 2:
        raise ValueError(f"ratings must be [raters, units], got {list(ratings.shape)}")
    return float(_alpha(ratings, once(len(ratings)))[0])


def _alpha(ratings: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The same [B], with raters that count as often as `weights` [B, raters] says."""
    values = np.unique(ratings[~np.isnan(ratings)])
    given = ratings[..., None] == values  # [raters, units, values]
    flat = given.reshape(len(ratings), -1).astype(np.float64)
    found = []
    for counts in (weights @ flat).reshape(len(weights), *given.shape[1:]):  # [units, values]
        rated = counts.sum(1)
        counts = counts[rated > 1]
        share = counts / (counts.sum(1, keepdims=True) - 1)
        pairs = counts.T @ share - np.diag(share.sum(0))
        n = pairs.sum(0)
        below = np.cumsum(n) - n / 2
        distance = (below - below[:, None]) ** 2
        expected = (n @ distance @ n) if len(n) else 0.0
        found.append(
            1 - (n.sum() - 1) * (pairs * distance).sum() / expected if expected > 0 else np.nan
        )
    return np.array(found)
