"""Measures that are 0 by chance, for metrics whose scores say nothing. Shapes as in `compared`."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from ..results.paired import signed_rank
from ..results.stats import row_ranks
from .compared import Compared, change, compared, once, toward, weighted_mean


def tau(clean: ArrayLike, perturbed: ArrayLike, used: ArrayLike) -> np.ndarray:
    r"""Kendall's tau-b between the explainers' clean and perturbed scores, averaged over samples.

    .. math:: \tau_b = \frac{n_c - n_d}{\sqrt{(n_0 - n_a)(n_0 - n_b)}}

    over the pairs of explainers of one sample, of which n_c are in the same and n_d in the opposite
    order, and n_a and n_b tie in the clean and the perturbed scores. A sample in which one side
    ties all explainers counts as 0, so that a metric that tells no explainers apart has 0.

    Returns:
      Means over the used samples [P]; NaN with one explainer.

    >>> tau([[0, 0], [1, 0]], [[[0, 0], [1, 1]]], [[True, True]]).tolist()
    [0.5]
    """
    given = compared(clean, perturbed, used)
    return weighted_mean(_taus(given), given.whole, once(given.clean.shape[1]))[0]


def _taus(given: Compared) -> np.ndarray:
    """Kendall's tau-b of each sample [P, N]."""
    n_perturbed, n_explainers, n = given.perturbed.shape
    if n_explainers < 2:
        return np.full((n_perturbed, n), np.nan)
    i, j = np.triu_indices(n_explainers, 1)

    def order(v: np.ndarray) -> np.ndarray:
        return (v[..., i, :] > v[..., j, :]) * 1.0 - (v[..., i, :] < v[..., j, :]) * 1.0

    before = order(given.clean)
    found = np.empty((n_perturbed, n))
    for p, scores in enumerate(given.perturbed):
        after = order(scores)
        free = np.abs(before).sum(0) * np.abs(after).sum(0)
        found[p] = (before * after).sum(0) / np.sqrt(np.where(free > 0, free, 1))
    return found


def agree(clean: ArrayLike, perturbed: ArrayLike, used: ArrayLike) -> np.ndarray:
    """ICC(A,1) of clean and perturbed scores over all used (explainer, sample) cells.

    `icc` of two raters: the share of the variance of scores that lies between cells and not between
    the clean and the perturbed score of a cell. It is pooled over explainers: within one explainer,
    a metric may hardly vary at all.

    Returns:
      The coefficients [P]; NaN with fewer than two cells or without any variance.

    >>> clean = np.arange(6.0).reshape(2, 3)
    >>> agree(clean, clean[None], np.ones((1, 3), bool)).tolist()
    [1.0]
    """
    given = compared(clean, perturbed, used)
    return _agree(given, once(given.clean.shape[1]))[0]


def _agree(given: Compared, weights: np.ndarray) -> np.ndarray:
    """The same [B, P]."""
    n_explainers, n = given.clean.shape
    sample = np.broadcast_to(np.arange(n), (n_explainers, n))
    found = [
        _icc(np.stack([given.clean[at], scores[at]]), weights[:, sample[at]])
        for at, scores in zip(given.pairs, given.perturbed, strict=True)
    ]
    return np.stack(found, 1)


def icc(ratings: ArrayLike) -> float:
    r"""The intraclass correlation ICC(A,1): absolute agreement of single ratings.

    .. math:: \frac{MS_R - MS_E}{MS_R + (k - 1) MS_E + \frac{k}{n} (MS_C - MS_E)}

    with the mean squares of cells, raters and the residual of a two-way table.

    Reference: McGraw and Wong 1996, "Forming inferences about some intraclass correlation
    coefficients", Psychological Methods 1.

    Args:
      ratings: [k raters, n cells], NaN where undefined; cells with NaN are left out.

    >>> icc([[1, 2, 3], [2, 3, 4]]).__round__(4)
    0.6667
    """
    ratings = np.asarray(ratings, np.float64)
    ratings = ratings[:, ~np.isnan(ratings).any(0)]
    return float(_icc(ratings, once(ratings.shape[1]))[0])


def _icc(ratings: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """ICC(A,1) [B] of ratings [k, n] without NaN."""
    k, n_cells = ratings.shape
    if n_cells < 2 or not np.isfinite(ratings).all():
        return np.full(len(weights), np.nan)
    ratings = ratings - ratings[0, 0]  # equal ratings become exactly 0
    ratings = ratings - ratings.mean()
    n, cells = weights.sum(1), ratings.mean(0)
    with np.errstate(invalid="ignore", divide="ignore"):
        grand = weights @ cells / n
        rows = k * (weights @ cells**2 - n * grand**2)
        residual = ratings - cells
        raters = weights @ residual.T / n[:, None]  # their deviations from the grand mean [B, k]
        columns = n * (raters**2).sum(1)
        error = weights @ (residual**2).sum(0) - columns
        total = rows + columns + error
        rows, columns, error = rows / (n - 1), columns / max(k - 1, 1), error / (n - 1) / (k - 1)
        found = (rows - error) / (rows + (k - 1) * error + k / n * (columns - error))
    still = total <= 1e-24 * n * np.abs(ratings).max() ** 2
    return np.where((n < 2) | still, np.nan, found)


def effect(clean: ArrayLike, perturbed: ArrayLike, used: ArrayLike) -> np.ndarray:
    """The rank-biserial correlation of clean - perturbed scores, in [-1, 1].

    What `iac` tests, without its dependence on the number of samples: 1 if all scores fell, -1 if
    all rose, 0 if rises and falls balance. See `jaxeval.results.signed_rank`.

    Returns:
      [P, L]; NaN where no pair differs.

    >>> clean = np.arange(12.0).reshape(2, 6)
    >>> effect(clean, clean[None] + [[1], [-1]], np.ones((1, 6), bool)).tolist()
    [[-1.0, 1.0]]
    """
    given = compared(clean, perturbed, used)
    found = np.full(given.perturbed.shape[:2], np.nan)
    for p, e in np.ndindex(*found.shape):
        at = given.pairs[p, e]
        found[p, e] = signed_rank(given.clean[e, at], given.perturbed[p, e, at]).effect
    return found


def react(clean: ArrayLike, perturbed: ArrayLike, used: ArrayLike, direction: str) -> np.ndarray:
    """P(worse) - P(better) over used samples x explainers, in [-1, 1].

    1 if every score gets worse under disruption, 0 if it moves either way, -1 if every score gets
    better: such a metric reacts, but the wrong way.

    Args:
      direction: "higher" or "lower", which scores are better.

    Returns:
      The differences [P].

    >>> react([[1.0, 1.0]], [[[0.0, 1.0]]], [[True, True]], "higher").tolist()
    [0.5]
    """
    given = compared(clean, perturbed, used)
    n = given.clean.shape[1]
    return weighted_mean(-change(given, direction).mean(1), given.whole, once(n))[0]


def recovery(levels: ArrayLike, scores: ArrayLike, direction: str) -> np.ndarray:
    """Spearman's correlation of the level of noise in a map with how much worse its score is.

    Per sample and explainer, over the T levels; 0 where all levels have the same score; 1 if the
    score gets worse with every step. Averaged over explainers and samples.

    Args:
      levels: noise in the map [T], ascending.
      scores: [P, T, L, N] for the maps with that much noise; samples with NaN are left out.
      direction: "higher" or "lower", which scores are better.

    Returns:
      The means [P].

    >>> recovery([0, 0.5, 1], np.array([3.0, 2.0, 1.0]).reshape(1, 3, 1, 1), "higher").tolist()
    [1.0]
    """
    each, whole = _recoveries(levels, scores, direction)
    return weighted_mean(each, whole, once(each.shape[1]))[0]


def _recoveries(
    levels: ArrayLike, scores: ArrayLike, direction: str
) -> tuple[np.ndarray, np.ndarray]:
    """(mean over explainers, whether all scores are defined) of each sample [P, N]."""
    levels, scores = np.asarray(levels, np.float64), np.asarray(scores, np.float64)
    if scores.ndim != 4 or scores.shape[1:2] != levels.shape or len(levels) < 2:
        raise ValueError(
            "scores must be [P, T, L, N] for T >= 2 levels, got "
            f"{list(scores.shape)} for {list(levels.shape)} levels"
        )
    middle = (len(levels) + 1) / 2
    noise = row_ranks(levels) - middle
    worse = row_ranks(np.moveaxis(-toward(direction) * scores, 1, -1)) - middle  # [P, L, N, T]
    size = (noise**2).sum() * (worse**2).sum(-1)
    each = (noise * worse).sum(-1) / np.sqrt(np.where(size > 0, size, 1))
    return each.mean(1), ~np.isnan(each).any(1)
