"""All measures of one metric under one test, from its scores."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from . import criteria, statistics
from .compared import change, compared, mean_of, weighted_mean
from .criteria import PARTS, meta_consistency

MEASURES = (
    *PARTS,
    "MC",
    "MC_std",
    "tau",
    "agree",
    "effect",
    "react",
    "abs_react",
    "noise",
    "recovery",
    "alpha",
)
RANKABLE = tuple(m for m in MEASURES if m not in ("MC_std", "effect", "noise"))
"""The measures of which more is better."""


class Tested(NamedTuple):
    """The scores of one metric under one test; what the test does not have is None.

    Attributes:
      direction: "higher" or "lower", which scores are better.
      groups: the number of groups of perturbations, whose spread is MC_std.
      clean: scores [L, N].
      minor, disruptive: scores [P, L, N]; `kept`, `changed` [P, N]: the samples that count.
      common: minor ones with the seeds of the clean scores.
      levels: noise in the maps [T]; `noisy`: scores [P, T, L, N].
    """

    direction: str
    groups: int
    clean: np.ndarray
    minor: np.ndarray | None = None
    kept: np.ndarray | None = None
    disruptive: np.ndarray | None = None
    changed: np.ndarray | None = None
    common: np.ndarray | None = None
    kept_common: np.ndarray | None = None
    levels: tuple[float, ...] | None = None
    noisy: np.ndarray | None = None


def measures_of(
    tested: Tested, weights: np.ndarray, wanted: tuple[str, ...] = MEASURES
) -> dict[str, np.ndarray]:
    """{measure: [B]} of those wanted that the test has, but alpha, which needs no test.

    Args:
      weights: how often each sample counts in each of B resamples [B, N].
    """
    found: dict[str, np.ndarray] = {}
    if tested.noisy is not None:
        assert tested.levels is not None
        if "recovery" in wanted:
            each, whole = statistics._recoveries(tested.levels, tested.noisy, tested.direction)
            found["recovery"] = mean_of(weighted_mean(each, whole, weights))
        return found
    if tested.minor is None or tested.disruptive is None:
        return found
    minor = compared(tested.clean, tested.minor, tested.kept)  # type: ignore[arg-type]
    hard = compared(tested.clean, tested.disruptive, tested.changed)  # type: ignore[arg-type]
    moved = change(hard, tested.direction)
    if set(wanted) & {*PARTS, "MC", "MC_std"}:
        found |= meta_consistency(
            criteria._iac(minor, weights),
            criteria._iac(hard, weights),
            weighted_mean(criteria._same_places(minor), minor.whole, weights),
            weighted_mean((moved < 0).mean(1), hard.whole, weights),
            tested.groups,
        )
    if "tau" in wanted or "noise" in wanted:
        found["tau"] = mean_of(weighted_mean(statistics._taus(minor), minor.whole, weights))
    if "agree" in wanted:
        found["agree"] = mean_of(statistics._agree(minor, weights))
    if "react" in wanted or "abs_react" in wanted:
        found["react"] = mean_of(weighted_mean(-moved.mean(1), hard.whole, weights))
        found["abs_react"] = np.abs(found["react"])
    if "effect" in wanted and len(weights) == 1:
        each = statistics.effect(tested.clean, tested.minor, tested.kept)  # type: ignore[arg-type]
        found["effect"] = mean_of(np.abs(each).ravel())[None]
    if "noise" in wanted and tested.common is not None:
        common = compared(tested.clean, tested.common, tested.kept_common)  # type: ignore[arg-type]
        same = mean_of(weighted_mean(statistics._taus(common), common.whole, weights))
        found["noise"] = same - found["tau"]
    return {name: found[name] for name in MEASURES if name in found and name in wanted}


def counts_of(tested: Tested) -> dict[str, float]:
    """How many samples count per perturbation, and how many scores are undefined."""
    found: dict[str, float] = {"n_minor": np.nan, "n_disruptive": np.nan, "n_undefined": 0}
    for name, scores, used in (
        ("n_minor", tested.minor, tested.kept),
        ("n_disruptive", tested.disruptive, tested.changed),
    ):
        if scores is not None and used is not None:
            found[name] = float(used.sum(1).mean())
            found["n_undefined"] += int(np.isnan(scores).sum())
    if tested.noisy is not None:
        found["n_undefined"] += int(np.isnan(tested.noisy).sum())
    return found
