"""What a model answers with: what cannot be is refused."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxeval as je
from tests.outputs.models import FLIP, KEYS, V, X, Y, evaluate, logits, model, probabilities

REFUSED = {
    "probabilities as logits": (model(probabilities), {}, r'outputs="probabilities"\), or a model'),
    "logits as probabilities": (model(outputs="probabilities"), {}, "sum to 1, but one is"),
    "one logit under a softmax": (model(logits, V), {"y": None}, 'outputs="binary"'),
    "three logits as a binary one": (model(outputs="binary"), {}, "gives 3 outputs"),
    "values without y": (model(outputs="values"), {"y": None}, "y must say which"),
    "a probability of values": (model(outputs="values"), {"output": "probability"}, "plain value"),
    "a logit of probabilities": (
        model(probabilities, outputs="probabilities"),
        {"output": "logit"},
        "without its softmax",
    ),
    "a class beyond a binary model": (
        model(logits, V, outputs="binary"),
        {},
        r"class 2, but the model has 2 outputs",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
@pytest.mark.parametrize("host", [False, True])
def test_what_is_refused(what, host):
    given, more, match = REFUSED[what]
    if host:
        jax_model = given
        given = je.Model(
            lambda p, x: np.asarray(jax_model(jnp.asarray(x))),
            {},
            channel_axis=None,
            host=True,
            outputs=jax_model.outputs,
        )
    with pytest.raises((ValueError, je.EvaluationError), match=match):
        evaluate(given, FLIP, **more)


def test_probabilities_are_scored_as_they_are_where_that_is_asked_for():
    """No softmax is taken then; metrics that score logits by default did not ask."""
    given, plain = model(probabilities), je.PixelFlipping(n_steps=3, baseline=0.0, output="value")
    got = evaluate(given, {"p": plain})
    want = evaluate(model(probabilities, outputs="probabilities"), {"p": plain})
    np.testing.assert_allclose(got["a", "p"].score, want["a", "p"].score, rtol=1e-5, atol=1e-6)
    metric = je.FaithfulnessCorrelation(n_runs=9, subset_size=2, baseline=0.0)
    for metrics in ({"fc": metric}, {"p": plain, "fc": metric}, {"s": je.Sparseness()}):
        with pytest.raises(ValueError, match="these are probabilities"):
            evaluate(given, metrics, y=None)


@pytest.mark.parametrize("half", [jnp.float16, jnp.bfloat16], ids=["float16", "bfloat16"])
def test_probabilities_in_half_precision_are_probabilities(half):
    w = np.random.default_rng(1).normal(size=(6, 50)).astype(np.float32)

    def apply(w: Any, x: Any) -> Any:
        return jax.nn.softmax((x @ w).astype(half))

    with pytest.raises(ValueError, match="these are probabilities"):
        evaluate(model(apply, w), FLIP)
    got = evaluate(model(apply, w, outputs="probabilities"), FLIP)
    assert np.isfinite(got["a", "flip"].score).all()


def test_an_unknown_kind():
    with pytest.raises(ValueError, match="Did you mean 'probabilities'"):
        model(outputs="probability")


CLASSES = [je.ROAD(), je.AIC(), je.Sufficiency(), je.Consistency(), je.ClassSensitivity()]


@pytest.mark.parametrize("metric", CLASSES, ids=lambda m: type(m).__name__)
@pytest.mark.parametrize("kind", ["values", "logits"])
def test_metrics_of_classes_refuse_models_without(metric, kind):
    given = model(outputs="values") if kind == "values" else model(logits, V)
    y = Y if kind == "values" else 0 * Y
    with pytest.raises(ValueError, match=type(metric).__name__):
        evaluate(given, {"m": metric}, {"e": je.explain.Saliency()}, y=y)


def test_random_logit_needs_another_output():
    rng = np.random.default_rng(5)
    x = rng.normal(size=(3, 1, 8, 8)).astype(np.float32)
    w = rng.normal(size=(64, 1)).astype(np.float32) / 16

    def apply(w: Any, x: Any) -> Any:
        return jnp.tanh(x.reshape(len(x), -1) @ w)

    explain = je.explain.InputXGradient()
    with pytest.raises(ValueError, match="one output"):
        je.RandomLogit()(je.Model(apply, w), x, np.zeros(3, int), explainer=explain)
    two = je.Model(apply, w, outputs="binary")
    assert np.isfinite(je.RandomLogit()(two, x, np.zeros(3, int), explainer=explain)).all()


def test_ros_refuses_probabilities():
    with pytest.raises(ValueError, match="the change of the logits"):
        evaluate(
            model(probabilities, outputs="probabilities"),
            {"ros": je.ROS(n_samples=3)},
            {"e": je.explain.Saliency()},
        )


@pytest.mark.parametrize("name", ["RISE", "Gradient"])
def test_explainers_of_probabilities_refuse_one_logit(name):
    explainer, keys = je.explain.get(name, output="probability"), jax.random.split(KEYS, 7)
    with pytest.raises(ValueError, match="always 1"):
        explainer(model(logits, V), jnp.asarray(X), jnp.zeros(7, int), keys)


def test_excitation_backprop_refuses_binary_models():
    explainer = je.explain.ExcitationBackprop()
    with pytest.raises(ValueError, match="binary model has none"):
        explainer(model(logits, V, outputs="binary"), jnp.asarray(X), jnp.zeros(7, int))


def test_pearson_metrics_score_logits():
    """Of probabilities their estimates are biased by heavy tails."""
    for metric in (je.FaithfulnessCorrelation(), je.MuFidelity(), je.SensitivityN()):
        assert metric.output == "logit"
    metric = je.FaithfulnessCorrelation(subset_size=2, n_runs=20, baseline=0.0)
    by = {o: dataclasses.replace(metric, output=o) for o in ("logit", "probability")}
    got = evaluate(model(), {"default": metric, **by})
    np.testing.assert_array_equal(got["a", "default"].score, got["a", "logit"].score)
    assert not np.allclose(got["a", "default"].score, got["a", "probability"].score)
