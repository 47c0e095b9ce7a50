"""Scores of linear models, explained exactly."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

import jaxeval as je
from tests.closed_forms.known import (
    LINEAR,
    OF_Y,
    ONES,
    ROBUST,
    SHAPE,
    WEIGHTS,
    ZEROS,
    F,
    W,
    black,
    linear,
    score,
)
from tests.world import KEY, N


@pytest.mark.parametrize("pixelwise", [False, True])
@pytest.mark.parametrize(
    "metric",
    [
        je.FaithfulnessCorrelation(n_runs=12, subset_size=9, output="logit"),
        je.FaithfulnessEstimate(features_in_step=4, output="logit"),
        je.SensitivityN(n_runs=9, n_sizes=3, output="logit"),
        je.MuFidelity(n_runs=12, grid_size=4, output="logit"),
    ],
    ids=lambda m: type(m).__name__,
)
def test_weights_times_input_are_perfectly_faithful(metric, pixelwise):
    """f(x) - f(x_S) is the sum of w (x - b) over S, so every correlation is 1."""
    a = OF_Y * (W.x - black())
    out = score(metric, LINEAR, a=a.sum(1) if pixelwise else a)
    np.testing.assert_allclose(out.score, 1, atol=1e-4)
    if out.curve is not None:
        np.testing.assert_allclose(out.curve, 1, atol=1e-4)
    upside_down = score(metric, LINEAR, a=-a.sum(1) if pixelwise else -a)
    np.testing.assert_allclose(upside_down.score, -1, atol=1e-4)


def test_magnitudes_of_weights_order_the_effects_of_a_linear_model():
    """One feature from 1 to 0 changes f by its weight; and noise n by the weights times n."""
    given = {"baseline": 0.0, "output": "logit"}
    metric = je.MonotonicityCorrelation(n_samples=2, **given)
    np.testing.assert_allclose(score(metric, LINEAR, ONES, a=-3 * OF_Y).score, 1, atol=1e-5)
    flat = np.abs(OF_Y).reshape(N, F)
    upside_down = score(metric, LINEAR, ONES, a=(flat.max(1, keepdims=True) - flat).reshape(SHAPE))
    np.testing.assert_allclose(upside_down.score, -1, atol=1e-5)
    noise = np.random.default_rng(0).normal(size=(5, *SHAPE[1:])).astype(np.float32)
    a = np.zeros(SHAPE, np.float32)
    a[:, 0] = -1  # the first of two channels: half of the features
    given = {"draws": noise, "top_fraction": 0.5, "output": "logit"}
    for metric, channel in ((je.PGI(**given), 0), (je.PGU(**given), 1)):
        gaps = np.einsum("nij,sij->ns", OF_Y[:, channel], noise[:, channel])
        want = np.abs(gaps).mean(1)
        np.testing.assert_allclose(score(metric, LINEAR, a=a).score, want, rtol=1e-4)


def test_adding_features_of_one_sign():
    """Weights above 0 never lower f as they come in, those below always do."""
    for sign in (1, -1):
        model = je.Model(linear, sign * np.abs(WEIGHTS))
        for strict in (False, True):
            metric = je.Monotonicity(n_steps=9, strict=strict, baseline=0.0, output="logit")
            for a in (W.maps["smooth"], W.maps["ties"]):
                got = score(metric, model, ONES, a=a).score
                np.testing.assert_array_equal(got, (1 + sign) / 2)
    # What does not change f does not lower it, whatever the output.
    for output in ("probability", "logit"):
        metric = je.Monotonicity(n_steps=9, baseline=1.0, strict=True, output=output)
        np.testing.assert_array_equal(score(metric, LINEAR, ONES, a=OF_Y).score, 1)


def test_what_a_map_keeps_of_a_sum():
    """f sums the input: a map of ones on a half of it keeps the half."""
    model = je.Model(lambda p, x: jnp.stack([x.sum((1, 2, 3)), 0 * x[:, 0, 0, 0]], 1), {})
    a = np.full(SHAPE, -3, np.float32)
    a[:, 0] = 5
    given = {"model": model, "x": ONES, "y": ZEROS}
    drop = je.AverageDrop(output="logit")
    np.testing.assert_allclose(score(drop, a=a, **given).score, 0.5, rtol=1e-6)
    rise = je.IncreaseInConfidence(output="logit")
    np.testing.assert_array_equal(score(rise, a=a, **given).score, 0)
    x = ONES.copy()
    x[:, 1] = -0.5  # what is hidden spoke against the class
    given["x"] = x
    np.testing.assert_array_equal(score(drop, a=a, **given).score, 0)
    np.testing.assert_array_equal(score(rise, a=a, **given).score, 1)
    given["x"] = -x
    assert score(drop, a=a, **given).n_undefined == N  # no share of what is below 0
    # Coherent (the map looks at nothing), half full, half lost: 3 / (1 + 2 + 2).
    given["x"] = ONES
    coherent = score(je.ADCC(output="logit"), explainer=lambda m, x, y, k: a[0] + 0 * x, **given)
    np.testing.assert_allclose(coherent.score, 0.6, rtol=1e-5)


@pytest.mark.parametrize("perturbation", ["gaussian", "square", "patches"])
def test_the_weights_have_no_infidelity(perturbation):
    metric = je.Infidelity(perturbation=perturbation, n_samples=8)
    np.testing.assert_allclose(score(metric, LINEAR, a=OF_Y).score, 0, atol=1e-8)
    scaled = dataclasses.replace(metric, normalised=True)
    np.testing.assert_allclose(score(scaled, LINEAR, a=-3 * OF_Y).score, 0, atol=1e-8)
    # Twice the weights miss by I . w: a squared gap of its own size.
    off = score(metric, LINEAR, a=2 * OF_Y).score
    zero = score(metric, LINEAR, a=0 * OF_Y).score
    np.testing.assert_allclose(off, zero, rtol=1e-4)


def test_the_expected_infidelity_of_a_zero_map():
    """E (I . w)^2 = std^2 ||w||^2, from 4000 draws to 10 %."""
    metric = je.Infidelity(n_samples=4000, std=0.3)
    got = score(metric, LINEAR, x=W.x[:2], y=W.y[:2], a=0 * OF_Y[:2], batch_size=4000).score
    np.testing.assert_allclose(got, 0.09 * (OF_Y[:2] ** 2).sum((1, 2, 3)), rtol=0.1)


def test_a_linear_model_is_completely_explained():
    a = OF_Y * (W.x - black())
    np.testing.assert_allclose(score(je.Completeness(), LINEAR, a=a).score, 0, atol=1e-4)
    relative = je.Completeness(relative=True)
    np.testing.assert_allclose(score(relative, LINEAR, a=2 * a).score, 1, rtol=1e-3)
    satisfied = je.Completeness(satisfied=True)
    assert (np.asarray(score(satisfied, LINEAR, a=a).score) == 1).all()
    assert (np.asarray(score(satisfied, LINEAR, a=a + 1).score) == 0).all()


@pytest.mark.parametrize("baseline", ["black", "zero"])
def test_integrated_gradients_are_complete(baseline):
    explainer = je.explain.IntegratedGradients(n_steps=24, baseline=baseline)
    metric = je.Completeness(baseline=baseline)
    np.testing.assert_allclose(score(metric, W.model, explainer=explainer).score, 0, atol=1e-4)


def test_a_linear_model_has_the_same_gradient_everywhere():
    results = je.evaluate(
        LINEAR,
        W.x,
        W.y,
        explainers={"gradient": je.explain.Gradient()},
        metrics=ROBUST,
        key=KEY,
        batch_size=64,
        progress=False,
    )
    for m in ROBUST:
        np.testing.assert_allclose(results["gradient", m].score, 0, atol=1e-5, err_msg=m)
