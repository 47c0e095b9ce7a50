"""Two explainers on the same samples: the signed-rank test, and many tests at once."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from .stats import DIRECTIONS, row_ranks

ZEROS = ("wilcox", "pratt")
EXACT = 50  # up to this many non-zero differences, p is exact


class Paired(NamedTuple):
    """The result of `signed_rank`; positive values favour a."""

    n: int
    n_undefined: int
    n_zero: int
    advantage: float
    effect: float
    statistic: float
    p: float


def signed_rank(
    a: ArrayLike,
    b: ArrayLike,
    direction: str = "higher",
    zeros: str = "wilcox",
    tolerance: float = 0.0,
) -> Paired:
    r"""Two-sided Wilcoxon signed-rank test of paired scores.

    .. math:: d_i = \pm(a_i - b_i), \quad R^{\pm} = \sum_{\pm d_i > 0} \mathrm{rank}\,|d_i|, \quad
        T = \min(R^+, R^-)

    H0: the differences are symmetric around 0. Ties share their average rank. For up to 50
    non-zero differences p is exact, given the ties (over all assignments of signs); for more, the
    normal approximation with the tie-corrected variance :math:`\sum \mathrm{rank}^2 / 4`.

    Reference: Wilcoxon 1945, "Individual comparisons by ranking methods"; Pratt 1959 for zeros;
    Kerby 2014 for the effect.

    Args:
      a: scores [n], NaN where undefined.
      b: scores [n] of the same samples.
      direction: "higher" or "lower" is better.
      zeros: how to treat samples without a difference: "wilcox" leaves them out, "pratt" ranks
        them with the others and then leaves them out.
      tolerance: a difference counts as 0 if it is at most this share of the larger magnitude of
        the two scores, like ties in `row_ranks`.

    Returns:
      `Paired`: n, the pairs in which both are defined; n_undefined, the pairs left out; n_zero,
      how many of the n have no difference; advantage, the mean of d in the unit of the scores
      (positive if a is better); effect, the matched-pairs rank-biserial correlation
      (R+ - R-) / (R+ + R-) in [-1, 1]; statistic T; p. If n is 0, advantage, effect, statistic and
      p are NaN; if no pair differs, T is 0, p is 1 and the effect NaN.

    Raises:
      ValueError: different shapes, an unknown direction or treatment of zeros.

    >>> signed_rank([4, 5, 7, 1, 2], [1, 1, 2, 2, 2]).p
    0.25
    >>> signed_rank([1, 2, 3, 4, 5, 6], [0, 0, 0, 0, 0, 0], "lower").effect
    -1.0
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if a.shape != b.shape or a.ndim != 1:
        raise ValueError(f"a and b must be scores [n] of the same samples: {a.shape}, {b.shape}")
    if direction not in DIRECTIONS:
        raise ValueError(f'direction must be "higher" or "lower", got {direction!r}')
    if zeros not in ZEROS:
        raise ValueError(f'zeros must be "wilcox" or "pratt", got {zeros!r}')
    both = ~(np.isnan(a) | np.isnan(b))
    a, b = a[both], b[both]
    n, n_undefined = len(a), int((~both).sum())
    if not n:
        return Paired(0, n_undefined, 0, *[np.nan] * 4)
    with np.errstate(invalid="ignore"):  # inf - inf
        d = np.where(a == b, 0.0, (a - b) * (1 if direction == "higher" else -1))
    size = np.where(np.isfinite([a, b]), np.abs([a, b]), 0).max(axis=0)
    zero = np.abs(d) <= tolerance * size
    d = np.where(zero, 0.0, d)

    ranks = row_ranks(np.abs(d[~zero] if zeros == "wilcox" else d))
    signs = np.sign(d[~zero] if zeros == "wilcox" else d)
    ranks, signs = ranks[signs != 0], signs[signs != 0]
    above, below = ranks[signs > 0].sum(), ranks[signs < 0].sum()
    effect = (above - below) / (above + below) if len(ranks) else np.nan
    return Paired(
        n,
        n_undefined,
        int(zero.sum()),
        float(d.mean()),
        float(effect),
        float(min(above, below)),
        _two_sided(ranks, min(above, below)),
    )


def _two_sided(ranks: np.ndarray, statistic: float) -> float:
    """P(the smaller sum of ranks is at most `statistic`) if all assignments of signs are equal."""
    if not len(ranks):
        return 1.0
    if len(ranks) <= EXACT:
        doubled = np.rint(2 * ranks).astype(int)  # average ranks are multiples of 1/2
        chance = np.zeros(doubled.sum() + 1)
        chance[0] = 1.0
        for r in doubled:
            shifted = np.concatenate([np.zeros(r), chance[:-r]])
            chance = (chance + shifted) / 2
        tail = chance[: int(np.rint(2 * statistic)) + 1].sum()
    else:
        import scipy.special

        deviation = np.sqrt((ranks**2).sum()) / 2
        tail = scipy.special.ndtr((statistic - ranks.sum() / 2) / deviation)
    return float(min(1.0, 2 * tail))


def holm(p: ArrayLike) -> np.ndarray:
    r"""Holm's step-down adjustment of p-values.

    .. math:: \tilde p_{(i)} = \min\bigl(1, \max_{j \le i} (m - j + 1)\, p_{(j)}\bigr)

    Rejecting where the adjusted p is below alpha keeps the familywise error rate at or below
    alpha, under any dependence between the tests. NaN stays NaN and does not count among the m.

    Reference: Holm 1979, "A simple sequentially rejective multiple test procedure".

    Args:
      p: p-values of any shape.

    Returns:
      Adjusted p-values of the same shape.

    >>> holm([0.01, 0.04, 0.03, np.nan]).round(4).tolist()
    [0.03, 0.06, 0.06, nan]
    """
    p = np.asarray(p, np.float64)
    adjusted = np.full(p.size, np.nan)
    flat = p.ravel()
    order = np.argsort(flat, kind="stable")[: int((~np.isnan(flat)).sum())]
    m = len(order)
    steps = flat[order] * np.arange(m, 0, -1)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(steps))
    return adjusted.reshape(p.shape)
