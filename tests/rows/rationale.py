"""Metrics that come from the evaluation of rationales: the top-ranked features, alone or gone."""

from __future__ import annotations

from math import ceil
from typing import Any

import numpy as np
from scipy.special import log_softmax, softmax
from scipy.stats import kendalltau

import jaxeval as je
from tests import draws
from tests.reference.maths import baseline, descending, f, prepare, unit_range
from tests.reference.sample import Answer, Sample
from tests.rows.row import BASELINES, WHITE, Row


def _top(m: Any, s: Sample, share: float) -> list[int]:
    a = prepare(s.a, m)
    return descending(a)[: ceil(share * a.size - 1e-9)]


def comprehensiveness(m: Any, s: Sample) -> Answer:
    b = baseline(s, m.baseline)
    drops = [f(m, s, s.x) - f(m, s, s.without(_top(m, s, share), b)) for share in m.bins]
    return float(np.mean(drops)), drops


def aopc_sufficiency(m: Any, s: Sample) -> Answer:
    b, everything = baseline(s, m.baseline), set(range(s.a.size))
    rest = [sorted(everything - set(_top(m, s, share))) for share in m.bins]
    drops = [f(m, s, s.x) - f(m, s, s.without(gone, b)) for gone in rest]
    return float(np.mean(drops)), drops


def log_odds(m: Any, s: Sample) -> Answer:
    x = s.without(_top(m, s, m.share), baseline(s, m.baseline))
    if m.output != "log_probability":
        return f(m, s, x) - f(m, s, s.x)
    after, before = (log_softmax(s.net.logits(v))[s.y] for v in (x, s.x))
    return float(after - before)


def loo_correlation(m: Any, s: Sample) -> Answer:
    b, p = baseline(s, m.baseline), softmax(s.net.logits(s.x))
    queries = [s.without([i], b) for i in range(s.a.size)]
    drops = [f(m, s, s.x) - f(m, s, x) for x in queries]
    if m.absolute_drop:
        drops = [np.abs(p - softmax(s.net.logits(x))).sum() / 2 for x in queries]
    # Only features at the baseline already drop by nothing, and these by exactly that.
    drops = [0.0 if (x == s.x).all() else d for x, d in zip(queries, drops, strict=True)]
    return float(kendalltau(prepare(s.a, m).ravel(), drops).statistic)


def _soft(m: Any, s: Sample, chance: np.ndarray) -> tuple[np.ndarray, float]:
    """(the drops of all draws, the drop without any feature)."""
    kept = [np.where(u < s.spread(chance), s.x, 0) for u in s.draws]
    drops = [max(0, f(m, s, s.x) - f(m, s, x)) for x in kept]
    return np.array(drops), max(0, f(m, s, s.x) - f(m, s, 0 * s.x))


def soft_comprehensiveness(m: Any, s: Sample) -> Answer:
    a = unit_range(prepare(s.a, m))
    drops, most = _soft(m, s, 1 - a)
    if most == 0 or np.ptp(a) == 0:
        return np.nan, [a.mean()]
    return float(np.clip(drops / most, 0, 1).mean()), [a.mean()]


def soft_sufficiency(m: Any, s: Sample) -> Answer:
    a = unit_range(prepare(s.a, m))
    drops, most = _soft(m, s, a)
    if most == 0 or np.ptp(a) == 0:
        return np.nan, [1 - a.mean()]
    return float(np.clip((most - drops) / most, 0, 1).mean()), [1 - a.mean()]


def rationale_f1(m: Any, s: Sample) -> Answer:
    size = int(s.mask.sum())
    if not size:
        return np.nan
    k = size if m.k is None else m.k
    hits = s.mask.ravel()[descending(prepare(s.a, m))[:k]].sum()
    precision, recall = hits / k, hits / size
    return 2 * precision * recall / (precision + recall) if hits else 0.0


BINS = {"two shares": {"bins": (0.3, 1.0)}}

ROWS: dict[str, Row] = {
    "AOPCComprehensiveness": Row(
        je.AOPCComprehensiveness(baseline=-1.0),
        comprehensiveness,
        variants=BASELINES | BINS,
        numbers={"baseline": (-1.0, 0.5)},
    ),
    "AOPCSufficiency": Row(
        je.AOPCSufficiency(baseline=-1.0),
        aopc_sufficiency,
        variants=WHITE | BINS,
        numbers={"baseline": (-1.0, 0.5)},
    ),
    "LogOdds": Row(
        je.LogOdds(baseline=-1.0),
        log_odds,
        variants=WHITE | {"half": {"share": 0.5}},
        numbers={"baseline": (-1.0, 0.5)},
    ),
    "LOOCorrelation": Row(
        je.LOOCorrelation(baseline=-1.0),
        loo_correlation,
        variants={"white": {"baseline": 2.5}, "all classes": {"absolute_drop": True}},
        numbers={"baseline": (-1.0, 0.5)},
    ),
    "SoftComprehensiveness": Row(
        je.SoftComprehensiveness(n_samples=4),
        soft_comprehensiveness,
        draws=draws.fractions,
        recover=draws.recover_kept,
        random=True,
    ),
    "SoftSufficiency": Row(
        je.SoftSufficiency(n_samples=4),
        soft_sufficiency,
        draws=draws.fractions,
        recover=draws.recover_kept,
        random=True,
    ),
    "RationaleF1": Row(je.RationaleF1(), rationale_f1, variants={"k": {"k": 7}}),
}
