"""Whether explainers differ, and which ones: the Friedman test and Nemenyi's differences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ..shown import count
from .stats import mean_and_std, row_ranks

if TYPE_CHECKING:
    import pandas as pd


class FriedmanTest(NamedTuple):
    """Chi-square with df degrees of freedom and its p; Iman and Davenport's F and its p."""

    statistic: float
    df: int
    p: float
    f: float
    f_p: float


def friedman_test(ranks: ArrayLike) -> FriedmanTest:
    r"""The Friedman test on n blocks (samples) that each rank k treatments (explainers).

    .. math:: \chi^2_F = \frac{(k-1) \sum_j (\sum_i r_{ij} - n\frac{k+1}{2})^2}
        {\sum_{ij} (r_{ij} - \frac{k+1}{2})^2}, \quad
        F_F = \frac{(n-1)\chi^2_F}{n(k-1) - \chi^2_F}

    H0: all treatments have the same rank on average. This form of chi-square is corrected for
    ties; without ties it is :math:`\frac{12n}{k(k+1)}[\sum_j R_j^2 - \frac{k(k+1)^2}{4}]`. F is
    less conservative, with k - 1 and (k - 1)(n - 1) degrees of freedom.

    Reference: Friedman 1937; Conover 1999 for ties; Iman and Davenport 1980 for F; Demšar 2006,
    "Statistical comparisons of classifiers over multiple data sets".

    Args:
      ranks: [n, k], each row the ranks 1..k with ties averaged.

    Returns:
      `FriedmanTest`; all but df are NaN without blocks, or if every block ties all treatments. F
      is infinite if all blocks agree.

    Raises:
      ValueError: fewer than two treatments.

    >>> friedman_test([[1, 2, 3], [1, 2, 3], [1, 3, 2]]).statistic
    4.666666666666667
    """
    import scipy.stats

    ranks = np.asarray(ranks, np.float64)
    n, k = ranks.shape
    if k < 2:
        raise ValueError(f"the Friedman test compares at least 2 treatments, got {k}")
    deviation = ranks - (k + 1) / 2
    total = (deviation**2).sum()
    if not total:
        return FriedmanTest(np.nan, k - 1, *[np.nan] * 3)
    chi = float((k - 1) * (deviation.sum(axis=0) ** 2).sum() / total)
    rest = n * (k - 1) - chi
    f = (n - 1) * chi / rest if rest > 1e-9 * n * k else np.inf
    f_p = float(scipy.stats.f.sf(f, k - 1, (k - 1) * (n - 1))) if n > 1 else np.nan
    return FriedmanTest(chi, k - 1, float(scipy.stats.chi2.sf(chi, k - 1)), f, f_p)


def critical_difference(k: int, n: int, alpha: float = 0.05) -> float:
    r"""Nemenyi's critical difference of mean ranks.

    .. math:: CD = \frac{q_\alpha(k, \infty)}{\sqrt 2} \sqrt{\frac{k(k+1)}{6n}}

    q is the quantile of the studentized range for k treatments. Two treatments differ, at
    familywise error rate alpha, if their mean ranks over n blocks are at least CD apart.

    Reference: Nemenyi 1963; Demšar 2006.

    Args:
      k: number of treatments, at least 2.
      n: number of blocks; with 0 the difference is infinite.
      alpha: familywise error rate, between 0 and 1.

    Raises:
      ValueError: k below 2, alpha outside (0, 1).

    >>> round(critical_difference(4, 14), 2), round(critical_difference(4, 14, 0.1), 2)
    (1.25, 1.12)
    """
    import scipy.special
    import scipy.stats

    if k < 2:
        raise ValueError(f"a critical difference is between at least 2 treatments, got {k}")
    if not 0 < alpha < 1:
        raise ValueError(f"alpha must lie between 0 and 1, got {alpha!r}")
    if not n:
        return np.inf
    if k == 2:  # closed form; the studentized range is slow to evaluate
        q = float(-scipy.special.ndtri(alpha / 2))
    else:
        q = float(scipy.stats.studentized_range.isf(alpha, k, np.inf)) / np.sqrt(2)
    return float(q * np.sqrt(k * (k + 1) / (6 * n)))


def nemenyi_p(mean_ranks: ArrayLike, n: int) -> np.ndarray:
    """p-values [k, k] of Nemenyi's comparisons of mean ranks [k] over n blocks; 1 on the diagonal.

    They are already adjusted for all pairs.

    >>> nemenyi_p([1.0, 2.0, 3.0], 10).round(3).tolist()
    [[1.0, 0.065, 0.0], [0.065, 1.0, 0.065], [0.0, 0.065, 1.0]]
    """
    import scipy.special
    import scipy.stats

    mean_ranks = np.asarray(mean_ranks, np.float64)
    k = len(mean_ranks)
    p = np.ones((k, k))
    i, j = np.triu_indices(k, 1)
    if n and len(i):
        z = np.abs(mean_ranks[i] - mean_ranks[j]) / np.sqrt(k * (k + 1) / (6 * n))
        different, back = np.unique(z, return_inverse=True)
        if k == 2:
            tail = 2 * scipy.special.ndtr(-different)
        else:
            tail = scipy.stats.studentized_range.sf(different * np.sqrt(2), k, np.inf)
        p[i, j] = p[j, i] = np.clip(np.asarray(tail)[back], 0, 1)
    elif not n:
        p[~np.eye(k, dtype=bool)] = np.nan
    return p


@dataclass(frozen=True, eq=False)
class Friedman:
    """A Friedman test of explainers, and which of them differ (`Results.friedman`).

    Attributes:
      ranks: mean rank of each explainer, the best first.
      metric: the metric whose samples are the blocks; None: the metrics are the blocks.
      n: number of blocks (samples or metrics) that rank every explainer.
      n_undefined: number of blocks left out because some explainer is undefined there.
      blocks_left_out: those blocks: ids of samples, or names of metrics.
      left_out: explainers without any defined score, which are not compared.
      other_features: explainers left out because their maps have other features.
      statistic, df, p: chi-square, corrected for ties.
      f, f_p: Iman and Davenport's F.
      alpha: significance level of `critical_difference` and `groups`.
      critical_difference: Nemenyi's critical difference of mean ranks.
    """

    ranks: pd.Series
    metric: str | None
    n: int
    n_undefined: int
    left_out: tuple[str, ...]
    statistic: float
    df: int
    p: float
    f: float
    f_p: float
    alpha: float
    critical_difference: float
    blocks_left_out: tuple[Any, ...] = ()
    other_features: tuple[str, ...] = ()

    @property
    def blocks(self) -> str:
        """What the explainers were ranked on: "samples" or "metrics"."""
        return "metrics" if self.metric is None else "samples"

    def nemenyi(self) -> pd.DataFrame:
        """p-values between explainers, adjusted for all pairs; rows and columns as in `ranks`."""
        import pandas as pd

        names = self.ranks.index
        return pd.DataFrame(nemenyi_p(self.ranks.to_numpy(), self.n), index=names, columns=names)

    def groups(self) -> list[tuple[str, ...]]:
        """Maximal groups of explainers of which no two differ significantly, the best first.

        Groups of one are left out. Two explainers that share no group differ.
        """
        ranks, names = self.ranks.to_numpy(), list(self.ranks.index)
        found: list[tuple[str, ...]] = []
        reached = 0
        for i in range(len(ranks)):
            # A difference equal to the critical one up to rounding counts as significant.
            end = int(np.sum(ranks - ranks[i] < self.critical_difference - 1e-12))
            if end - i > 1 and end > reached:
                found.append(tuple(names[i:end]))
            reached = max(reached, end)
        return found

    def left_out_text(self) -> str:
        """A description of what the test leaves out; "" if nothing.

        Names at most five samples or metrics.
        """
        parts = []
        if self.n_undefined:
            blocks = count(self.n_undefined, self.blocks[:-1])
            named = ", ".join(map(str, self.blocks_left_out[:5]))
            more = ", …" if self.n_undefined > 5 else ""
            parts.append(f"{blocks} with undefined scores, {named}{more}")
        if self.left_out:
            parts.append(f"{', '.join(map(repr, self.left_out))} without a defined score")
        if self.other_features:
            parts.append(f"{', '.join(map(repr, self.other_features))} with other features")
        return "; ".join(parts)

    def __repr__(self) -> str:
        over = count(self.n, self.blocks[:-1])
        over += "" if self.metric is None else f" of {self.metric!r}"
        return (
            f"Friedman over {over} (left out: {self.left_out_text() or 'nothing'}): "
            f"chi2({self.df}) = {self.statistic:.4g}, p = {self.p:.3g}; critical difference of "
            f"mean ranks {self.critical_difference:.3g} (alpha {self.alpha:g})\n"
            f"{self.ranks.to_string()}"
        )


def compared(
    scores: np.ndarray,
    explainers: Sequence[str],
    metric: str | None,
    blocks: Sequence[Any],
    other_features: tuple[str, ...],
    alpha: float,
    tolerance: float,
) -> Friedman:
    """The test on scores [n, k] of k explainers over n blocks; higher is better.

    Raises:
      ValueError: fewer than two explainers have a score; alpha outside (0, 1).
    """
    import pandas as pd

    there = np.atleast_1d(~np.isnan(scores).all(axis=0))
    names = [e for e, ok in zip(explainers, there, strict=True) if ok]
    left_out = tuple(e for e, ok in zip(explainers, there, strict=True) if not ok)
    if len(names) < 2:
        under = "" if metric is None else f" under {metric!r}"
        missing = [f"{e!r} has no defined score{under}" for e in left_out]
        missing += [f"{e!r} has maps with other features" for e in other_features]
        raise ValueError(
            f"the Friedman test compares at least 2 treatments, got {len(names)} of "
            f"{count(len(explainers) + len(other_features), 'explainer')} given"
            + (f": {', '.join(missing)}" if missing else "")
        )
    scores = scores[:, there]
    complete = np.atleast_1d(~np.isnan(scores).any(axis=1))
    ranks = row_ranks(-scores[complete], tolerance)
    mean = pd.Series(mean_and_std(ranks)[0], index=pd.Index(names, dtype="str", name="explainer"))
    return Friedman(
        ranks=mean.sort_values(kind="stable").rename("mean rank"),
        metric=metric,
        n=len(ranks),
        n_undefined=int((~complete).sum()),
        left_out=left_out,
        **friedman_test(ranks)._asdict(),
        alpha=alpha,
        critical_difference=critical_difference(len(names), len(ranks), alpha),
        blocks_left_out=tuple(b for b, ok in zip(blocks, complete, strict=True) if not ok),
        other_features=other_features,
    )
