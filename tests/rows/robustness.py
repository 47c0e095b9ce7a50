"""Robustness."""

from __future__ import annotations

from typing import Any

import numpy as np

import jaxeval as je
from tests import draws
from tests.close import of_smallest
from tests.reference.maths import baseline, descending, prepare, relative_change, spearman
from tests.reference.sample import Answer, Sample
from tests.rows.row import Row


def _changes(m: Any, s: Sample) -> list[float]:
    a = prepare(s.a, m)
    size = np.linalg.norm(a.ravel())
    if size == 0:
        return [np.nan for _ in s.draws]
    moved = [prepare(s.explain(s.x + n), m) for n in s.draws]
    return [np.linalg.norm((a - v).ravel()) / size for v in moved]


def max_sensitivity(m: Any, s: Sample) -> Answer:
    return max(_changes(m, s))


def avg_sensitivity(m: Any, s: Sample) -> Answer:
    return float(np.mean(_changes(m, s)))


def local_lipschitz(m: Any, s: Sample) -> Answer:
    a = prepare(s.a, m)
    return max(
        np.linalg.norm((a - prepare(s.explain(s.x + n), m)).ravel()) / np.linalg.norm(n.ravel())
        for n in s.draws
    )


def _stability(m: Any, s: Sample, distance: Any) -> float:
    a, z = prepare(s.a, m), s.net.logits(s.x)
    ratios = []
    for n in s.draws:
        there = s.net.logits(s.x + n)
        if there.argmax() == z.argmax():
            change = relative_change(a, prepare(s.explain(s.x + n), m), m.eps)
            ratios.append(change / max(distance(s.x + n, z, there), m.eps))
    return max(ratios, default=np.nan)


def ris(m: Any, s: Sample) -> Answer:
    return _stability(m, s, lambda x, z, there: relative_change(s.x, x, m.eps))


def ros(m: Any, s: Sample) -> Answer:
    return _stability(m, s, lambda x, z, there: np.linalg.norm(z - there))


def rrs(m: Any, s: Sample) -> Answer:
    h = s.net.hidden(s.x)
    return _stability(m, s, lambda x, z, there: relative_change(h, s.net.hidden(x), m.eps))


def average_stability(m: Any, s: Sample) -> Answer:
    a = prepare(s.a, m)
    moved = [prepare(s.explain(s.x + n), m) for n in s.draws]
    if m.distance == "l2":
        return float(np.mean([np.linalg.norm((a - v).ravel()) for v in moved]))
    return float(np.mean([1 - spearman(a, v) for v in moved]))


def continuity(m: Any, s: Sample) -> Answer:
    """Column by column: what moves out is lost, and what moves in is the baseline."""
    a, b = prepare(s.a, m), baseline(s, m.baseline)
    axis = s.x.ndim - 1 if s.channel_axis != s.x.ndim - 1 else s.x.ndim - 2
    width, ratios = s.x.shape[axis], []
    for k in range(m.n_steps):
        shift = round(-width + 2 * width * k / (m.n_steps - 1))
        moved = np.array(b)
        for column in range(width):
            if 0 <= column + shift < width:
                to, of = ([slice(None)] * s.x.ndim for _ in range(2))
                to[axis], of[axis] = column + shift, column
                moved[tuple(to)] = s.x[tuple(of)]
        change = np.abs(a - prepare(s.explain(moved), m)).sum()
        if shift != 0 and (moved != s.x).any():
            ratios.append(change / np.linalg.norm((s.x - moved).ravel()))
    return max(ratios, default=np.nan)


def consistency(m: Any, samples: list[Sample]) -> list[float]:
    def code(s: Sample) -> Any:
        a = prepare(s.a, m).ravel()
        if m.discretise == "top_n_sign":
            return {(i, np.sign(a[i])) for i in descending(np.abs(a))[: m.n]}
        if m.discretise == "rank":
            return descending(a)
        return [np.sign(v) if m.discretise == "sign" else round(v, m.decimals) for v in a]

    codes = [code(s) for s in samples]
    classes = [int(s.net.logits(s.x).argmax()) for s in samples]
    scores = []
    for i, c in enumerate(codes):
        same = [j for j, other in enumerate(codes) if j != i and other == c]
        alike = [classes[j] == classes[i] for j in same]
        scores.append(float(np.mean(alike)) if alike else np.nan)
    return scores


ROWS: dict[str, Row] = {
    "MaxSensitivity": Row(
        je.MaxSensitivity(n_samples=6),
        max_sensitivity,
        draws=draws.noise,
        recover=draws.recover_noise,
        random=True,
    ),
    "AvgSensitivity": Row(
        je.AvgSensitivity(n_samples=6),
        avg_sensitivity,
        draws=draws.noise,
        recover=draws.recover_noise,
        random=True,
    ),
    "LocalLipschitz": Row(
        je.LocalLipschitz(n_samples=6),
        local_lipschitz,
        draws=draws.noise,
        recover=draws.recover_noise,
        random=True,
    ),
    "RIS": Row(
        je.RIS(n_samples=6, radius=0.3),
        ris,
        rounding=lambda w, a: of_smallest(a),
        variants={"large epsilon": {"eps": 0.5}, "every prediction changes": {"radius": 40.0}},
        draws=draws.noise,
        recover=draws.recover_noise,
        random=True,
    ),
    "ROS": Row(
        je.ROS(n_samples=6, radius=0.3),
        ros,
        rounding=lambda w, a: of_smallest(a) + of_smallest(w.logits),
        variants={"large epsilon": {"eps": 10.0}, "every prediction changes": {"radius": 40.0}},
        draws=draws.noise,
        recover=draws.recover_noise,
        random=True,
    ),
    "RRS": Row(
        je.RRS(n_samples=6, radius=0.3),
        rrs,
        rounding=lambda w, a: of_smallest(a) + of_smallest(w.hidden),
        variants={
            "large epsilon": {"eps": 10.0},
            "every prediction changes": {"radius": 40.0},
            "a layer by name": {"layers": ("hidden",)},
        },
        draws=draws.noise,
        recover=draws.recover_noise,
        random=True,
    ),
    "AverageStability": Row(
        je.AverageStability(n_samples=6),
        average_stability,
        variants={"l2": {"distance": "l2"}},
        draws=draws.noise,
        recover=draws.recover_noise,
        random=True,
        atol=1e-4,  # rounding may swap two ranks among 128
    ),
    "Continuity": Row(
        je.Continuity(n_steps=5),
        continuity,
        variants={
            "every shift": {"n_steps": 17},
            "more steps than shifts": {"n_steps": 100},
            "two": {"n_steps": 2},
            "channel means": {"baseline": "channel_mean"},
            "zero": {"baseline": "zero"},
        },
    ),
    "Consistency": Row(
        je.Consistency(n=2),
        consistency,
        variants={
            "top 1": {"n": 1},
            "top 5": {"n": 5},
            "signs": {"discretise": "sign"},
            "signs of magnitudes": {"discretise": "sign", "absolute": True},
            "ranks": {"discretise": "rank"},
            "rounded": {"discretise": "round", "decimals": 0},
            "finely": {"discretise": "round"},
        },
        numbers={"decimals": (1, 2)},
    ),
}
