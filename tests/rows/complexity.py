"""Complexity."""

from __future__ import annotations

from typing import Any

import numpy as np

import jaxeval as je
from tests.reference.maths import hull_area, prepare
from tests.reference.sample import Answer, Sample
from tests.rows.row import Row


def sparseness(m: Any, s: Sample) -> Answer:
    """Gini, as the mean absolute difference of all pairs over twice the mean."""
    v = np.abs(prepare(s.a, m)).ravel()
    if v.sum() == 0:
        return np.nan
    return np.abs(v[:, None] - v[None]).mean() / (2 * v.mean())


def complexity(m: Any, s: Sample) -> Answer:
    v = np.abs(prepare(s.a, m)).ravel()
    if v.sum() == 0:
        return np.nan
    p = v[v > 0] / v.sum()
    return -(p * np.log(p)).sum()


def effective_complexity(m: Any, s: Sample) -> Answer:
    return float(sum(abs(v) > m.eps for v in prepare(s.a, m).flat))


def mstc(m: Any, s: Sample) -> Answer:
    """Every pair of points, and Kruskal's tree over those that are neighbours."""
    a = prepare(s.a, m)
    if s.channel_axis is not None and s.features_with_channels():
        a = a.sum(s.channel_axis)
    heat = np.abs(a)
    bar = np.percentile(heat, m.percentile)
    points = [p for p in np.ndindex(heat.shape) if heat[p] >= bar and heat[p] > 0]
    area = hull_area(points)
    if area == 0:
        return np.nan
    n = len(points)
    length = [[float(np.hypot(p[0] - q[0], p[1] - q[1])) for q in points] for p in points]
    k = min(m.n_neighbours, n - 1)
    reach = [sorted(row)[k] for row in length]  # the first is the point itself
    edges = [
        (length[i][j], i, j)
        for i in range(n)
        for j in range(i)
        if length[i][j] <= max(reach[i], reach[j])
    ]
    part, tree = list(range(n)), 0.0
    for d, i, j in sorted(edges):
        if part[i] != part[j]:
            tree += d
            old, new = part[i], part[j]
            part = [new if v == old else v for v in part]
    return 100 * np.hypot(*heat.shape) / np.sqrt(area) * n / tree


ROWS: dict[str, Row] = {
    "Sparseness": Row(je.Sparseness(), sparseness),
    "Complexity": Row(je.Complexity(), complexity),
    "EffectiveComplexity": Row(
        je.EffectiveComplexity(eps=0.1),
        effective_complexity,
        variants={"default": {"eps": 1e-5}, "ties with a threshold": {"eps": 0.25}},
    ),
    "MSTC": Row(
        je.MSTC(),
        mstc,
        variants={
            "half": {"percentile": 50.0},
            "all": {"percentile": 0},
            "few neighbours": {"percentile": 60, "n_neighbours": 1},
            "three points or none": {"percentile": 95.3},
        },
        skip=frozenset({"channels", "tabular", "tokens"}),
    ),
}
