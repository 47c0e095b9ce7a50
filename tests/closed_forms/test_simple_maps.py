"""Scores of simple maps, and of simple masks."""

from __future__ import annotations

import numpy as np
import pytest

import jaxeval as je
from tests.closed_forms.known import (
    SHAPE,
    F,
    W,
    score,
)
from tests.world import N


def test_complexity_of_simple_maps():
    even, one = np.full(SHAPE, -0.3, np.float32), np.zeros(SHAPE, np.float32)
    one[:, 1, 4, 4] = -7
    for metric, of_even, of_one in (
        (je.Sparseness(), 0, 1 - 1 / F),
        (je.Complexity(), np.log(F), 0),
        (je.EffectiveComplexity(), F, 1),
    ):
        results = je.evaluate(
            W.model,
            W.x,
            explainers={"even": even, "one": one, "zero": 0 * one},
            metrics={"m": metric},
            batch_size=64,
            progress=False,
        )
        np.testing.assert_allclose(results["even", "m"].score, of_even, atol=1e-5)
        np.testing.assert_allclose(results["one", "m"].score, of_one, atol=1e-6)
        undefined = 0 if isinstance(metric, je.EffectiveComplexity) else N
        assert results["zero", "m"].n_undefined == undefined


def test_compactness_of_simple_maps():
    """Squares of points a pixel apart: an area (k - 1)^2 and a tree of k^2 - 1."""
    maps = np.zeros((5, 8, 8), np.float32)
    maps[0, :3, :3] = maps[1, 2:6, 3:7] = 1
    maps[2, 4, :] = 1  # a line
    maps[3, 1, 1] = maps[3, 6, 6] = 1  # two points
    maps[4, ::3, ::3] = -1  # nine points, three pixels apart
    got = score(je.MSTC(), W.model, W.x[:5], W.y[:5], maps).score
    scale = 100 * np.hypot(8, 8)
    want = [scale / 2 * 9 / 8, scale / 3 * 16 / 15, np.nan, np.nan, scale / 6 * 9 / 24]
    np.testing.assert_allclose(got, want, rtol=1e-6)
    # Clusters far from each other with neighbours enough of their own have trees of their own.
    two = np.zeros((1, 8, 8), np.float32)
    two[0, :2, :2] = two[0, 6:, 6:] = 1
    for neighbours, length in ((3, 6), (4, 6 + np.hypot(5, 5))):
        metric = je.MSTC(n_neighbours=neighbours)
        got = score(metric, W.model, W.x[:1], W.y[:1], two).score
        np.testing.assert_allclose(got, scale / np.sqrt(13) * 8 / length, rtol=1e-6)


LOCAL = {
    "rank": je.RelevanceRankAccuracy(),
    "mass": je.RelevanceMassAccuracy(),
    "signed": je.RelevanceMassAccuracy(signed=True),
    "auc": je.AUC(),
    "pointing": je.PointingGame(),
    "weighted": je.PointingGame(weighted=True),
    "localisation": je.AttributionLocalisation(),
    "top": je.TopKIntersection(k=1),
    "precision": je.AveragePrecision(),
    "iou": je.IoU(),
    "focus": je.Focus(),
}


def test_localisation_of_simple_maps():
    """The mask as a map is right, its complement wrong, and an even one is chance."""
    inside = W.mask.astype(np.float32)
    results = je.evaluate(
        W.model,
        W.x,
        explainers={"mask": inside, "rest": 1 - inside, "minus": -inside, "even": 0 * inside + 1},
        metrics=LOCAL,
        mask=W.mask,
        batch_size=64,
        progress=False,
    )
    share = inside.mean((1, 2))
    for m in LOCAL:
        want = 1 - share if m == "weighted" else 1
        np.testing.assert_allclose(results["mask", m].score, want, rtol=1e-6)
        none = share if m == "precision" else 0  # that of retrieving everything
        np.testing.assert_allclose(results["rest", m].score, none, atol=1e-6)
    np.testing.assert_allclose(results["even", "auc"].score, 0.5)
    for m in ("mass", "localisation", "focus", "precision"):
        np.testing.assert_allclose(results["even", m].score, share, rtol=1e-6)
    assert results["minus", "mass"].n_undefined == N  # nothing positive to share
    np.testing.assert_allclose(results["minus", "signed"].score, 1)
    np.testing.assert_allclose(results["minus", "auc"].score, 0)
    assert not W.mask[:, 0, 0].any()
    np.testing.assert_array_equal(results["even", "pointing"].score, 0)  # the lowest index


def test_over_the_share_of_the_object():
    """An even map has what the object's size gives it: 1, whatever the size."""
    even = np.ones_like(W.mask, np.float32)
    metrics = {
        "weighted": je.AttributionLocalisation(weighted=True),
        "influence": je.TopKIntersection(k=64, concept_influence=True),
    }
    for metric in metrics.values():
        got = score(metric, W.model, a=even, mask=W.mask).score
        np.testing.assert_allclose(got, 1, rtol=1e-6)


def test_average_precision_is_scikit_learns():
    sklearn = pytest.importorskip("sklearn.metrics")
    mask = np.repeat(W.mask[:, None], 2, 1)
    for kind in ("smooth", "ties"):
        a = W.maps[kind]
        want = [
            sklearn.average_precision_score(m.ravel(), v.ravel())
            for m, v in zip(mask, a, strict=True)
        ]
        got = score(je.AveragePrecision(), W.model, a=a, mask=mask).score
        np.testing.assert_allclose(got, want, rtol=1e-5)


def test_overlap_with_the_object():
    """The object and as much again: an IoU of one half over the threshold, 1 of as many."""
    a = np.zeros((1, 8, 8), np.float32)
    mask = np.zeros((1, 8, 8), bool)
    mask[0, :2], a[0, :2], a[0, 4:6] = True, 1, 0.5
    for threshold, want in ((None, 1), (0.4, 0.5), (0.5, 1), (0.99, 1), (1, 0)):
        got = score(je.IoU(threshold=threshold), W.model, W.x[:1], W.y[:1], a, mask=mask).score
        np.testing.assert_allclose(got, want)


def test_pointing_within_a_tolerance():
    """The maximum at (1, 1), the object at (4, 5): five pixels away."""
    a, mask = np.zeros((1, 8, 8), np.float32), np.zeros((1, 8, 8), bool)
    a[0, 1, 1], mask[0, 4, 5] = 1, True
    for tolerance, want in ((0, 0), (4.99, 0), (5, 1), (5.01, 1)):
        metric = je.PointingGame(tolerance=tolerance)
        got = score(metric, W.model, W.x[:1], W.y[:1], a, mask=mask).score
        np.testing.assert_array_equal(got, want)
    # In another channel of the same pixel there is no distance.
    entries, both = np.zeros((1, 2, 8, 8), np.float32), np.zeros((1, 2, 8, 8), bool)
    entries[0, 0, 1, 1], both[0, 1, 4, 5] = 1, True
    metric = je.PointingGame(tolerance=5)
    assert score(metric, W.model, W.x[:1], W.y[:1], entries, mask=both).score == 1


def test_undefined_masks():
    """Nothing to point at; and for the ROC curve also nothing to point away from."""
    empty, full = np.zeros_like(W.mask), np.ones_like(W.mask)
    a = W.maps["smooth"]
    for mask, undefined in ((empty, set(LOCAL)), (full, {"auc"})):
        results = je.evaluate(
            W.model,
            W.x,
            explainers={"a": a},
            metrics=LOCAL,
            mask=mask,
            batch_size=64,
            progress=False,
        )
        for m in LOCAL:
            assert results["a", m].n_undefined == (N if m in undefined else 0), m
