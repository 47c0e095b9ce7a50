"""Scores of explainers that look at nothing, or at the input only."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxeval as je
from tests.closed_forms.known import (
    LINEAR_24,
    ROBUST,
    SHAPE,
    WEIGHTS,
    ZEROS,
    W,
    fixed,
    linear,
    score,
    the_input,
)
from tests.draws import random_params
from tests.world import KEY, N


@pytest.mark.parametrize("explainer", [fixed, je.explain.Constant()], ids=["fixed", "even"])
def test_a_constant_explainer_is_robust(explainer):
    """Also under a model that says the same of everything, where little divides."""
    silent = dataclasses.replace(W.model, params=jax.tree.map(np.zeros_like, W.model.params))
    for model in (W.model, silent):
        results = je.evaluate(
            model,
            W.x,
            W.y,
            explainers={"e": explainer},
            metrics=ROBUST,
            key=KEY,
            batch_size=64,
            progress=False,
        )
        for m in ROBUST:
            np.testing.assert_allclose(results["e", m].score, 0, atol=1e-5, err_msg=m)


def test_a_constant_explainer_fails_the_sanity_checks():
    """It says the same of every class and every model."""
    np.testing.assert_allclose(score(je.RandomLogit(), W.model, explainer=fixed).score, 1)
    for similarity in ("spearman", "pearson", "ssim"):
        out = score(je.MPRT(similarity=similarity), W.model, explainer=fixed)
        np.testing.assert_allclose(out.score, 1, rtol=1e-6)
        np.testing.assert_allclose(out.curve, np.ones((N, 2)), rtol=1e-6)
    nothing = je.explain.Constant()
    for metric in (je.RandomLogit(), je.MPRT()):
        assert score(metric, W.model, explainer=nothing).n_undefined == N


def test_randomising_an_explainer_that_looks_at_nothing_makes_it_no_more_complex():
    for n_bins in (10, 100, "scott", "freedman_diaconis"):
        metric = je.EfficientMPRT(n_bins=n_bins)
        np.testing.assert_allclose(score(metric, W.model, explainer=fixed).score, 0, atol=1e-6)
    for similarity in ("spearman", "pearson", "ssim"):
        for metric in (
            je.SmoothMPRT(n_samples=2, similarity=similarity, n_seeds=2),
            je.ClassSensitivity(similarity=similarity),
        ):
            out = score(metric, W.model, explainer=fixed)
            np.testing.assert_allclose(out.score, 1, rtol=1e-6)
    np.testing.assert_allclose(
        score(je.InputInvariance(shift=3.0), W.model, explainer=fixed).score, 0
    )


def test_entropy_of_maps_of_few_values():
    """Half of the entries at 1, the rest at 0: log 2; noise as a map under the random model."""

    def halves(model: Any, x: Any, y: Any, keys: Any) -> Any:
        even = (jnp.arange(x[0].size) % 2).reshape(x[0].shape) * jnp.ones_like(x)
        known = jnp.array_equal(model.params["out"]["w"], W.model.params["out"]["w"])
        quarters = (jnp.arange(x[0].size) % 4).reshape(x[0].shape) * jnp.ones_like(x)
        return jnp.where(known, even, quarters)

    for n_bins in (4, 100, "rice"):
        got = score(je.EfficientMPRT(n_bins=n_bins, n_seeds=2), W.model, explainer=halves).score
        np.testing.assert_allclose(got, 1, rtol=1e-5)  # (log 4 - log 2) / log 2


def test_input_invariance_of_known_explainers():
    """The gradient is invariant; times the input it changes by shift times gradient."""
    shift = 0.5
    gradient, product = je.explain.Gradient(), je.explain.InputXGradient()
    metric = je.InputInvariance(shift=shift, normalise=None)
    np.testing.assert_allclose(score(metric, W.model, explainer=gradient).score, 0, atol=1e-5)
    change = shift * np.abs(score_map(gradient)).max((1, 2, 3))
    got = score(metric, W.model, explainer=product).score
    np.testing.assert_allclose(got, change, rtol=1e-4)
    for baseline, invariant in (("black", True), ("zero", False)):  # black moves along, 0 does not
        explainer = je.explain.IntegratedGradients(n_steps=8, baseline=baseline)
        satisfied = je.InputInvariance(shift=shift, satisfied=True)
        got = np.asarray(score(satisfied, W.model, explainer=explainer).score)
        assert (got == invariant).all()


def score_map(explainer: Any) -> np.ndarray:
    return np.asarray(je.attribute(explainer, W.model, W.x, W.y, key=KEY))


def test_smoothing_the_gradient_is_smoothgrad():
    noise = np.random.default_rng(0).normal(size=(5, *SHAPE[1:])).astype(np.float32)
    smooth = je.explain.SmoothGrad(draws=noise, noise_level=0.1)
    ours = je.explain.Smoothed(explainer=je.explain.Gradient(), draws=noise)
    np.testing.assert_allclose(score_map(ours), score_map(smooth), rtol=1e-6, atol=1e-6)
    # The clean map of a smooth test is smoothed, so with SmoothGrad's noise both tests agree.
    draws = random_params(W, je.MPRT(), np.random.default_rng(1))
    plain = score(je.MPRT(draws=draws), W.model, explainer=smooth)
    both = {"params": draws, "noise": noise}
    got = score(je.SmoothMPRT(draws=both), W.model, explainer=je.explain.Gradient())
    np.testing.assert_allclose(got.curve, plain.curve, atol=1e-3)


def test_the_deviation_over_seeds():
    draws = random_params(W, je.MPRT(n_seeds=3), np.random.default_rng(1))
    explainer = je.explain.Gradient()
    one = [
        score(je.MPRT(draws=jax.tree.map(lambda v: v[k : k + 1], draws)), W.model,  # noqa: B023
              explainer=explainer)
        for k in range(3)
    ]  # fmt: skip
    curves = np.array([o.curve for o in one])
    assert all(o.curve_std is None for o in one)
    for metric in (je.MPRT(n_seeds=3, draws=draws), je.MPRT(n_seeds=3, draws=draws, score="last")):
        out = score(metric, W.model, explainer=explainer)
        np.testing.assert_allclose(out.curve, curves.mean(0), atol=1e-5)
        np.testing.assert_allclose(out.curve_std, curves.std(0), atol=1e-5)


def test_results_name_the_layers():
    metrics = {
        "down": je.MPRT(n_seeds=2),
        "up": je.SmoothMPRT(order="bottom_up", n_samples=2),
        "one": je.MPRT(layers=("hidden",)),
        "flip": je.PixelFlipping(n_steps=2),
    }
    results = je.evaluate(
        W.model, W.x, W.y, explainers={"g": je.explain.Gradient()}, metrics=metrics, progress=False
    )
    assert results.points == {
        "down": ("out", "hidden"),
        "up": ("hidden", "out"),
        "one": ("hidden",),
    }
    assert je.layer_names(W.model, W.x) == ("hidden", "out")
    assert results["g", "down"].curve_std.shape == (N, 2)


def test_the_input_as_explanation():
    """||a - a'|| = ||x - x'||: a Lipschitz constant of 1, and a relative stability of 1."""
    lipschitz = je.LocalLipschitz(n_samples=4, normalise=None)
    got = score(lipschitz, W.model, explainer=the_input).score
    np.testing.assert_allclose(got, 1, rtol=1e-6)
    stability = je.RIS(n_samples=4, normalise=None)
    got = score(stability, W.model, explainer=the_input).score
    np.testing.assert_allclose(got, 1, rtol=1e-6)
    noise = np.random.default_rng(0).uniform(-0.2, 0.2, (4, *SHAPE[1:])).astype(np.float32)
    ratios = np.linalg.norm(noise.reshape(4, -1), axis=1)[None]
    ratios = ratios / np.linalg.norm(W.x.reshape(N, -1), axis=1)[:, None]
    for metric, want in (
        (je.MaxSensitivity(draws=noise), ratios.max(1)),
        (je.AvgSensitivity(draws=noise), ratios.mean(1)),
    ):
        got = score(metric, W.model, explainer=the_input).score
        np.testing.assert_allclose(got, want, rtol=1e-5)


def test_a_constant_explainer_is_stable_in_rank_and_hidden_layers():
    metrics = {"rrs": je.RRS(n_samples=4), "ranks": je.AverageStability(n_samples=4)}
    for m, metric in metrics.items():
        got = score(metric, W.model, explainer=fixed).score
        np.testing.assert_allclose(got, 0, atol=1e-6, err_msg=m)
    even = score(metrics["ranks"], W.model, explainer=je.explain.Constant())
    assert even.n_undefined == N  # a constant map has no ranks


def test_hidden_layers_are_taken_together():
    """h = (2 x, x): alone or both, the relative change of h is that of x, or sqrt(2) times it."""

    def hidden(w, x):
        return x.reshape(len(x), -1) @ w, {"twice": 2 * x, "same": x}

    model = je.Model(linear, WEIGHTS, hidden=hidden)
    given = {"n_samples": 4, "normalise": None}
    for layers, want in ((("same",), 1), (["twice"], 1), (None, 1 / np.sqrt(2))):
        metric = je.RRS(layers=layers, **given)
        x = np.where(W.x == 0, 0.5, W.x)
        got = score(metric, model, x, explainer=the_input).score
        np.testing.assert_allclose(got, want, rtol=1e-5)


def test_continuity_of_the_input_itself():
    """One pixel of 1 on black, moved: |a - a'| sums to 2 and x - x' has length sqrt(2)."""
    x = np.zeros((3, 1, 4, 6), np.float32)
    x[0, 0, 2, 3] = x[1, 0, 0, 0] = 1
    metric = je.Continuity(n_steps=13, normalise=None)  # -5..6
    got = score(metric, LINEAR_24, x, ZEROS[:3], explainer=the_input)
    np.testing.assert_allclose(got.score[:2], np.sqrt(2), rtol=1e-6)
    assert np.isnan(got.score[2])  # nothing moves


def test_consistency_by_hand():
    """Two groups of equal explanations, one of them with a class of its own, and a loner."""
    x = np.array([[3, 0], [2, 0], [0, 3], [9, 1], [1, 1], [0, 8], [1, 9]], np.float32)
    a = np.array([[2, 0], [1, 0], [2, 0], [0, 1], [0, 3], [0, 2], [-1, 0]], np.float32)
    got = score(je.Consistency(n=1), je.Model(lambda p, x: x, {}), x, None, a)
    np.testing.assert_allclose(got.score, [0.5, 0.5, 0, 0.5, 0.5, 0, np.nan])
    assert got.record is None
    # The scale of a map is no matter, and neither is the order among the top features.
    a = np.array([[2, 1, 0], [10, 20, 0], [0, 1, 2]], np.float32)
    got = score(je.Consistency(n=2), je.Model(lambda p, x: x, {}), a, None, a)
    np.testing.assert_allclose(got.score, [0, 0, np.nan])
