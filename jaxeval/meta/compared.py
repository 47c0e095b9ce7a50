"""Clean and perturbed scores side by side, which of them count, and means over these.

Shapes: L explainers, N samples, P perturbations. `clean` scores [L, N] are compared with
`perturbed` ones [P, L, N]; `used` [P, N] says which samples count: those that keep their class
under a minor perturbation, or those that change it under a disruptive one. NaN is an undefined
score: `iac`, `effect` and `agree` leave out the pair, the other statistics the sample with an
undefined score of any explainer. A statistic of nothing is NaN.

Statistics with an underscore also take `weights` [B, N], how often each sample counts in each of B
resamples, and have a leading axis B.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ..results.stats import DIRECTIONS


class Compared(NamedTuple):
    """Checked scores in float64, and what of them counts.

    `pairs` [P, L, N]: used, and defined in both; `whole` [P, N]: so for all explainers.
    """

    clean: np.ndarray
    perturbed: np.ndarray
    pairs: np.ndarray
    whole: np.ndarray


def compared(clean: ArrayLike, perturbed: ArrayLike, used: ArrayLike) -> Compared:
    """The scores, checked to fit each other.

    Raises:
      ValueError: shapes that do not fit; the message says what was given and wanted.
    """
    clean, perturbed = np.asarray(clean, np.float64), np.asarray(perturbed, np.float64)
    used = np.asarray(used)
    if used.dtype.kind in "iu" and np.isin(used, (0, 1)).all():
        used = used.astype(bool)
    if clean.ndim != 2 or perturbed.ndim != 3 or perturbed.shape[1:] != clean.shape:
        raise ValueError(
            "clean must be scores [L, N] and perturbed [P, L, N] of the same explainers and "
            f"samples, got {list(clean.shape)} and {list(perturbed.shape)}"
        )
    if used.shape != (len(perturbed), clean.shape[1]) or used.dtype.kind != "b":
        raise ValueError(
            f"used must be bool (or hold only 0 and 1) [P, N] = "
            f"{[len(perturbed), clean.shape[1]]}, got {used.dtype}{list(used.shape)}"
        )
    pairs = used[:, None] & ~np.isnan(clean) & ~np.isnan(perturbed)
    return Compared(clean, perturbed, pairs, np.asarray(pairs.all(1)))


def mean_of(values: np.ndarray, axis: int | tuple[int, ...] = -1) -> np.ndarray:
    """The mean without NaN; NaN, without a warning, if there is nothing else."""
    defined = ~np.isnan(values)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(defined, values, 0.0).sum(axis) / defined.sum(axis)


def weighted_mean(values: np.ndarray, where: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Means over samples [B, P], of values [P, N] where bool [P, N], with weights [B, N]."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return weights @ np.where(where, values, 0.0).T / (weights @ where.T.astype(np.float64))


def once(n: int) -> np.ndarray:
    """Weights [1, n]: every sample counts once."""
    return np.ones((1, n))


def toward(direction: str) -> float:
    """1 where higher scores are better, -1 where lower ones are.

    Raises:
      ValueError: an unknown direction. (A direction is a name, and never a truth value.)
    """
    if direction not in DIRECTIONS:
        raise ValueError(f'direction must be "higher" or "lower", got {direction!r}')
    return 1.0 if direction == "higher" else -1.0


def change(given: Compared, direction: str) -> np.ndarray:
    """-1, 0 or 1 where a perturbed score is worse than, equal to or better than the clean one."""
    after, before = given.perturbed, given.clean
    return toward(direction) * ((after > before) * 1.0 - (after < before) * 1.0)
