"""Functions that explain in Python: the engine calls them once for each batch, as Quantus does."""

from __future__ import annotations

import numpy as np
import pytest

from tests.bridges.quantus.conftest import N, ours, theirs
from tests.bridges.quantus.test_parity import flat, laplace

pytestmark = pytest.mark.filterwarnings("ignore")


def of_batch(model, inputs, targets, scale=1.0, **_):
    """Maps that depend on the other samples of the batch, in one array without channels."""
    a = theirs.explain(model, inputs, targets, method="Saliency")[:, 0]
    return scale * a / a.max()


def drawing(model, inputs, targets, **_):
    """Maps that draw from NumPy's generator, between the draws of the metric."""
    a = theirs.explain(model, inputs, targets, method="Gradient")
    return a + 0.1 * np.random.normal(size=a.shape).astype(np.float32)


CASES = [
    ("MaxSensitivity", {}),
    ("MaxSensitivity", {"normalise": True, "abs": True, "perturb_func": laplace}),
    ("AvgSensitivity", {"return_nan_when_prediction_changes": True, "lower_bound": 0.05}),
    ("LocalLipschitzEstimate", {}),
    ("RelativeInputStability", {"return_nan_when_prediction_changes": False}),
    ("RelativeOutputStability", {"return_nan_when_prediction_changes": False}),
    ("Continuity", {"nr_steps": 4}),
]


@pytest.mark.parametrize("explain", [of_batch, drawing])
@pytest.mark.parametrize(("name", "fields"), CASES)
def test_the_callers_own_function(case, name, fields, explain):
    """Its maps may depend on the batch and on random numbers: it sees what Quantus shows it."""
    fields = fields if "nr_steps" in fields else {"nr_samples": 3, **fields}
    calls = []

    def counted(model, inputs, targets, **kwargs):
        calls.append(len(inputs))
        return explain(model, inputs, targets, **kwargs)

    call = {"explain_func": counted, "explain_func_kwargs": {"scale": 2.0}}
    mine, want = map(flat, case.both(name, fields, given=False, **call))
    assert calls[: len(calls) // 2] == calls[len(calls) // 2 :]  # ours, Quantus's
    assert set(calls) == {4, 2}
    assert {(e.metric, e.engine) for e in ours.log()} == {(name, "jaxeval")}
    assert {e.why for e in ours.log()} == {
        "maps are made on the host: explain_func is the caller's own function"
    }
    np.testing.assert_array_equal(np.isnan(mine), np.isnan(want))
    np.testing.assert_allclose(mine, want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "kwargs",
    [
        {"method": "DeepLift"},
        {"method": "GradientShap"},
        {"method": "LayerGradCam", "gc_layer": "list(model.named_modules())[4][1]",
         "interpolate": (28, 28)},
        {"method": "Control Var. Random Uniform"},
        {"method": "IntegratedGradients", "baseline": 0.3},
    ],
    ids=lambda kwargs: kwargs["method"],
)  # fmt: skip
def test_methods_that_captum_runs(case, kwargs):
    """Some draw random numbers, in torch or in NumPy."""
    call = {"explain_func_kwargs": kwargs, "a_batch": case.a}
    mine, want = map(flat, case.both("MaxSensitivity", {"nr_samples": 2}, **call))
    assert {e.engine for e in ours.log()} == {"jaxeval"}
    assert all("maps are made on the host" in e.why for e in ours.log())
    np.testing.assert_allclose(mine, want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("explain", ["own", "DeepLift"])
@pytest.mark.parametrize("name", ["MPRT", "RandomLogit", "EfficientMPRT"])
def test_randomised_models(case, name, explain):
    call = {"explain_func": of_batch, "explain_func_kwargs": {}}
    fields = {"RandomLogit": {"num_classes": 10}, "EfficientMPRT": {}, "MPRT": {}}[name]
    scores = []
    for library in (ours, theirs):
        if explain == "DeepLift":
            call = {"explain_func": library.explain, "explain_func_kwargs": {"method": explain}}
        with ours.engine("jaxeval"):
            scores.append(flat(case.run(library, name, fields, given=True, **call)))
    assert {e.engine for e in ours.log()} == {"jaxeval"}
    assert ours.log()[-1].metric == name
    assert "maps are made on the host" in ours.log()[-1].why
    np.testing.assert_allclose(*scores, rtol=1e-5, atol=1e-6)


def test_hidden_layers_are_asked_of_the_engine(case):
    """Of maps without small entries, by which the score would divide."""

    def lifted(model, inputs, targets, **_):
        return 1 + of_batch(model, inputs, targets)

    fields = {"nr_samples": 2, "layer_names": ["fc_3"]}
    fields["return_nan_when_prediction_changes"] = False
    call = {"explain_func": lifted, "explain_func_kwargs": {}}
    name = "RelativeRepresentationStability"
    mine, want = map(flat, case.both(name, fields, given=False, **call))
    assert {e.engine for e in ours.log()} == {"jaxeval"}
    np.testing.assert_allclose(mine, want, rtol=1e-4)


def test_a_model_that_does_not_convert_is_not_needed(case):
    """It runs in torch, where its predictions are needed."""
    import torch

    class Branching(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.net = case.net

        def forward(self, x):
            return self.net(x) if x.sum() > 0 else self.net(-x)

    net = Branching().eval()
    fields = {"nr_samples": 2, "return_nan_when_prediction_changes": True, "lower_bound": 0.05}
    scores = []
    for library in (ours, theirs):
        np.random.seed(0)
        with ours.engine("jaxeval"):
            metric = library.MaxSensitivity(disable_warnings=True, **fields)
            scores.append(metric(net, case.x, case.y, explain_func=of_batch))
    assert {e.engine for e in ours.log()} == {"jaxeval"}
    np.testing.assert_allclose(*scores, rtol=1e-5, atol=1e-6)


def test_its_errors_are_the_callers(case):
    def failing(model, inputs, targets, **_):
        raise KeyError("my own")

    with ours.engine("jaxeval"), pytest.raises(KeyError, match="my own"):
        case.run(ours, "MaxSensitivity", {"nr_samples": 2}, explain_func=failing)


def test_metrics_of_one_evaluation_share_its_maps(case):
    """Also those of a function that draws random numbers: each metric alone is Quantus's."""
    calls = []

    def counted(model, inputs, targets, **_):
        calls.append(len(inputs))
        return drawing(model, inputs, targets)

    few = {"max": ours.MaxSensitivity(nr_samples=3), "avg": ours.AvgSensitivity(nr_samples=3)}
    with ours.engine("jaxeval"):
        np.random.seed(0)
        results = ours.evaluate(few, {"mine": counted}, case.net, case.x, case.y)["mine"]
    assert calls == [N] * 4  # the maps of x, and those of three draws
    np.random.seed(0)
    a = drawing(case.net, case.x, case.y)
    state = np.random.get_state()
    for name, of in (("max", theirs.MaxSensitivity), ("avg", theirs.AvgSensitivity)):
        np.random.set_state(state)
        want = of(nr_samples=3)(case.net, case.x, case.y, a, explain_func=drawing)
        np.testing.assert_allclose(results[name], want, rtol=1e-5, atol=1e-6)


def test_small_jobs_are_not_the_engines(case):
    case.run(ours, "MaxSensitivity", {"nr_samples": 2}, explain_func=of_batch)
    assert {e.engine for e in ours.log()} == {"quantus"}
    assert "small" in ours.log()[-1].why
