"""Names in place of metrics and explainers, functions of (model, inputs, targets), baselines."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

import jaxeval as je

X = np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32)
Y = np.array([0, 1, 1, 0])
W = np.random.default_rng(1).normal(size=(6, 2)).astype(np.float32)
MODEL = je.Model(lambda w, x: x @ w, jnp.asarray(W), channel_axis=None)


def maps(**explainers):
    metrics = {"m": je.FaithfulnessCorrelation(subset_size=2, n_runs=8, baseline=0.0)}
    given = explainers.get("explainers", explainers)
    return je.evaluate(MODEL, X, Y, explainers=given, metrics=metrics, progress=False)


def test_names_stand_for_classes():
    want = maps(IG=je.explain.IntegratedGradients(n_steps=5))["IG", "m"].score
    for given in (
        {"IG": ("IntegratedGradients", {"n_steps": 5})},
        {"IG": ["IntegratedGradients", {"n_steps": 5}]},
        {"IntegratedGradients": {"n_steps": 5}},
        [("IntegratedGradients", {"n_steps": 5}), "Saliency"],
        ("IntegratedGradients", {"n_steps": 5}),
    ):
        r = maps(explainers=given)
        np.testing.assert_array_equal(r[r.explainers[0], "m"].score, want)
    a = je.attribute("Saliency", MODEL, X, Y)
    np.testing.assert_array_equal(a, je.attribute(je.explain.Saliency(), MODEL, X, Y))
    by_name = je.score(("Complexity", {}), MODEL, X, Y, explainer="Saliency").score
    np.testing.assert_array_equal(by_name, je.score(je.Complexity(), MODEL, X, Y, a).score)
    r = je.evaluate(
        MODEL, X, Y, explainers=["Saliency"], progress=False,
        metrics=["Sparseness", ("PixelFlipping", {"baseline": "zero", "n_steps": 2})],
    )  # fmt: skip
    assert (r.explainers, r.metrics) == (("Saliency",), ("Sparseness", "PixelFlipping"))
    assert r.settings["metrics"]["PixelFlipping"]["n_steps"] == 2


@pytest.mark.parametrize(
    ("given", "kind", "words"),
    [
        (["Salency"], ValueError, "no explainer 'Salency'.*Did you mean 'Saliency'"),
        ([("Saliency", {"n": 2})], TypeError, "Saliency has no field 'n'"),
        ({"IG": {"n_steps": 5}}, ValueError, "no explainer 'IG'"),
        (["Saliency", "Saliency"], ValueError, "more than one Saliency"),
    ],
)
def test_unknown_names_are_refused(given, kind, words):
    with pytest.raises(kind, match=words):
        maps(explainers=given)


def plain(model, inputs, targets, **kwargs):
    assert not kwargs
    return inputs * jnp.asarray(W).T[targets]


def on_host(model, inputs, targets, n_steps=3):
    assert n_steps == 3
    return np.asarray(inputs) * W.T[np.asarray(targets)]


@pytest.mark.parametrize("fn", [plain, on_host, lambda m, x, y: plain(m, x, y)])
def test_functions_of_model_inputs_and_targets(fn):
    a = je.attribute(fn, MODEL, X, Y)
    np.testing.assert_allclose(a, X * W.T[Y], rtol=1e-6)


def ablated(b):
    return je.attribute(je.explain.FeatureAblation(baseline=b), MODEL, X, Y)


def test_lists_and_functions_are_baselines():
    values = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]
    want = (X - np.float32(values)) * W.T[Y]
    np.testing.assert_allclose(ablated(values), want, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(ablated(lambda x: x.mean()), (X - X.mean(1, keepdims=True)) * W.T[Y],
                               rtol=1e-4, atol=1e-6)  # fmt: skip
    for b, same in ((lambda x: 0 * x + 0.25, 0.25), (values, np.float32(values))):
        one, other = (
            je.score(je.PixelFlipping(baseline=v, n_steps=3), MODEL, X, Y, X).score
            for v in (b, same)
        )
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("baseline", "kind", "words"),
    [
        (["black", "white"], TypeError, "a finite number"),
        ([[1, 2], [3]], TypeError, "a finite number"),
        ([1.0, np.nan], ValueError, "a finite number"),
        ([1.0, 2.0], ValueError, "broadcast"),
        (lambda x: jnp.zeros(5), (ValueError, je.EvaluationError), "broadcast"),
    ],
)
def test_baselines_that_do_not_fit_are_refused(baseline, kind, words):
    with pytest.raises(kind, match=words):
        je.score(je.PixelFlipping(baseline=baseline), MODEL, X, Y, X)


def test_baselines_of_normalised_images():
    mean, std = [0.4, 0.5, 0.6], [0.2, 0.25, 0.3]
    image = np.random.default_rng(0).random((2, 3, 4, 4))
    x = (image - np.reshape(mean, (3, 1, 1))) / np.reshape(std, (3, 1, 1))
    np.testing.assert_allclose(je.ops.denormalise(x, mean, std), image, atol=1e-12)
    last = je.ops.denormalise(np.moveaxis(x, 1, -1), mean, std, channel_axis=-1)
    np.testing.assert_allclose(last, np.moveaxis(image, 1, -1), atol=1e-12)
    black = je.ops.normalised(0, mean, std)
    assert black.shape == (3, 1, 1)
    np.testing.assert_allclose(je.ops.denormalise(black[None], mean, std), 0, atol=1e-7)
    assert je.ops.normalised(1, mean, std, channel_axis=-1).shape == (1, 1, 3)
    with pytest.raises(ValueError, match="one per channel"):
        je.ops.denormalise(x, mean[:2], std)
