"""The criteria of MetaQuantus: intra- and inter-consistency of scores, and their mean."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from .compared import Compared, change, compared, mean_of, once, weighted_mean

PARTS = ("IAC_NR", "IAC_AR", "IEC_NR", "IEC_AR")
"""The four criteria: intra- and inter-consistency, noise resilience and adversary reactivity."""


def iac(clean: ArrayLike, perturbed: ArrayLike, used: ArrayLike) -> np.ndarray:
    r"""Intra-consistency: p-values of the two-sided signed-rank test of clean - perturbed scores.

    .. math:: z = \frac{R^+ - n(n+1)/4}{\sqrt{(n(n+1)(2n+1) - \frac12\sum_g (t_g^3 - t_g))/24}},
        \quad p = 2\Phi(-|z|)

    over the n used pairs, with midranks of the absolute differences, of which t_g tie in group g;
    ranks of zeros count half for either sign. The normal approximation is used for any n, so that
    the criterion does not change its definition with n. A high p says that the scores withstand
    minor perturbations, and 1 - p that they react to disruptive ones. p falls with the number of
    samples, however small the effect: see `effect`.

    Equal to ``scipy.stats.wilcoxon(d, zero_method="zsplit", method="asymptotic")``.

    Reference: Hedström et al. 2023, "The meta-evaluation problem in explainable AI", TMLR.

    Returns:
      p [P, L]; 1 where no pair differs, NaN without pairs.

    >>> clean = np.arange(12.0).reshape(2, 6)
    >>> iac(clean, clean[None] + [[1], [0]], np.ones((1, 6), bool)).round(3).tolist()
    [[0.014, 1.0]]
    """
    given = compared(clean, perturbed, used)
    return _iac(given, once(given.clean.shape[1]))[0]


def _iac(given: Compared, weights: np.ndarray) -> np.ndarray:
    """The same [B, P, L]."""
    n_perturbed, n_explainers, _ = given.perturbed.shape
    found = np.full((len(weights), n_perturbed, n_explainers), np.nan)
    for p, e in np.ndindex(n_perturbed, n_explainers):
        at = given.pairs[p, e]
        before, after = given.clean[e, at], given.perturbed[p, e, at]
        with np.errstate(invalid="ignore"):  # inf - inf
            d = np.where(before == after, 0.0, before - after)
        found[:, p, e] = _signed_rank_p(d, weights[:, at])
    return found


def _signed_rank_p(d: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """p [B] of differences d [n] that count as often as `weights` [B, n] says."""
    import scipy.special

    if not len(d):
        return np.full(len(weights), np.nan)
    size = np.abs(d)
    order = np.argsort(size, kind="stable")
    size, sign, weights = size[order], np.sign(d[order]), weights[:, order]
    starts = np.flatnonzero(np.append(True, size[1:] != size[:-1]))
    tied = np.add.reduceat(weights, starts, axis=1)
    rank = np.cumsum(tied, 1) - tied + (tied + 1) / 2
    above = np.add.reduceat(weights * ((1 + sign) / 2), starts, axis=1)
    n = tied.sum(1)
    variance = (n * (n + 1) * (2 * n + 1) - (tied**3 - tied).sum(1) / 2) / 24
    with np.errstate(invalid="ignore", divide="ignore"):
        z = ((above * rank).sum(1) - n * (n + 1) / 4) / np.sqrt(variance)
    return 2 * scipy.special.ndtr(-np.abs(z))


def iec_minor(clean: ArrayLike, perturbed: ArrayLike, used: ArrayLike) -> np.ndarray:
    """Inter-consistency under minor perturbations: is each place of the ranking held as before?

    The share, over used samples x places, of places that the same explainer holds in the ranking by
    clean scores and in that by perturbed ones. Explainers are sorted by ascending scores, ties by
    their order, so a metric that ties all of them has the share 1: see `tau`, which does not reward
    ties. Independent scores have 1 / L.

    Reference: Hedström et al. 2023.

    Returns:
      The shares [P].

    >>> iec_minor([[0, 0], [1, 1], [2, 2]], [[[0, 1], [1, 0], [2, 2]]], [[True, True]]).round(3)
    array([0.667])
    """
    given = compared(clean, perturbed, used)
    return weighted_mean(_same_places(given), given.whole, once(given.clean.shape[1]))[0]


def _same_places(given: Compared) -> np.ndarray:
    """The share of places held as before [P, N]."""
    before = np.argsort(given.clean, axis=0, kind="stable")
    after = np.argsort(given.perturbed, axis=1, kind="stable")
    return (before == after).mean(1)


def iec_disruptive(
    clean: ArrayLike, perturbed: ArrayLike, used: ArrayLike, direction: str
) -> np.ndarray:
    """Inter-consistency under disruptive perturbations: do the scores get worse?

    The share, over used samples x explainers, of perturbed scores that are strictly worse than the
    clean ones.

    Reference: Hedström et al. 2023.

    Args:
      direction: "higher" or "lower", which scores are better.

    Returns:
      The shares [P].

    >>> clean, worse = np.ones((2, 3)), np.zeros((1, 2, 3))
    >>> iec_disruptive(clean, worse, np.ones((1, 3), bool), "higher").tolist()
    [1.0]
    """
    given = compared(clean, perturbed, used)
    share = (change(given, direction) < 0).mean(1)
    return weighted_mean(share, given.whole, once(given.clean.shape[1]))[0]


def meta_consistency(
    iac_minor: np.ndarray,
    iac_disruptive: np.ndarray,
    iec_minor: np.ndarray,
    iec_disruptive: np.ndarray,
    groups: int = 1,
) -> dict[str, np.ndarray]:
    r"""The meta-consistency of MetaQuantus, and its four parts.

    .. math:: MC = \frac14 (IAC_{NR} + IAC_{AR} + IEC_{NR} + IEC_{AR})

    P perturbations are `groups` consecutive groups. A part is first averaged over the explainers
    and perturbations of a group, then over groups; MC_std is the deviation (ddof 0) of the groups'
    MC. Undefined values are left out of means; a group without one of the parts has no MC. A
    metric with constant scores has the parts 1, 0, 1, 0, and so MC = 0.5.

    Reference: Hedström et al. 2023, "The meta-evaluation problem in explainable AI", TMLR.

    Args:
      iac_minor, iac_disruptive: p-values [..., P, L] of `iac`.
      iec_minor, iec_disruptive: shares [..., P].

    Returns:
      {"IAC_NR", "IAC_AR", "IEC_NR", "IEC_AR", "MC", "MC_std"}, each [...].

    >>> one, zero = np.ones((6, 2)), np.zeros(6)
    >>> found = meta_consistency(one, one, one[:, 0], zero, groups=3)
    >>> {name: float(v) for name, v in found.items()}["MC"]
    0.5
    """

    def by_group(values: np.ndarray, tail: int) -> np.ndarray:
        lead = values.shape[: values.ndim - tail]
        return mean_of(values.reshape(*lead, groups, -1))

    parts = dict(
        zip(
            PARTS,
            (
                by_group(np.asarray(iac_minor, float), 2),
                1 - by_group(np.asarray(iac_disruptive, float), 2),
                by_group(np.asarray(iec_minor, float), 1),
                by_group(np.asarray(iec_disruptive, float), 1),
            ),
            strict=True,
        )
    )
    mc = np.mean(list(parts.values()), axis=0)
    found = {name: mean_of(values) for name, values in parts.items()}
    found["MC"] = mean_of(mc)
    found["MC_std"] = np.sqrt(mean_of((mc - found["MC"][..., None]) ** 2))
    return found
