"""How much rankings of explainers depend on the settings of a metric."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike


def rank_shares(ranks: ArrayLike) -> np.ndarray:
    """How often each explainer holds each rank, over several rankings.

    An explainer tied for places 2 and 3 (rank 2.5) counts one half for each, so every rank of a
    complete ranking is assigned once.

    Args:
      ranks: [E, S], each column a ranking from 1 with ties averaged; NaN where an explainer has no
        rank.

    Returns:
      Shares [E, E] by explainer (row) and rank (column), over the rankings that rank the
      explainer: rows sum to 1; NaN for an explainer without any rank.

    >>> rank_shares([[1, 1.5], [2, 1.5], [3, 3]]).tolist()
    [[0.75, 0.25, 0.0], [0.25, 0.75, 0.0], [0.0, 0.0, 1.0]]
    """
    ranks = np.asarray(ranks, np.float64)
    n_explainers = len(ranks)
    # Tied explainers share the places first .. first + tied - 1. `steps` holds the differences
    # between successive shares: +1 / tied at the first place, -1 / tied after the last.
    steps = np.zeros((n_explainers, n_explainers + 1))
    for place, own in enumerate(ranks):
        there = ~np.isnan(own)
        tied = (ranks[:, there] == own[there]).sum(axis=0)
        first = np.rint(own[there] - (tied + 1) / 2).astype(int)
        np.add.at(steps[place], first, 1 / tied)
        np.add.at(steps[place], first + tied, -1 / tied)
    with np.errstate(invalid="ignore", divide="ignore"):
        shares = np.cumsum(steps, axis=1)[:, :-1] / (~np.isnan(ranks)).sum(axis=1, keepdims=True)
    return np.where(np.abs(shares) < 1e-12, 0.0, shares)


def kendall_tau(a: ArrayLike, b: ArrayLike) -> float:
    r"""Kendall's tau-b between two rankings, over the entries defined in both.

    .. math:: \tau_b = \frac{n_c - n_d}{\sqrt{(n_0 - n_a)(n_0 - n_b)}}

    n_c and n_d are the numbers of pairs in the same and in opposite order, n_0 that of all pairs,
    n_a and n_b those of the pairs tied in a and in b. NaN with fewer than two entries or if one
    ranking ties all of them.

    >>> kendall_tau([1, 2, 3, 4], [1, 2, 4, 3]).__round__(4)
    0.6667
    """
    x, y = _order(a, b)
    lengths = np.abs(x).sum() * np.abs(y).sum()
    return float((x * y).sum() / np.sqrt(lengths)) if lengths else np.nan


def reversals(a: ArrayLike, b: ArrayLike) -> float:
    """The share of pairs in opposite order in two rankings; NaN with fewer than two entries."""
    x, y = _order(a, b)
    return float((x * y < 0).mean()) if len(x) else np.nan


def _order(a: ArrayLike, b: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """The order of each pair, -1, 0 or 1, in both rankings."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    both = ~(np.isnan(a) | np.isnan(b))
    i, j = np.triu_indices(int(both.sum()), 1)
    return np.sign(a[both][i] - a[both][j]), np.sign(b[both][i] - b[both][j])


def fields_of(settings: Any) -> dict[str, str]:
    """The settings of a metric, each value as JSON text; nested ones are named "outer.inner".

    >>> fields_of({"class": "Deletion", "n_steps": 4, "noise": {"std": 0.1}})
    {'n_steps': '4', 'noise.std': '0.1'}
    """
    found: dict[str, str] = {}
    for name, value in settings.items() if isinstance(settings, Mapping) else ():
        if isinstance(value, Mapping) and "array" not in value:
            if "class" in value:
                found[f"{name}.class"] = json.dumps(value["class"])
            found.update({f"{name}.{k}": v for k, v in fields_of(value).items()})
        elif name != "class":
            found[name] = json.dumps(value, sort_keys=True, ensure_ascii=False)
    return found


def groups_of(metrics: Sequence[str], settings: Mapping[str, Any]) -> dict[str, list[str]]:
    """class -> its metrics, for the classes with several settings."""
    described = settings.get("metrics")
    described = described if isinstance(described, Mapping) else {}
    groups: dict[str, list[str]] = {}
    for name in metrics:
        fields = described.get(name)
        if isinstance(fields, Mapping) and isinstance(fields.get("class"), str):
            groups.setdefault(fields["class"], []).append(name)
    return {kind: names for kind, names in groups.items() if len(names) > 1}


def varied(fields: Mapping[str, Mapping[str, str]]) -> dict[str, list[str]]:
    """parameter -> its values in order of appearance, for parameters with more than one."""
    names = dict.fromkeys(p for own in fields.values() for p in own)
    values = {p: list(dict.fromkeys(own.get(p, "–") for own in fields.values())) for p in names}
    return {p: v for p, v in values.items() if len(v) > 1}


def by_value(
    means: np.ndarray, ranks: np.ndarray, names: Sequence[str], has: Sequence[str], value: str
) -> dict[str, Any]:
    """One row of the table of values: means and ranks [E, S], `has` [S] the values, `names` [E]."""
    chosen = np.array([v == value for v in has])
    overall, here = _mean(ranks, 1), _mean(ranks[:, chosen], 1)
    best = np.flatnonzero(here == np.nanmin(here)).tolist() if np.isfinite(here).any() else []
    return {
        "n_settings": int(chosen.sum()),
        "mean": float(_mean(means[:, chosen])),
        "change": float(_mean(means[:, chosen]) - _mean(means)),
        "kendall_tau": kendall_tau(here, overall),
        "rank_change": float(_mean(np.abs(here - overall))),
        "first": ", ".join(names[i] for i in best),
    }


def by_parameter(
    means: np.ndarray,
    ranks: np.ndarray,
    settings: Sequence[Mapping[str, str]],
    parameter: str,
) -> dict[str, Any]:
    """One row of the table of parameters: means and ranks [E, S]; `settings` [S] what varies."""
    pairs = [
        (i, j)
        for i, j in itertools.combinations(range(len(settings)), 2)
        if settings[i].get(parameter) != settings[j].get(parameter)
        and all(settings[i].get(p) == settings[j].get(p) for p in settings[i] if p != parameter)
    ]
    taus = [kendall_tau(ranks[:, i], ranks[:, j]) for i, j in pairs]
    firsts = [
        set(np.flatnonzero(ranks[:, i] == np.nanmin(ranks[:, i])))
        != set(np.flatnonzero(ranks[:, j] == np.nanmin(ranks[:, j])))
        for i, j in pairs
        if np.isfinite(ranks[:, i]).any() and np.isfinite(ranks[:, j]).any()
    ]
    return {
        "n_values": len({s.get(parameter) for s in settings}),
        "n_pairs": len(pairs),
        "score_change": float(_mean([np.abs(means[:, i] - means[:, j]) for i, j in pairs])),
        "score_share": float(_mean([_share(row, settings, parameter) for row in means])),
        "kendall_tau": float(_mean(taus)),
        "reversals": float(_mean([reversals(ranks[:, i], ranks[:, j]) for i, j in pairs])),
        "first_changes": float(_mean(firsts)),
    }


def _share(row: np.ndarray, settings: Sequence[Mapping[str, str]], parameter: str) -> float:
    """Between-value share of the variance of one explainer's scores [S] (eta squared)."""
    defined = ~np.isnan(row)
    values = [s.get(parameter) for s, d in zip(settings, defined, strict=True) if d]
    row = row[defined]
    total = ((row - row.mean()) ** 2).sum() if len(row) > 1 else 0.0
    if not total > 1e-12 * (row**2).sum():
        return np.nan
    import pandas as pd

    parts = pd.Series(row).groupby(pd.Series(values)).transform("mean").to_numpy()
    return float(((parts - row.mean()) ** 2).sum() / total)


def _mean(values: Any, axis: int | None = None) -> Any:
    """The mean of the finite values; NaN, without a warning, if there are none."""
    values = np.asarray(values, np.float64)
    defined = np.isfinite(values)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(defined, values, 0).sum(axis) / defined.sum(axis)
