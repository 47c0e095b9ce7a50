"""Models, functions and subclasses that scripts change under a metric's feet."""

from __future__ import annotations

import numpy as np
import pytest

from tests.bridges.quantus.conftest import ours, theirs, torch

pytestmark = pytest.mark.filterwarnings("ignore")

GRADIENT = {"method": "Gradient"}
FEW = {"nr_samples": 3}


def small(activation=None):
    torch.manual_seed(3)
    layers = torch.nn.Linear(6, 8), activation or torch.nn.Tanh(), torch.nn.Linear(8, 4)
    return torch.nn.Sequential(*layers).eval()


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    return rng.uniform(size=(5, 6)).astype(np.float32), rng.integers(0, 4, 5)


def both(name, data, net, fields=None, classes=None, prepare=None, **call):
    """(the engine's scores, Quantus's) on one seed."""
    scores, (x, y) = [], data
    for library in (ours, theirs):
        np.random.seed(1)
        metric = (classes or {}).get(library) or getattr(library, name)
        metric = metric(disable_warnings=True, **(fields or {}))
        if prepare:
            prepare(metric)
        explain = {"explain_func": library.explain, "explain_func_kwargs": GRADIENT}
        with ours.engine("jaxeval"):
            scores.append(metric(net, x.copy(), y, **explain | {"batch_size": 3} | call))
    return scores


def engine_of(name):
    return {entry.engine for entry in ours.log() if entry.metric == name}


def test_what_a_module_computes_may_change_without_its_weights(data):
    """By attributes that no weight tells of, also together with new weights."""

    class Scaled(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.net, self.scale = small(torch.nn.Softplus()), 1.0

        def forward(self, x):
            return torch.tanh(self.net(x) * self.scale)

    net = Scaled().eval()
    changes = [
        lambda: None,
        lambda: setattr(net, "scale", 3.0),
        lambda: (net.net[2].weight.data.mul_(2), setattr(net, "scale", 0.5)),
    ]
    for change in changes:
        change()
        ours.clear_log()
        np.testing.assert_allclose(*both("MaxSensitivity", data, net, FEW), rtol=1e-4)
        assert engine_of("MaxSensitivity") == {"jaxeval"}


def test_methods_that_a_subclass_replaces(data):
    def doubled(library):
        class Doubled(library.RelativeInputStability):
            def relative_input_stability_objective(self, *args, **kwargs):
                return 2 * super().relative_input_stability_objective(*args, **kwargs)

        return Doubled

    fields = {**FEW, "return_nan_when_prediction_changes": False}
    plain, _ = both("RelativeInputStability", data, small(), fields)
    classes = {library: doubled(library) for library in (ours, theirs)}
    mine, want = both("", data, small(), fields, classes)
    np.testing.assert_allclose(mine, want, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(mine, np.multiply(plain, 2), rtol=1e-4)
    whys = [entry.why for entry in ours.log() if entry.metric == "RelativeInputStability"]
    assert "relative_input_stability_objective of a subclass" in whys[-1]


@pytest.mark.parametrize("name", ["MaxSensitivity", "LocalLipschitzEstimate"])
def test_a_subclass_that_explains_by_itself(data, name):
    def squared(library):
        class Squared(getattr(library, name)):
            def explain_batch(self, *args, **kwargs):
                return super().explain_batch(*args, **kwargs) ** 2

        return Squared

    classes = {library: squared(library) for library in (ours, theirs)}
    np.testing.assert_allclose(*both(name, data, small(), FEW, classes), rtol=1e-5, atol=1e-6)
    assert {entry.why for entry in ours.log()} >= {"explain_batch of a subclass"}


def laplace(arr, indices, **_):
    return (arr + np.random.laplace(scale=0.05, size=arr.shape)).astype(arr.dtype)


def test_functions_put_into_a_metric(data):
    """Without the arguments that Quantus's constructors bind to them."""
    mine, want = both(
        "MaxSensitivity", data, small(), FEW, prepare=lambda m: setattr(m, "perturb_func", laplace)
    )
    np.testing.assert_allclose(mine, want, atol=1e-5 * max(want))
    assert engine_of("MaxSensitivity") == {"jaxeval"}


def test_functions_that_write_into_their_argument(data):
    """Quantus goes on from what they wrote."""

    def drifting(arr, indices, **_):
        arr += np.random.uniform(-0.1, 0.1, arr.shape).astype(arr.dtype)
        return arr

    for name in ("MaxSensitivity", "LocalLipschitzEstimate"):
        mine, want = both(name, data, small(), {**FEW, "perturb_func": drifting})
        np.testing.assert_allclose(mine, want, atol=1e-5 * max(want))
        whys = [entry.why for entry in ours.log() if entry.metric == name]
        assert set(whys) == {"perturb_func writes into its argument"}


def test_maps_that_quantus_refuses(data):
    """All zero, all equal, or all negative."""
    x, y = data
    for weight, refused in ((0.0, "equal to zero"), (2.0, "uniformly"), (-1.0, "less than zero")):
        net = torch.nn.Sequential(torch.nn.Linear(6, 4)).eval()
        net[0].weight.data.fill_(weight)
        if weight < 0:
            net[0].weight.data[:, 0] *= 2
        for library in (ours, theirs):
            metric = library.MaxSensitivity(**FEW)
            with ours.engine("jaxeval"), pytest.raises(AssertionError, match=refused):
                metric(net, x, y, x, explain_func=library.explain, explain_func_kwargs=GRADIENT)


def test_classes_are_indices_of_the_other_logit(data):
    """-1 is the last class; others than classes are errors."""
    x, y = data
    fields = {"num_classes": 4, "similarity_func": theirs.distance_euclidean}
    last = np.where(y == 3, -1, y)
    scores = both("RandomLogit", (x, last), small(), fields, a_batch=x)
    np.testing.assert_allclose(*scores, rtol=1e-4)
    for wrong in (y + 4, y.astype(float)):
        for library in (ours, theirs):
            metric = library.RandomLogit(disable_warnings=True, **fields)
            with pytest.raises(IndexError):
                metric(small(), x, wrong, x, explain_func=library.explain)


def test_backward_hooks_change_maps(data):
    """As those of guided backpropagation do, which XLA does not call."""
    net = small(torch.nn.ReLU())
    plain, _ = both("MaxSensitivity", data, net, FEW)
    net[1].register_full_backward_hook(lambda _, grads, __: (grads[0].abs(),))
    mine, want = both("MaxSensitivity", data, net, FEW)
    np.testing.assert_allclose(mine, want, atol=1e-5 * max(want))
    assert not np.allclose(mine, plain)
    assert "backward hooks" in ours.log()[-1].why
    ours.clear_log()
    with ours.engine("jaxeval"):
        a = ours.explain(net, *data, method="Gradient")
    np.testing.assert_allclose(a, theirs.explain(net, *data, method="Gradient"), atol=1e-6)
    assert engine_of("explain") == {"quantus"}


@pytest.mark.parametrize("name", ["RandomLogit", "InputInvariance", "MaxSensitivity"])
def test_a_model_in_training_mode_is_left_as_quantus_leaves_it(name):
    torch.manual_seed(3)
    layers = torch.nn.Conv2d(1, 2, 3), torch.nn.Flatten(), torch.nn.Linear(32, 4)
    net = torch.nn.Sequential(*layers)
    rng = np.random.default_rng(0)
    x, y = rng.uniform(size=(4, 1, 6, 6)).astype(np.float32), rng.integers(0, 4, 4)
    left = []
    for library in (ours, theirs):
        net.train()
        metric = getattr(library, name)(disable_warnings=True)
        if name == "RandomLogit":
            metric.num_classes = 4
        elif name == "MaxSensitivity":
            metric.nr_samples = 2
        scores = metric(net, x, y, x, explain_func=library.explain, explain_func_kwargs=GRADIENT)
        assert len(scores) == 4
        left.append([m.training for m in net.modules()])
    assert left[0] == left[1]


def test_smooth_mprt_of_quantus_is_quantus_own(data):
    fields, scores = {"nr_samples": 3}, []
    for library, choice in ((ours, ours.engine), (ours, ours.definitions), (theirs, ours.engine)):
        np.random.seed(1)
        call = {"explain_func": library.explain, "explain_func_kwargs": GRADIENT}
        with choice("quantus"):
            metric = library.SmoothMPRT(disable_warnings=True, **fields)
            scores.append(metric(small(), *data, **call))
        scores[-1]["next draw"] = [np.random.uniform()]
    for mine in scores[:2]:
        assert list(mine) == list(scores[2])
        assert mine["next draw"] == scores[2]["next draw"]
        for layer, values in mine.items():
            np.testing.assert_allclose(values, scores[2][layer], rtol=1e-12)
    assert [entry.why for entry in ours.log()] == ['engine("quantus")', 'definitions("quantus")']


def test_what_a_subclass_prepares_is_used(data):
    class AllAlike(ours.Sufficiency):
        def custom_batch_preprocess(self, **kwargs):
            alike = np.ones((len(kwargs["x_batch"]),) * 2)
            return {**super().custom_batch_preprocess(**kwargs), "a_sim_vector_batch": alike}

    x, y = data
    scores = AllAlike(disable_warnings=True)(small(), x, y, x)
    predicted = theirs.PyTorchModel(small()).predict(x).argmax(1)
    want = [(np.delete(predicted, i) == predicted[i]).mean() for i in range(5)]
    np.testing.assert_allclose(scores, want)
    assert "custom_batch_preprocess of a subclass" in ours.log()[-1].why


@pytest.mark.parametrize("name", ["RegionPerturbation", "Selectivity"])
def test_tables_have_no_patches(data, name):
    x, y = data
    for library in (ours, theirs):
        with ours.engine("jaxeval"), pytest.raises(AssertionError, match="padded_axes"):
            getattr(library, name)(disable_warnings=True)(small(), x, y, x)


def test_the_callers_shift_is_not_ignored(data):
    """By which Quantus's own code shifts, with its change of the first layer."""

    def twice(arr, input_shift, **_):
        return arr + 2 * input_shift

    x, y = data
    for library in (ours, theirs):
        metric = library.InputInvariance(perturb_func=twice, disable_warnings=True)
        with pytest.raises(AttributeError, match="out_channels"):
            metric(small(), x, y, x, explain_func=library.explain)


class Reused(torch.nn.Module):
    """One activation at two places."""

    def __init__(self):
        super().__init__()
        self.first, self.act, self.last = small()

    def forward(self, x):
        return self.act(self.last(self.act(self.first(x))))


def lifted(model, inputs, targets, **kwargs):
    """Maps without small entries, by which a relative change would divide."""
    return 1 + theirs.explain(model, inputs, targets, **kwargs)


def of_layers(data, net, **layers):
    fields = {**FEW, "return_nan_when_prediction_changes": False, **layers}
    name = "RelativeRepresentationStability"
    scores = both(name, data, net.eval(), fields, explain_func=lifted)
    assert engine_of(name) == {"jaxeval"}
    return scores


@pytest.mark.parametrize("names", [["act"], None])
def test_a_module_that_is_called_twice_has_two_representations(data, names):
    np.testing.assert_allclose(*of_layers(data, Reused(), layer_names=names), rtol=1e-4)


def test_representations_are_not_overwritten_in_place(data):
    """As those that Quantus keeps, which are torch's memory."""
    mine, want = of_layers(data, small(torch.nn.ReLU()), layer_indices=[0])
    again, overwritten = of_layers(data, small(torch.nn.ReLU(inplace=True)), layer_indices=[0])
    np.testing.assert_allclose(mine, want, rtol=1e-4)
    np.testing.assert_allclose(again, want, rtol=1e-4)
    assert not np.allclose(overwritten, want, rtol=0.1, atol=0)


def test_no_noise_at_all_is_undefined_as_in_quantus(data):
    mine, want = both("AvgSensitivity", data, small(), {"nr_samples": 0})
    assert np.isnan(want).all()
    assert np.isnan(mine).all()
