"""Randomisation."""

from __future__ import annotations

from typing import Any

import numpy as np

import jaxeval as je
from tests import draws
from tests.reference.maths import pearson, prepare, spearman, ssim, unit_range
from tests.reference.sample import Answer, Net, Sample
from tests.rows.row import Row
from tests.world import closeness


def _similarity(kind: Any, u: np.ndarray, v: np.ndarray, s: Sample) -> float:
    if callable(kind):
        return float(kind(u, v))
    if kind == "ssim":
        axis = s.channel_axis if s.features_with_channels() else None
        return ssim(unit_range(u), unit_range(v), axis)
    return {"spearman": spearman, "pearson": pearson}[kind](u, v)


def _by_layer(m: Any, s: Sample, a: np.ndarray, draws: Any, explain: Any) -> Any:
    """(score, mean curve, standard deviations over the seeds) of a test by layers."""
    names = [n for n in ("hidden", "out") if m.layers is None or n in m.layers]
    if m.order != "bottom_up":
        names = names[::-1]
    similarities = np.zeros((m.n_seeds, len(names)))
    for seed in range(m.n_seeds):
        fresh = {n: {k: v[seed] for k, v in layer.items()} for n, layer in draws.items()}
        for i, name in enumerate(names):
            random = {name} if m.order == "independent" else set(names[: i + 1])
            net = Net({n: (fresh if n in random else s.net.params)[n] for n in s.net.params})
            similarities[seed, i] = _similarity(m.similarity, a, prepare(explain(net), m), s)
    curve = similarities.mean(0)
    return (curve.mean() if m.score == "mean" else curve[-1]), curve, similarities.std(0)


def mprt(m: Any, s: Sample) -> Answer:
    return _by_layer(m, s, prepare(s.a, m), s.draws, lambda net: s.explain(s.x, net=net))[:2]


def smooth_mprt(m: Any, s: Sample) -> Answer:
    sigma = m.noise_level * np.ptp(s.x)

    def explain(net: Net) -> np.ndarray:
        maps = [s.explain(s.x + sigma * e.astype(np.float64), net=net) for e in s.draws["noise"]]
        return sum(maps) / len(maps)

    return _by_layer(m, s, prepare(explain(s.net), m), s.draws["params"], explain)[:2]


def _bins(m: Any, a: np.ndarray) -> int:
    if not isinstance(m.n_bins, str):
        return m.n_bins
    name = {"freedman_diaconis": "fd"}.get(m.n_bins, m.n_bins)
    spread = np.subtract(*np.percentile(a, [75, 25])) if name == "fd" else a.std()
    if name in ("fd", "scott") and spread == 0:
        return 200
    return int(np.clip(len(np.histogram_bin_edges(a, name)) - 1, 10, 200))


def _entropy(a: np.ndarray, bins: int) -> float:
    counts = np.histogram(a, bins)[0]
    p = counts[counts > 0] / counts.sum()
    return -(p * np.log(p)).sum()


def efficient_mprt(m: Any, s: Sample) -> Answer:
    a = prepare(s.a, m)
    bins = _bins(m, a)
    clean = _entropy(a, bins)
    random = []
    for seed in range(m.n_seeds):
        net = Net({n: {k: v[seed] for k, v in layer.items()} for n, layer in s.draws.items()})
        random.append(_entropy(prepare(s.explain(s.x, net=net), m), bins))
    return (np.mean(random) - clean) / clean if clean > 0 else np.nan


def class_sensitivity(m: Any, s: Sample) -> Answer:
    if s.draws is None:
        others = [c for c in range(len(s.net.logits(s.x))) if c != s.y]
        other = max(others, key=lambda c: s.net.logits(s.x)[c])
    else:
        other = int(s.draws)
    u, v = (unit_range(prepare(a, m)) for a in (s.a, s.explain(s.x, other)))
    return _similarity(m.similarity, u, v, s)


def random_logit(m: Any, s: Sample) -> Answer:
    a, other = prepare(s.a, m), prepare(s.explain(s.x, int(s.draws)), m)
    return ssim(a, other, s.channel_axis if s.features_with_channels() else None)


ROWS: dict[str, Row] = {
    "MPRT": Row(
        je.MPRT(),
        mprt,
        variants={
            "bottom up": {"order": "bottom_up"},
            "independent": {"order": "independent"},
            "two seeds, pearson": {"n_seeds": 2, "similarity": "pearson"},
            "last layer, ssim": {"score": "last", "similarity": "ssim"},
            "one layer": {"layers": ("hidden",), "similarity": closeness},
        },
        draws=draws.random_params,
        per_sample_draws=False,
        random=True,
        atol=1e-3,  # rounding may swap two ranks among 128
    ),
    "SmoothMPRT": Row(
        je.SmoothMPRT(n_samples=3),
        smooth_mprt,
        variants={
            "bottom up, ssim": {"order": "bottom_up", "similarity": "ssim"},
            "two seeds, more noise": {"n_seeds": 2, "noise_level": 0.5},
            "last layer": {"score": "last", "order": "independent"},
        },
        draws=draws.smooth_draws,
        per_sample_draws=False,
        random=True,
        atol=1e-3,  # as MPRT
    ),
    "EfficientMPRT": Row(
        je.EfficientMPRT(n_bins=8),
        efficient_mprt,
        variants={
            "100 bins, two seeds": {"n_bins": 100, "n_seeds": 2},
            **{rule: {"n_bins": rule} for rule in ("freedman_diaconis", "scott", "sqrt")},
            **{rule: {"n_bins": rule} for rule in ("sturges", "rice")},
        },
        draws=draws.random_params,
        per_sample_draws=False,
        random=True,
    ),
    "ClassSensitivity": Row(
        je.ClassSensitivity(),
        class_sensitivity,
        variants={"pearson": {"similarity": "pearson"}, "function": {"similarity": closeness}},
        draws=draws.other_class,
        recover=draws.recover_class,
        same_bits=False,
    ),
    "ClassSensitivity/top": Row(
        je.ClassSensitivity(similarity="spearman"),
        class_sensitivity,
        variants={"ssim": {"similarity": "ssim"}},
        atol=1e-3,  # as MPRT
    ),
    "RandomLogit": Row(
        je.RandomLogit(),
        random_logit,
        draws=draws.other_class,
        recover=draws.recover_class,
        random=True,
        same_bits=False,
    ),
}
