"""Agreement between metrics: Kendall's W and rank correlations."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from .stats import row_ranks

_TIE = 1e-12  # relative; sums of ranks are multiples of 1/2


class Concordance(NamedTuple):
    """Kendall's W of `n_raters` rankings of `n_items`, its chi-square, and p by permutation."""

    w: float
    statistic: float
    df: int
    p: float
    n_raters: int
    n_items: int


def kendalls_w(
    scores: ArrayLike, n_permutations: int = 9999, seed: int = 0, tolerance: float = 0.0
) -> Concordance:
    r"""Kendall's coefficient of concordance of m raters (metrics) over n items (explainers).

    .. math:: W = \frac{12 \sum_j (\sum_i r_{ij} - m\frac{n+1}{2})^2}
        {m^2(n^3 - n) - m \sum_i T_i}, \quad T_i = \sum_{\text{ties of } i} (t^3 - t)

    W = 1: all raters give the same ranking; W = 0: all items have the same sum of ranks. The
    statistic is :math:`\chi^2 = m(n-1)W`. p is from a permutation test that shuffles each rater's
    ranks independently, as chi-square is too conservative for few raters or items (Legendre
    2005): the share of `n_permutations` shuffles, the observed ranking included, that reach W.

    Reference: Kendall and Babington Smith 1939, "The problem of m rankings"; Kendall 1948 for
    ties; Legendre 2005.

    Args:
      scores: [m, n], each row one rater's scores, all in the same direction; NaN where undefined.
        Items with an undefined score from any rater are left out.
      n_permutations: number of shuffles; 0: p from chi-square.
      seed: random seed of the shuffles.
      tolerance: as for `row_ranks`.

    Returns:
      `Concordance`, with the numbers of raters and items compared. W, statistic and p are NaN
      with fewer than two raters or items, or if every rater ties all items.

    >>> kendalls_w([[1, 2, 3, 4], [1, 2, 3, 4], [1, 2, 4, 3]]).w.__round__(4)
    0.9111
    """
    scores = np.asarray(scores, np.float64)
    scores = scores[:, ~np.isnan(scores).any(axis=0)]
    m, n = scores.shape
    df = max(n - 1, 0)
    if m < 2 or n < 2:
        return Concordance(np.nan, np.nan, df, np.nan, m, n)
    ranks = row_ranks(scores, tolerance) - (n + 1) / 2
    total = m * (ranks**2).sum()  # the spread of the sums of ranks if all raters agree
    if not total:
        return Concordance(np.nan, np.nan, df, np.nan, m, n)
    spread = (ranks.sum(axis=0) ** 2).sum()
    w = spread / total
    if n_permutations:
        rng = np.random.default_rng(seed)
        reached = 1
        for start in range(0, n_permutations, 1000):
            shape = (min(1000, n_permutations - start), m, n)
            shuffled = rng.permuted(np.broadcast_to(ranks, shape), axis=-1)
            sums = (shuffled.sum(axis=1) ** 2).sum(axis=-1)
            reached += int((sums >= spread - _TIE * total).sum())
        p = reached / (n_permutations + 1)
    else:
        import scipy.stats

        p = float(scipy.stats.chi2.sf(m * (n - 1) * w, n - 1))
    return Concordance(float(w), float(m * (n - 1) * w), df, p, m, n)


def mean_spearman(scores: ArrayLike, tolerance: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    r"""Spearman's correlation between metrics over items, averaged over blocks.

    .. math:: \bar\rho_{uv} = \frac{1}{|B_{uv}|} \sum_{b \in B_{uv}}
        \mathrm{corr}(\mathrm{rank}\, s_{bu}, \mathrm{rank}\, s_{bv})

    In each block, the items for which both metrics are defined are ranked among themselves; ties
    share their average rank. :math:`B_{uv}` are the blocks with at least two such items in which
    neither metric ties all of them.

    Reference: Spearman 1904; averaged over samples as in Tomsett et al. 2020, "Sanity checks for
    saliency metrics".

    Args:
      scores: [B, k, M]: blocks, items, metrics; NaN where undefined; all in one direction.
      tolerance: as for `row_ranks`.

    Returns:
      (rho [M, M], number of blocks [M, M]); rho is NaN where :math:`B_{uv}` is empty.

    >>> rho, n = mean_spearman([[[1, 1], [2, 2], [3, 3]], [[1, 3], [2, 2], [3, 1]]])
    >>> rho.tolist(), n.tolist()
    ([[1.0, 0.0], [0.0, 1.0]], [[2, 2], [2, 2]])
    """
    values = np.moveaxis(np.asarray(scores, np.float64), -1, 0)  # [M, B, k]
    n_metrics = len(values)
    rho, blocks = np.full((n_metrics, n_metrics), np.nan), np.zeros((n_metrics, n_metrics), int)
    defined = ~np.isnan(values)
    ranks = row_ranks(values, tolerance)
    for u in range(n_metrics):
        for v in range(u, n_metrics):
            both = defined[u] & defined[v]
            x, y = (
                _among(ranks[w], values[w], defined[w] != both, both, tolerance) for w in (u, v)
            )
            with np.errstate(invalid="ignore", divide="ignore"):
                each = (x * y).sum(-1) / np.sqrt((x * x).sum(-1) * (y * y).sum(-1))
            each = each[~np.isnan(each)]
            blocks[u, v] = blocks[v, u] = len(each)
            if len(each):
                rho[u, v] = rho[v, u] = np.clip(each.mean(), -1, 1)
    return rho, blocks


def _among(
    ranks: np.ndarray, values: np.ndarray, fewer: np.ndarray, both: np.ndarray, tolerance: float
) -> np.ndarray:
    """Centred ranks [B, k] among the items in `both`; 0 elsewhere."""
    again = fewer.any(axis=-1)
    if again.any():
        ranks = ranks.copy()
        ranks[again] = row_ranks(np.where(both, values, np.nan)[again], tolerance)
    centred = np.where(both, ranks, 0)
    n = both.sum(axis=-1, keepdims=True)
    return np.where(both, centred - (n + 1) / 2, 0)
