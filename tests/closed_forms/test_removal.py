"""Scores of removing features, of models and images for which they can be written down."""

from __future__ import annotations

from math import ceil
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

import jaxeval as je
from tests.closed_forms.known import COUNTING, LINEAR, OF_Y, ONES, ZEROS, F, W, black, score
from tests.world import N

SIDE = 12
RAMP = (np.arange(SIDE)[:, None] * 0.5 - np.arange(SIDE) * 0.25).astype(np.float32)[None, None]
MIDDLE = np.zeros((1, 1, SIDE, SIDE), np.float32)
MIDDLE[..., 3:9, 4:10] = 1  # a quarter of the pixels


def of(f: Any) -> je.Model:
    """A model of two classes with the logits f(x) and 0."""
    return je.Model(lambda p, x: jnp.stack([f(x), jnp.zeros(len(x))], 1), {})


def test_top_shares_of_a_linear_model():
    """What goes takes its contribution with it; what stays is all that is left of f."""
    contributions = np.sort((OF_Y * (W.x - black())).reshape(N, F), 1)[:, ::-1]
    given = {"bins": (0.1, 0.5), "baseline": "black", "output": "logit"}
    a = OF_Y * (W.x - black())
    tops = np.stack([contributions[:, : ceil(b * F)].sum(1) for b in (0.1, 0.5)], 1)
    out = score(je.AOPCComprehensiveness(**given), LINEAR, a=a)
    np.testing.assert_allclose(out.curve, tops, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(out.score, tops.mean(1), rtol=1e-4, atol=1e-4)
    out = score(je.AOPCSufficiency(**given), LINEAR, a=a)
    left = contributions.sum(1, keepdims=True) - tops
    np.testing.assert_allclose(out.score, left.mean(1), rtol=1e-4, atol=1e-4)


def test_contributions_of_a_linear_model_are_in_the_order_of_its_drops():
    a = OF_Y * (W.x - black())
    metric = je.LOOCorrelation(baseline="black", output="logit")
    np.testing.assert_allclose(score(metric, LINEAR, a=a**3).score, 1, atol=1e-6)
    np.testing.assert_allclose(score(metric, LINEAR, a=-a).score, -1, atol=1e-6)


@pytest.mark.parametrize("share", [0.1, 0.25, 1.0])
def test_log_odds_of_counted_features(share: float):
    """log p of the logits (n, 0) is -log(1 + exp(-n))."""
    metric = je.LogOdds(share=share, baseline=0.0)
    left = F - ceil(share * F)
    want = np.log1p(np.exp(-F)) - np.log1p(np.exp(-left))
    got = score(metric, COUNTING, ONES, ZEROS, W.maps["smooth"]).score
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def test_superpixels_that_count_alike():
    """f counts what is left: r falls from 1 to 0 in L equal steps, and 1 - the mean is 1/2."""
    x = np.ones((3, 1, 8, 8), np.float32)
    ids = np.arange(8)[:, None] // 2 * 2 + np.arange(8) // 4
    segments = np.broadcast_to(ids, (3, 8, 8))
    a = np.random.default_rng(0).normal(size=x.shape).astype(np.float32)
    metric = je.IROF(n_segments=8, baseline=0.0, output="logit")
    got = je.score(metric, COUNTING, x, ZEROS[:3], a, extras={"segments": segments})
    np.testing.assert_allclose(got.score, 0.5, rtol=1e-6)
    # One superpixel is all that counts, and the map says so: r = 1, 0, 0, ...
    first = of(lambda x: x[:, 0, 0, 0])
    a = (segments == 0).astype(np.float32)[:, None]
    for sign, area in ((1, 1 - 0.5 / 8), (-1, 0.5 / 8)):
        got = je.score(metric, first, x, ZEROS[:3], sign * a, extras={"segments": segments})
        np.testing.assert_allclose(got.score, area, rtol=1e-6)


def test_a_ramp_is_imputed_exactly():
    """Every pixel of a plane is the weighted mean of its neighbours, so that nothing changes."""
    unchanged = of(lambda x: 1e-3 - jnp.abs(x - RAMP).max((1, 2, 3)))
    for order, sign in (("morf", 1), ("lerf", -1)):
        metric = je.ROAD(percentages=(10, 25), order=order, noise=0.0, solver_tolerance=1e-6)
        got = je.score(metric, unchanged, RAMP, [0], sign * MIDDLE)
        np.testing.assert_array_equal(got.curve, 1)
    bent = RAMP**2
    changed = of(lambda x: 1e-3 - jnp.abs(x - bent).max((1, 2, 3)))
    got = je.score(je.ROAD(percentages=(25,), noise=0.0), changed, bent, [0], MIDDLE)
    np.testing.assert_array_equal(got.score, 0)


@pytest.mark.parametrize("metric", [je.SoftComprehensiveness, je.SoftSufficiency])
def test_soft_removal_from_a_sum(metric: Any):
    """f counts: of the entries with probability a, those with draws of at least a go."""
    rng = np.random.default_rng(2)
    draws = rng.uniform(size=(6, *ONES.shape[1:])).astype(np.float32)
    a = rng.permuted(np.broadcast_to(np.linspace(0, 1, F), (N, F)), axis=1).astype(np.float32)
    stays = a if metric is je.SoftSufficiency else 1 - a
    kept = (draws.reshape(1, 6, F) < stays[:, None]).mean(2)
    want = (kept if metric is je.SoftSufficiency else 1 - kept).mean(1)
    out = score(metric(draws=draws, output="logit"), COUNTING, ONES, ZEROS, a.reshape(ONES.shape))
    np.testing.assert_allclose(out.score, want, rtol=1e-5)
    np.testing.assert_allclose(out.curve[:, 0], 0.5, rtol=1e-5)


def test_information_shown_to_models_that_do_not_look():
    rng = np.random.default_rng(1)
    x = rng.uniform(size=(2, 1, SIDE, SIDE)).astype(np.float32)
    sure = of(lambda x: 2.0 + 0 * x[:, 0, 0, 0])
    for y, accuracy in (([0, 0], 1), ([1, 1], 0)):
        np.testing.assert_array_equal(je.score(je.AIC(n_steps=6), sure, x, y, x).score, accuracy)
        np.testing.assert_allclose(je.score(je.SIC(n_steps=6), sure, x, y, x).score, 1, rtol=1e-6)


def test_two_groups_of_maps():
    """Equal maps are near, others are not: the share of equal classes among the equal maps."""
    a = np.zeros((6, 4), np.float32)
    a[3:] = 1
    x = np.asarray([[1], [1], [-1], [1], [1], [1]], np.float32) * np.ones((6, 4), np.float32)
    metric = je.Sufficiency(threshold=0.5)
    got = je.score(metric, of(lambda x: x.sum(1)), x, np.zeros(6, int), a).score
    np.testing.assert_allclose(got, [0.5, 0.5, 0, 1, 1, 1], rtol=1e-6)


def test_f1_of_a_rationale():
    a = np.asarray([[4, 3, 2, 1]], np.float32)
    mask = np.asarray([[True, False, True, False]])
    x = np.ones((1, 4), np.float32)
    for k, want in ((None, 0.5), (1, 2 / 3), (3, 0.8), (4, 2 / 3)):
        metric = je.RationaleF1(k=k)
        got = je.score(metric, of(lambda x: x.sum(1)), x, [0], a, mask=mask).score
        np.testing.assert_allclose(got, want, rtol=1e-6)
