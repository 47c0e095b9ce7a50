"""Axioms."""

from __future__ import annotations

from typing import Any

import numpy as np

import jaxeval as je
from tests import draws
from tests.reference.maths import baseline, f, prepare
from tests.reference.sample import Answer, Net, Sample
from tests.rows.row import Row


def completeness(m: Any, s: Sample) -> Answer:
    gain = f(m, s, s.x) - f(m, s, baseline(s, m.baseline))
    gap = abs(prepare(s.a, m).sum() - gain)
    if m.relative:
        gap = gap / abs(gain) if gain != 0 else np.nan
    return float(gap <= m.tolerance) if m.satisfied else gap


def input_invariance(m: Any, s: Sample) -> Answer:
    """The shifted network has the first bias b - w m."""
    first = s.net.params["hidden"]
    shift = np.full(s.x.size, float(m.shift))
    moved = {"w": first["w"], "b": first["b"] - shift @ first["w"]}
    net = Net({**s.net.params, "hidden": moved})
    a, shifted = prepare(s.a, m), prepare(s.explain(s.x + m.shift, net=net), m)
    change = np.abs(a - shifted).max()
    return float(change <= m.tolerance) if m.satisfied else change


def non_sensitivity(m: Any, s: Sample) -> Answer:
    a = prepare(s.a, m).ravel()
    draws = np.reshape(s.draws, (a.size, m.n_samples))
    disagree = 0
    for i in range(a.size):
        change = max(abs(f(m, s, s.x) - f(m, s, s.without([i], u))) for u in draws[i])
        disagree += (abs(a[i]) < m.eps) != (change < m.eps)
    return disagree / a.size


ROWS: dict[str, Row] = {
    "Completeness": Row(
        je.Completeness(),
        completeness,
        variants={
            "relative": {"relative": True},
            "satisfied": {"satisfied": True, "tolerance": 2.0},
            "relatively satisfied": {"satisfied": True, "relative": True, "tolerance": 0.9},
            "zero": {"baseline": "zero"},
            "channel means": {"baseline": "channel_mean"},
        },
    ),
    "InputInvariance": Row(
        je.InputInvariance(shift=0.5),
        input_invariance,
        variants={
            "not normalised": {"normalise": None, "shift": -2.0},
            "satisfied": {"satisfied": True},
        },
    ),
    "NonSensitivity": Row(
        je.NonSensitivity(n_samples=1, eps=0.02),
        non_sensitivity,
        variants={"3 times": {"n_samples": 3}, "other epsilon": {"eps": 0.1}},
        draws=draws.replacements,
        recover=draws.recover_replacements,
        random=True,
    ),
}
