"""Faithfulness, of metrics that change features in any other way."""

from __future__ import annotations

from typing import Any

import numpy as np

import jaxeval as je
from tests import draws
from tests.reference.maths import (
    ascending,
    baseline,
    by_place,
    descending,
    f,
    patches,
    pearson,
    prepare,
    spearman,
    subset_sizes,
    unit_range,
)
from tests.reference.sample import Answer, Sample
from tests.rows.row import WHITE, Row


def faithfulness_correlation(m: Any, s: Sample) -> Answer:
    a, b = prepare(s.a, m), baseline(s, m.baseline)
    sums = [a.flat[np.asarray(subset)].sum() for subset in s.draws]
    drops = [f(m, s, s.x) - f(m, s, s.without(subset, b)) for subset in s.draws]
    return pearson(sums, drops)


def faithfulness_estimate(m: Any, s: Sample) -> Answer:
    a, b = prepare(s.a, m), baseline(s, m.baseline)
    order, n = descending(a), m.features_in_step
    groups = [order[k : k + n] for k in range(0, a.size, n)]
    drops = [f(m, s, s.x) - f(m, s, s.without(g, b)) for g in groups]
    return pearson([a.flat[g].sum() for g in groups], drops)


def monotonicity_correlation(m: Any, s: Sample) -> Answer:
    a, n = prepare(s.a, m), m.features_in_step
    order = ascending(a)
    groups = [order[k : k + n] for k in range(0, a.size, n)]
    there = np.reshape(s.draws, (len(groups), m.n_samples, *s.x.shape))
    effects = [
        np.mean([(f(m, s, s.x) - f(m, s, s.without(g, u))) ** 2 for u in draws])
        for g, draws in zip(groups, there, strict=True)
    ]
    return spearman([a.flat[g].sum() for g in groups], effects)


def _prediction_gap(m: Any, s: Sample, top: bool) -> float:
    order = descending(prepare(s.a, m))
    n = -(-len(order) * round(1000 * m.top_fraction) // 1000)
    chosen = order[:n] if top else order[n:]
    return np.mean([abs(f(m, s, s.x) - f(m, s, s.without(chosen, s.x + u))) for u in s.draws])


def pgi(m: Any, s: Sample) -> Answer:
    return _prediction_gap(m, s, True)


def pgu(m: Any, s: Sample) -> Answer:
    return _prediction_gap(m, s, False)


def _average_drop(m: Any, s: Sample, x: np.ndarray) -> float:
    whole = f(m, s, s.x)
    return max(0.0, whole - f(m, s, x)) / whole if whole > 0 else np.nan


def _masked(m: Any, s: Sample) -> np.ndarray:
    return s.x * s.spread(unit_range(prepare(s.a, m)))


def average_drop(m: Any, s: Sample) -> Answer:
    return _average_drop(m, s, _masked(m, s))


def increase_in_confidence(m: Any, s: Sample) -> Answer:
    return float(f(m, s, _masked(m, s)) > f(m, s, s.x))


def adcc(m: Any, s: Sample) -> Answer:
    x, a = _masked(m, s), prepare(s.a, m)
    coherency = (1 + pearson(a, prepare(s.explain(x), m))) / 2
    parts = [coherency, 1 - unit_range(a).mean(), 1 - _average_drop(m, s, x)]
    if np.isnan(parts).any():
        return np.nan
    return 0.0 if min(parts) <= 0 else 3 / sum(1 / p for p in parts)


def mu_fidelity(m: Any, s: Sample) -> Answer:
    a, b = by_place(s, prepare(s.a, m)), baseline(s, m.baseline)
    if a.ndim > len(s.spatial()):  # a pixel map that kept its channel axis
        a = a.reshape(s.spatial())
    grid = [min(m.grid_size, n) for n in s.spatial()]
    sums, drops = [], []
    for cells in s.draws:
        gone = np.zeros(s.spatial(), bool)
        for at in np.ndindex(*s.spatial()):
            cell = [i * g // n for i, g, n in zip(at, grid, s.spatial(), strict=True)]
            gone[at] = np.ravel_multi_index(cell, grid) in cells
        sums.append(a[gone].sum())
        drops.append(f(m, s, s.x) - f(m, s, np.where(s.over_space(gone), b, s.x)))
    return spearman(sums, drops)


def sufficiency(m: Any, samples: list[Sample]) -> list[float]:
    """Of the whole data set."""
    a = np.array([prepare(s.a, m).ravel() for s in samples])
    labels = [s.net.logits(s.x).argmax() for s in samples]
    varies = a.std(0) > 0
    a = a[:, varies] / a[:, varies].std(0)
    distance = np.array([[np.linalg.norm(u - v) for v in a] for u in a])
    scores = []
    for i in range(len(a)):
        near = [
            j for j in range(len(a)) if j != i and distance[i, j] <= m.threshold * distance.max()
        ]
        scores.append(np.mean([labels[j] == labels[i] for j in near]) if near else np.nan)
    return scores


def _subset_of(m: Any, s: Sample, query: np.ndarray) -> np.ndarray:
    """Which features a query removed; nothing else may have changed."""
    gone = query != s.x
    if s.a.shape != s.x.shape:
        gone = gone.any(s.channel_axis, keepdims=s.features_with_channels())
    subset = np.flatnonzero(gone)
    np.testing.assert_allclose(query, s.without(subset, baseline(s, m.baseline)), rtol=1e-6)
    return subset


def sensitivity_n(m: Any, s: Sample) -> Answer:
    """Of the draws, or of what was asked, which must show the sizes that were promised."""
    a, b, sizes = prepare(s.a, m), baseline(s, m.baseline), subset_sizes(m, s.a.size)
    if s.draws is not None:
        subsets = [row[row >= 0] for row in s.draws]
    else:
        subsets = [_subset_of(m, s, q) for q in s.queries]
    assert [len(v) for v in subsets] == list(np.repeat(sizes, m.n_runs))
    sums = np.array([a.flat[v].sum() for v in subsets])
    drops = np.array([f(m, s, s.x) - f(m, s, s.without(v, b)) for v in subsets])
    by_size = zip(sums.reshape(-1, m.n_runs), drops.reshape(-1, m.n_runs), strict=True)
    curve = [pearson(u, v) for u, v in by_size]
    defined = [v for v in curve if not np.isnan(v)]
    return (float(np.mean(defined)) if defined else np.nan), curve


def infidelity(m: Any, s: Sample) -> Answer:
    a, b = prepare(s.a, m), baseline(s, m.baseline)
    if m.perturbation == "gaussian":
        changes = list(s.draws)
    else:
        if m.perturbation == "patches":
            squares = patches(s.spatial(), m.patch_size)
        else:
            squares = []
            for corner in s.draws:
                where = np.zeros(s.spatial(), bool)
                where[tuple(slice(c, c + m.patch_size) for c in corner)] = True
                squares.append(where)
        changes = [s.x - np.where(s.over_space(where), b, s.x) for where in squares]
    products = np.array([(i * s.spread(a)).sum() for i in changes])
    drops = np.array([f(m, s, s.x) - f(m, s, s.x - i) for i in changes])
    if m.normalised and (products**2).sum() > 0:
        products = products * (products * drops).sum() / (products**2).sum()
    return ((products - drops) ** 2).mean()


ROWS: dict[str, Row] = {
    "MonotonicityCorrelation": Row(
        je.MonotonicityCorrelation(features_in_step=16, n_samples=2),
        monotonicity_correlation,
        variants={
            "last group smaller": {"features_in_step": 25},
            "one at a time, once": {"features_in_step": 1, "n_samples": 1},
        },
        draws=draws.group_replacements,
        recover=draws.recover_inputs,
        random=True,
        in_world={"tabular": {"features_in_step": 5}},
    ),
    "FaithfulnessCorrelation": Row(
        je.FaithfulnessCorrelation(n_runs=8, subset_size=5, baseline=-2.0),
        faithfulness_correlation,
        variants={"black": {"baseline": "black"}, "channel means": {"baseline": "channel_mean"}},
        draws=draws.subsets,
        recover=draws.recover_subsets,
        random=True,
    ),
    "FaithfulnessEstimate": Row(
        je.FaithfulnessEstimate(features_in_step=16),
        faithfulness_estimate,
        variants={
            "last group smaller": {"features_in_step": 5},
            "one at a time": {"features_in_step": 1},
            **WHITE,
        },
        in_world={"tabular": {"features_in_step": 5}, "tokens": {"features_in_step": 5}},
    ),
    "PGI": Row(
        je.PGI(n_samples=6, std=0.5),
        pgi,
        variants={"0.3 of them": {"top_fraction": 0.3}, "all": {"top_fraction": 1.0}},
        draws=draws.noise,
        recover=draws.recover_noise,
        random=True,
    ),
    "PGU": Row(
        je.PGU(n_samples=6, std=0.5),
        pgu,
        variants={"but 0.3 of them": {"top_fraction": 0.3}},
        draws=draws.noise,
        recover=draws.recover_noise,
        random=True,
    ),
    "AverageDrop": Row(je.AverageDrop(), average_drop),
    "IncreaseInConfidence": Row(je.IncreaseInConfidence(), increase_in_confidence),
    "ADCC": Row(je.ADCC(), adcc),
    "MuFidelity": Row(
        je.MuFidelity(n_runs=8, grid_size=4, baseline=-2.0),
        mu_fidelity,
        variants={"3 x 3": {"grid_size": 3}, "black": {"baseline": "black"}},
        draws=draws.cells,
        recover=draws.recover_cells,
        random=True,
        numbers={"subset_percent": (0.2, 0.4)},
        skip=frozenset({"channels"}),
    ),
    "Sufficiency": Row(
        je.Sufficiency(threshold=0.9),
        sufficiency,
        variants={"all": {"threshold": 1.0}, "none": {"threshold": 0.0}},
        numbers={"threshold": (0.5, 0.9)},
    ),
    "SensitivityN": Row(
        je.SensitivityN(n_runs=5, n_sizes=3, baseline=-2.0),
        sensitivity_n,
        variants={
            "given sizes": {"sizes": (1, 3, 12)},
            "to half": {"n_max_percentage": 0.5, "n_sizes": 4},
        },
        draws=draws.sized_subsets,
        recover=draws.recover_subsets,
        random=True,
        asked=True,
        numbers={"sizes": ((2, 5, 9), (1, 4, 12))},
    ),
    "Infidelity": Row(
        je.Infidelity(n_samples=6),
        infidelity,
        variants={
            "normalised": {"normalised": True},
            "patches": {"perturbation": "patches", "patch_size": 3},
            "patches, normalised": {"perturbation": "patches", "normalised": True},
        },
        draws=draws.infidelity_draws,
        recover=draws.recover_change,
        random=True,
    ),
    "Infidelity/square": Row(
        je.Infidelity(n_samples=6, perturbation="square", patch_size=3, baseline=-2.0),
        infidelity,
        variants={"channel means": {"baseline": "channel_mean"}},
        draws=draws.infidelity_draws,
        recover=draws.recover_corners,
        random=True,
    ),
}
