"""Scores that are known without computing them: linear models, counting models, simple maps."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxeval as je
from tests import cases
from tests.cases import KEY, N, world

W = world()
F = W.x[0].size
SHAPE = W.x.shape


# -- models --------------------------------------------------------------------------------------


def linear(w: Any, x: Any) -> Any:
    return x.reshape(len(x), -1) @ w


def counting(params: Any, x: Any) -> Any:
    """Logit 0 counts the entries that are not 0."""
    n = (x != 0).reshape(len(x), -1).sum(1).astype(jnp.float32)
    return jnp.stack([n, jnp.zeros_like(n)], 1)


WEIGHTS = np.random.default_rng(3).normal(size=(F, 5)).astype(np.float32)
LINEAR = je.Model(linear, WEIGHTS)
LINEAR_24 = je.Model(linear, WEIGHTS[:24])
COUNTING = je.Model(counting, {})
ONES = np.ones(SHAPE, np.float32)
ZEROS = np.zeros(N, np.int32)
OF_Y = WEIGHTS[:, W.y].T.reshape(SHAPE)  # the weights of the explained class


ROBUST = {
    "max": je.MaxSensitivity(n_samples=4),
    "avg": je.AvgSensitivity(n_samples=4),
    "lipschitz": je.LocalLipschitz(n_samples=4),
    "ris": je.RIS(n_samples=4),
    "ros": je.ROS(n_samples=4),
    "average": je.AverageStability(n_samples=4, distance="l2"),
    "continuity": je.Continuity(n_steps=5),
}


def black() -> np.ndarray:
    return W.x.min((1, 2, 3), keepdims=True)


def score(metric: Any, model: Any, x: Any = W.x, y: Any = W.y, a: Any = None, **given: Any) -> Any:
    return je.score(metric, model, x, y, a, **({"key": KEY, "batch_size": 64} | given))


def fixed(model: Any, x: Any, y: Any, keys: Any) -> Any:
    """An explainer that looks at nothing."""
    pattern = jnp.sin(jnp.arange(x[0].size, dtype=x.dtype)).reshape(x[0].shape)
    return jnp.broadcast_to(pattern, x.shape)


def the_input(model: Any, x: Any, y: Any, keys: Any) -> Any:
    return x


# -- linear models, explained exactly ------------------------------------------------------------


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


# -- explainers that look at nothing, or at the input only ---------------------------------------


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
    draws = cases.random_params(W, je.MPRT(), np.random.default_rng(1))
    plain = score(je.MPRT(draws=draws), W.model, explainer=smooth)
    both = {"params": draws, "noise": noise}
    got = score(je.SmoothMPRT(draws=both), W.model, explainer=je.explain.Gradient())
    np.testing.assert_allclose(got.curve, plain.curve, atol=1e-3)


def test_the_deviation_over_seeds():
    draws = cases.random_params(W, je.MPRT(n_seeds=3), np.random.default_rng(1))
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


# -- counting models -----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["smooth", "ties", "edge"])
@pytest.mark.parametrize("order", ["morf", "lerf", "random"])
@pytest.mark.parametrize("steps", [1, 5, 8, 128])
def test_flipping_counts_down(steps, order, kind):
    """Whatever the order, F - floor(F s / S) features are left after s steps."""
    metric = je.PixelFlipping(n_steps=steps, order=order, baseline=0.0, output="logit")
    got = score(metric, COUNTING, ONES, ZEROS, W.maps[kind])
    curve = F - F * np.arange(1, steps + 1) // steps
    np.testing.assert_array_equal(got.curve, np.tile(curve, (N, 1)))
    area = (curve.sum() - (curve[0] + curve[-1]) / 2) / (steps - 1) if steps > 1 else curve[0]
    np.testing.assert_allclose(got.score, area, rtol=1e-6)


def test_areas_on_a_counting_model():
    """Straight lines from F to 0: half of F under them, also for pixels with two channels."""
    given = {"baseline": 0.0, "output": "logit"}
    a, y = W.maps["ties"], ZEROS
    for maps in (a, a.sum(1), a.sum(1, keepdims=True)):
        for metric in (je.Deletion(n_steps=8, **given), je.Insertion(n_steps=8, **given)):
            out = score(metric, COUNTING, ONES, y, maps)
            np.testing.assert_allclose(out.score, F / 2, rtol=1e-6)
            line = np.linspace(0, F, 9)
            want = line if isinstance(metric, je.Insertion) else line[::-1]
            np.testing.assert_array_equal(out.curve, np.tile(want, (N, 1)))
    by_group = je.PixelFlipping(features_in_step=50, **given)
    got = score(by_group, COUNTING, ONES, y, a)
    np.testing.assert_array_equal(got.curve, np.tile([78, 28, 0], (N, 1)))
    # Patches of 8 x 8: four of 18 entries, two of 12 on either side, and one of 8 in the corner.
    patches = je.RegionPerturbation(patch_size=3, **given)
    got = score(patches, COUNTING, ONES, y, a)
    gone = np.diff(got.curve, axis=1, prepend=0)
    np.testing.assert_array_equal(np.sort(gone, 1), np.tile([8] + [12] * 4 + [18] * 4, (N, 1)))
    np.testing.assert_allclose(got.score, np.sum(got.curve, 1) / 10, rtol=1e-6)
    got = score(je.Selectivity(patch_size=3, **given), COUNTING, ONES, y, a)
    np.testing.assert_array_equal(-np.diff(got.curve, axis=1, prepend=F), gone)
    assert (got.curve[:, -1] == 0).all()  # nothing is left
    got = score(je.SRG(n_steps=8, **given), COUNTING, ONES, y, a)
    np.testing.assert_array_equal(got.curve, np.zeros((N, 8)))  # whatever the order


def test_a_model_of_a_few_features():
    """f = x_0: in order of relevance it is gone at once, in reverse it stays to the end."""
    model = je.Model(lambda p, x: jnp.stack([x[:, 0], 0 * x[:, 0]], 1), {})
    x, y, a = np.ones((3, 10), np.float32), np.zeros(3, int), np.eye(10, dtype=np.float32)[[0] * 3]
    given = {"n_steps": 10, "baseline": 0.0, "output": "logit"}
    for metric, want in (
        (je.PixelFlipping(**given), 0),
        (je.PixelFlipping(order="lerf", **given), 1 - 1 / 18),
        (je.Deletion(**given), 1 / 20),
        (je.Insertion(**given), 1 - 1 / 20),
        (je.SRG(**given), 1 - 1 / 18),
    ):
        np.testing.assert_allclose(score(metric, model, x, y, a).score, want, atol=1e-6)
    wrong = np.eye(10, dtype=np.float32)[[9] * 3]  # ties to the lowest index: 9, 0, 1, ...
    for metric, want in (
        (je.PixelFlipping(**given), 1 / 18),
        (je.PixelFlipping(order="lerf", **given), 0),
        (je.SRG(**given), -1 / 18),
    ):
        np.testing.assert_allclose(score(metric, model, x, y, wrong).score, want, atol=1e-6)


def test_a_map_that_is_zero_where_the_model_does_not_look():
    model = je.Model(lambda p, x: jnp.stack([x[:, :6].sum(1), 0 * x[:, 0]], 1), {})
    x, y = np.full((3, 12), -1, np.float32), np.zeros(3, int)
    metric = je.NonSensitivity(n_samples=3, output="logit")
    a = np.repeat([[1.0, 0.0]], 6, 1).repeat(3, 0)
    for maps, want in ((a, 0), (1 - a, 1), (0 * a, 0.5), (1 + a, 0.5)):
        np.testing.assert_allclose(score(metric, model, x, y, maps).score, want, atol=1e-6)


# -- simple maps ---------------------------------------------------------------------------------


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
