"""`evaluate`: many metrics of many methods."""

from __future__ import annotations

import numpy as np
import pytest

from tests.bridges.quantus.conftest import N, ours, theirs

pytestmark = pytest.mark.filterwarnings("ignore")


def metrics():
    return {
        "faithfulness": ours.FaithfulnessCorrelation(nr_runs=5, return_aggregate=False),
        "max": ours.MaxSensitivity(nr_samples=2),
        "sparse": ours.Sparseness(),
    }


def test_each_method_explains_by_its_name(case):
    """Quantus scores plain gradients under every name."""
    methods = {"Saliency": {}, "IntegratedGradients": {}, "IG": {"method": "IntegratedGradients"}}
    np.random.seed(0)
    results = ours.evaluate(metrics(), methods, case.net, case.x, case.y)
    for name, settings in methods.items():
        method = settings.get("method", name)
        a = theirs.explain(case.net, case.x, case.y, method=method)
        own = theirs.Sparseness(disable_warnings=True)(None, case.x, case.y, a)
        np.testing.assert_allclose(results[name]["sparse"], own, rtol=1e-5, atol=1e-6)
    assert results["IG"]["sparse"] == results["IntegratedGradients"]["sparse"]
    assert results["Saliency"]["max"][0] != results["IG"]["max"][0]


def test_maps_functions_and_a_table(case):
    def double(model, inputs, targets, **kwargs):
        assert kwargs["method"] == "mine"
        return 2 * theirs.explain(model, inputs, targets, method="Gradient")

    few = {"sparse": ours.Sparseness(), "max": ours.MaxSensitivity(nr_samples=2)}
    methods = {"mine": double, "Gradient": case.a}
    table = ours.evaluate(
        few, methods, case.net, case.x, case.y, agg_func=np.mean,
        explain_func_kwargs={}, return_as_df=True, batch_size=N,
    )  # fmt: skip
    assert list(table.columns) == ["mine", "Gradient"]
    assert list(table.index) == ["sparse", "max"]
    np.testing.assert_allclose(*table.loc["sparse"], rtol=1e-5, atol=1e-6)
    assert np.isfinite(table.to_numpy(float)).all()


def test_several_calls(case):
    calls = {"logits": {"softmax": False}, "probabilities": {"softmax": True}}
    few = {"flip": ours.PixelFlipping(features_in_step=196)}
    results = ours.evaluate(few, {"m": case.a}, case.net, case.x, case.y, call_kwargs=calls)
    assert list(results["m"]["flip"]) == list(calls)
    assert (
        np.min(results["m"]["flip"]["logits"]) < 0 <= np.min(results["m"]["flip"]["probabilities"])
    )


def test_a_metric_that_fails_is_nan(case):
    few = {"k": ours.FaithfulnessCorrelation(subset_size=9999), "sparse": ours.Sparseness()}
    with pytest.warns(UserWarning, match="k of m failed and is NaN: ValueError"):
        results = ours.evaluate(few, {"m": case.a}, case.net, case.x, case.y)
    assert np.isnan(results["m"]["k"])
    assert len(results["m"]["sparse"]) == N


def test_what_is_refused(case):
    with pytest.raises(TypeError, match="xai_methods\\['m'\\] must be a dict"):
        ours.evaluate(metrics(), {"m": 3}, case.net, case.x, case.y)
    with pytest.raises(ValueError, match="sofmax"):
        ours.evaluate(metrics(), {"m": case.a}, case.net, case.x, case.y, sofmax=True)
    with pytest.raises(TypeError, match="call_kwargs"):
        ours.evaluate(metrics(), {"m": case.a}, case.net, case.x, case.y, call_kwargs=[1])


def test_metrics_with_the_same_noise_share_explanations(case, monkeypatch):
    """Of two groups, Max and Avg, and RIS and ROS, only the first of each asks."""
    asked = []
    ask = ours.batch.Batch.ask
    monkeypatch.setattr(
        ours.batch.Batch,
        "ask",
        lambda self, *a, **k: asked.append(self.metric) or ask(self, *a, **k),
    )
    few = {
        "max": ours.MaxSensitivity(nr_samples=3),
        "ris": ours.RelativeInputStability(nr_samples=3, return_nan_when_prediction_changes=False),
        "avg": ours.AvgSensitivity(nr_samples=3),
        "ros": ours.RelativeOutputStability(nr_samples=3),
        "other": ours.AvgSensitivity(nr_samples=3, abs=True),
    }
    with ours.engine("jaxeval"):
        np.random.seed(0)
        results = ours.evaluate(few, {"Gradient": {}}, case.net, case.x, case.y)["Gradient"]
    assert asked == [few["max"], few["ris"], few["other"]]
    assert (np.asarray(results["avg"]) < np.asarray(results["max"])).all()
    first, a = {}, theirs.explain(case.net, case.x, case.y, method="Gradient")
    call = {"explain_func": theirs.explain, "explain_func_kwargs": {"method": "Gradient"}}
    np.random.seed(0)
    for name, of in (("max", theirs.MaxSensitivity), ("ris", theirs.RelativeInputStability)):
        fields = {} if name == "max" else {"return_nan_when_prediction_changes": False}
        metric = of(nr_samples=3, **fields)
        first[name] = metric(model=case.net, x_batch=case.x, y_batch=case.y, a_batch=a, **call)
        np.testing.assert_allclose(results[name], first[name], rtol=1e-3)


def test_sharing_does_not_share_what_is_undefined(case):
    """A metric that does not watch the prediction shares explanations with one that does."""
    noise = {"nr_samples": 3, "lower_bound": 2.0, "disable_warnings": True}
    few = {
        "watching": ours.MaxSensitivity(return_nan_when_prediction_changes=True, **noise),
        "max": ours.MaxSensitivity(**noise),
    }
    with ours.engine("jaxeval"):
        np.random.seed(0)
        results = ours.evaluate(few, {"Gradient": {}}, case.net, case.x, case.y)["Gradient"]
        np.random.seed(0)
        alone = few["max"](case.net, case.x, case.y, case.a, explain_func=ours.explain)
    assert np.isnan(results["watching"]).any()
    np.testing.assert_allclose(results["max"], alone, rtol=1e-5, atol=1e-6)
