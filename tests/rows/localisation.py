"""Localisation."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.metrics import auc as sklearn_auc
from sklearn.metrics import precision_recall_curve

import jaxeval as je
from tests.reference.maths import descending, prepare
from tests.reference.sample import Answer, Sample
from tests.rows.row import Row


def pointing_game(m: Any, s: Sample) -> Answer:
    a = prepare(s.a, m)
    if not s.mask.any():
        return np.nan
    if s.x.ndim > 1 and a.shape == (s.x.shape[0], 1):  # channels, which have no distances
        hit = float(s.mask.ravel()[descending(a)[0]])
        return hit * (1 - s.mask.sum() / a.size) if m.weighted else hit
    axes = [
        i for i in range(a.ndim) if not (i == s.channel_axis and s.features_with_channels())
    ]  # distances are in pixels
    top = np.array(np.unravel_index(descending(a)[0], a.shape))[axes]
    distance = min(np.linalg.norm(at[axes] - top) for at in np.argwhere(s.mask))
    hit = float(distance <= m.tolerance)
    return hit * (1 - s.mask.sum() / a.size) if m.weighted else hit


def relevance_mass_accuracy(m: Any, s: Sample) -> Answer:
    a = prepare(s.a, m)
    mass = np.abs(a) if m.signed else np.clip(a, 0, None)
    if not s.mask.any() or mass.sum() == 0:
        return np.nan
    return mass[s.mask].sum() / mass.sum()


def relevance_rank_accuracy(m: Any, s: Sample) -> Answer:
    a, k = prepare(s.a, m), int(s.mask.sum())
    return np.nan if k == 0 else s.mask.ravel()[descending(a)[:k]].sum() / k


def auc(m: Any, s: Sample) -> Answer:
    a = prepare(s.a, m)
    inside, outside = a[s.mask], a[~s.mask]
    if not inside.size or not outside.size:
        return np.nan
    wins = sum(np.sum(u > outside) + np.sum(u == outside) / 2 for u in inside)
    return wins / (inside.size * outside.size)


def attribution_localisation(m: Any, s: Sample) -> Answer:
    inside = total = 0.0
    for v, on in zip(prepare(s.a, m).flat, s.mask.flat, strict=True):
        total += max(v, 0)
        inside += max(v, 0) if on else 0
    if not s.mask.any() or total == 0:
        return np.nan
    return inside / total * (s.mask.size / s.mask.sum() if m.weighted else 1)


def focus(m: Any, s: Sample) -> Answer:
    positive = np.clip(prepare(s.a, m), 0, None)
    if not s.mask.any() or not positive.any():
        return np.nan
    return positive[s.mask].sum() / positive.sum()


def top_k_intersection(m: Any, s: Sample) -> Answer:
    a, mask = prepare(s.a, m), s.mask.ravel()
    if not mask.any():
        return np.nan
    k = max(a.size // 10, 1) if m.k is None else m.k
    hits = sum(mask[i] for i in descending(a)[:k])
    return hits / k * (mask.size / mask.sum() if m.concept_influence else 1)


def average_precision(m: Any, s: Sample) -> Answer:
    """Each recalled feature at the precision of its threshold; or the curve of scikit-learn."""
    a = prepare(s.a, m)
    inside = a[s.mask]
    if not inside.size:
        return np.nan
    if m.area == "trapezoid":
        precision, recall, _ = precision_recall_curve(s.mask.ravel(), a.ravel())
        return float(sklearn_auc(recall, precision))
    return float(np.mean([(inside >= t).sum() / (a >= t).sum() for t in inside]))


def iou(m: Any, s: Sample) -> Answer:
    a, mask = prepare(s.a, m).ravel(), s.mask.ravel()
    if not mask.any():
        return np.nan
    if m.threshold is None:
        chosen = set(descending(a)[: mask.sum() if m.k is None else m.k])
    else:
        chosen = {i for i, v in enumerate(a) if v > m.threshold}
    wanted = set(np.flatnonzero(mask).tolist())
    ratio = len(chosen & wanted) / len(chosen | wanted)
    return ratio if m.at_least is None else float(ratio >= m.at_least)


ROWS: dict[str, Row] = {
    "PointingGame": Row(
        je.PointingGame(),
        pointing_game,
        variants={
            "tolerance 1": {"tolerance": 1},
            "tolerance 1.5": {"tolerance": 1.5},
            "weighted": {"weighted": True, "tolerance": 3},
        },
    ),
    "RelevanceMassAccuracy": Row(
        je.RelevanceMassAccuracy(),
        relevance_mass_accuracy,
        variants={"signed": {"signed": True}},
    ),
    "RelevanceRankAccuracy": Row(je.RelevanceRankAccuracy(), relevance_rank_accuracy),
    "AUC": Row(je.AUC(), auc),
    "AttributionLocalisation": Row(
        je.AttributionLocalisation(),
        attribution_localisation,
        variants={"weighted": {"weighted": True}},
    ),
    "TopKIntersection": Row(
        je.TopKIntersection(k=5),
        top_k_intersection,
        variants={
            "a tenth": {"k": None},
            "all": {"k": 128},
            "concept influence": {"k": 20, "concept_influence": True},
        },
    ),
    "AveragePrecision": Row(
        je.AveragePrecision(), average_precision, variants={"trapezoid": {"area": "trapezoid"}}
    ),
    "IoU": Row(
        je.IoU(),
        iou,
        variants={
            "threshold": {"threshold": 0.3},
            "below zero": {"threshold": -0.5},
            "k": {"k": 9},
            "at least": {"at_least": 0.2},
        },
        numbers={"threshold": (0.25, 0.5)},
    ),
    "Focus": Row(je.Focus(), focus),
}
