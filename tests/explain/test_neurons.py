"""Methods that explain a unit of a layer: captum's maps, and what must sum."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxeval as je
from jaxeval import explain
from jaxeval.model import Model

from .helpers import assert_close, keys, make
from .test_backpropagation import array

pytestmark = pytest.mark.filterwarnings("ignore:Input Tensor", "ignore:Setting ")

# The network, our name of a layer, the name of the module in torch, and a unit.
UNITS = [
    ("lenet", "conv_2", "conv_2", (5, 3, 2)),
    ("lenet", "conv_1/relu", "relu_1", (2, 10, 11)),
    ("lenet", "fc_1", "fc_1", 7),
    ("rgb", "conv_1", "conv_1", (3, 0, 5)),
    ("tabular", "fc_2/relu", "relu_2", 4),
]
SLOW = (1, 3)
units = pytest.mark.parametrize(
    ("name", "layer", "module", "unit"),
    [pytest.param(*u, marks=pytest.mark.slow) if i in SLOW else u for i, u in enumerate(UNITS)],
)


def theirs_of(name, case, module, unit, **kwargs):
    import captum.attr

    net = case.torch()
    method = getattr(captum.attr, name)(net, getattr(net, module))
    return method.attribute(array(case.x), neuron_selector=unit, **kwargs).detach().numpy()


def ours(explainer, case, k=None):
    return explainer(case.model, case.x, case.y, k)


def assert_equal(a, b, to=2e-5):
    """Equal to `to` of the largest value; the map of an inactive unit may be 0."""
    size = max(np.abs(b).max(), 1e-3)
    np.testing.assert_allclose(np.asarray(a), b, rtol=0, atol=to * size)


@units
def test_backpropagation(name, layer, module, unit):
    case, at = make(name), {"layer": layer, "unit": unit}
    for ours_ in ("Gradient", "GuidedBackprop", "Deconvolution"):
        theirs = theirs_of(f"Neuron{ours_}", case, module, unit)
        assert_equal(ours(explain.get(f"Neuron{ours_}", **at), case), theirs)
    e = explain.NeuronDeepLift(**at, baseline=0.1, pooling="gradient")
    assert_equal(ours(e, case), theirs_of("NeuronDeepLift", case, module, unit, baselines=0.1))


@units
def test_paths(name, layer, module, unit):
    case, at = make(name), {"layer": layer, "unit": unit, "n_steps": 5}
    e = explain.NeuronIntegratedGradients(**at, baseline=0.1)
    theirs = theirs_of("NeuronIntegratedGradients", case, module, unit, baselines=0.1, n_steps=5)
    assert_equal(ours(e, case), theirs)
    for method in ("riemann_trapezoid", "gausslegendre"):
        e = explain.NeuronConductance(**at, method=method, baseline=0.1)
        theirs = theirs_of(
            *("NeuronConductance", case, module, unit),
            target=array(case.y.astype(np.int64)),
            baselines=0.1,
            n_steps=5,
            method=method,
        )
        assert_equal(ours(e, case), theirs)


def test_feature_ablation():
    case, features = make("lenet"), np.arange(28)[:, None] // 7 * 4 + np.arange(28) // 7
    e = explain.NeuronFeatureAblation(layer="fc_1", unit=7, features=features[None], baseline=0.2)
    theirs = theirs_of(
        *("NeuronFeatureAblation", case, "fc_1", 7),
        baselines=0.2,
        feature_mask=array(features[None, None]),
    )
    assert_equal(ours(e, case), theirs)


def test_gradient_shap_with_given_draws():
    case, s = make("lenet"), 6
    rng = np.random.default_rng(0)
    background = rng.uniform(size=(4, 1, 28, 28)).astype(np.float32)
    draws = {
        "background": rng.integers(0, 4, (3, s)),
        "alpha": rng.uniform(size=(3, s)).astype(np.float32),
        "noise": rng.normal(size=(3, s, 1, 28, 28)).astype(np.float32),
    }
    at = {"layer": "conv_2", "unit": (5, 3, 2)}
    e = explain.NeuronGradientShap(**at, background=background, stdevs=0.3, draws=draws)
    expected = 0
    for i in range(s):
        b, alpha = background[draws["background"][:, i]], draws["alpha"][:, i, None, None, None]
        noisy = case.x + 0.3 * draws["noise"][:, i]
        point = dataclasses.replace(case, x=b + alpha * (noisy - b))
        expected += (noisy - b) * theirs_of("NeuronGradient", point, "conv_2", (5, 3, 2)) / s
    assert_equal(ours(e, case), expected)
    one = jax.tree.map(lambda v: v[1], draws)
    shared = dataclasses.replace(e, draws=one)
    np.testing.assert_allclose(ours(shared, case)[1], ours(e, case)[1], atol=1e-6)
    with pytest.raises(ValueError, match=r"'alpha' must have the shape \[6\], or \[2, 6\]"):
        e(case.model, case.x[:2], case.y[:2])
    with pytest.raises(TypeError, match="give it keys"):
        ours(explain.NeuronGradientShap(**at), case)
    with pytest.raises(TypeError, match=r'"alpha": ....*got \[1\]'):
        explain.GradientShap(draws=[1])


def test_draws_may_be_lists():
    net = Model(lambda p, x: x @ p, jnp.array([[1.0], [-2.0]]), channel_axis=None)
    x, y = np.array([[3.0, 4.0]], np.float32), np.array([0])
    draws = {"background": [0, 2], "alpha": [0.25, 0.5]}
    e = explain.ExpectedGradients(background=np.arange(6.0).reshape(3, 2), draws=draws)
    np.testing.assert_allclose(e(net, x, y), [[1, -2]])
    for e in (
        explain.SmoothGrad(draws=[[1.0, 2.0]]),
        explain.Smoothed(explainer=explain.Gradient(), draws=[[1.0, 2.0]]),
        explain.Lime(draws=[[1, 1], [0, 1], [1, 0]]),
        explain.KernelShap(draws=[[1, 0], [0, 1]]),
    ):
        arrays = dataclasses.replace(e, draws=np.array(e.draws))
        np.testing.assert_array_equal(e(net, x, y), arrays(net, x, y))


def test_slices_sum_units():
    case = make("lenet")
    unit = (slice(1, 6, 2), 3, slice(None))
    theirs = theirs_of("NeuronGradient", case, "conv_2", unit)
    assert_equal(ours(explain.NeuronGradient(layer="conv_2", unit=unit), case), theirs)
    few = explain.NeuronConductance(layer="fc_2", unit=(slice(2, 4),), n_steps=3)
    each = [dataclasses.replace(few, unit=u) for u in (2, 3)]
    assert_close(ours(few, case), sum(ours(e, case) for e in each), 1e-5)


def test_conductance_of_all_units_is_integrated_gradients():
    case = make("tabular")
    e = explain.NeuronConductance(layer="fc_1", unit=(slice(None),), n_steps=7)
    assert_close(ours(e, case), ours(explain.IntegratedGradients(n_steps=7), case), 1e-5)


@pytest.mark.parametrize(
    "inner", [explain.LRP(), explain.SmoothGrad(n_samples=3), explain.Occlusion(window=3)], ids=str
)
def test_any_explainer_of_a_unit(inner):
    """It is that explainer on the network that ends with the layer."""
    case = make("tabular")
    e = explain.Neuron(explainer=inner, layer="fc_2/relu", unit=4)

    def ends(params, x):
        h = jax.nn.relu(x @ params["fc_1"]["weight"].T + params["fc_1"]["bias"])
        return jax.nn.relu(h @ params["fc_2"]["weight"].T + params["fc_2"]["bias"])

    short = Model(ends, case.model.params, channel_axis=None)
    expected = inner(short, case.x, np.full(3, 4), keys(3))
    assert_close(ours(e, case, keys(3)), expected, 1e-5)
    assert_close(je.attribute(e, case.model, case.x, case.y, batch_size=2).shape, (3, 12))


def test_neurons_by_inheritance():
    @je.pytree
    class NeuronSaliency(explain.NeuronExplainer, explain.Saliency):
        """The absolute gradient of a unit."""

    case, at = make("tabular"), {"layer": "fc_1", "unit": 2}
    expected = abs(ours(explain.NeuronGradient(**at), case))
    np.testing.assert_array_equal(ours(NeuronSaliency(**at), case), expected)


def test_classes_have_no_effect_and_units_share_a_program():
    case, traces = make("tabular"), []

    def apply(params, x):
        traces.append(x)
        return case.model.apply(params, x)

    model = Model(apply, case.model.params, channel_axis=None)
    first = explain.NeuronDeepLift(layer="fc_1", unit=3)(model, case.x, case.y)
    again = explain.NeuronDeepLift(layer="fc_1", unit=3)(model, case.x, (case.y + 1) % 4)
    np.testing.assert_array_equal(first, again)
    n = len(traces)
    other = explain.NeuronDeepLift(layer="fc_1", unit=5)(model, case.x, case.y)
    assert len(traces) == n
    assert np.abs(other - first).max() > 1e-3
    last = explain.NeuronDeepLift(layer="fc_1", unit=-1)(model, case.x, case.y)
    same = explain.NeuronDeepLift(layer="fc_1", unit=31)(model, case.x, case.y)
    np.testing.assert_array_equal(last, same)


def test_a_unit_of_a_binary_model_is_no_probability():
    """A unit's value is explained, whatever the model's own outputs are."""
    case = make("tabular")

    def one(params, x):
        return case.model.apply(params, x)[:, 0]

    binary = Model(one, case.model.params, channel_axis=None, outputs="binary")
    e = explain.NeuronGradient(layer="fc_1", unit=2)
    np.testing.assert_array_equal(e(binary, case.x, np.zeros(3, int)), ours(e, case))


@pytest.mark.parametrize(
    ("layer", "unit", "error", "message"),
    [
        ("fc_1", None, ValueError, r"unit=...\) must name a unit of the layer 'fc_1'.*unit=3; got"),
        ("conv_2", 3, ValueError, r"shape \(16, 8, 8\).*such as unit=\(8, 4, 4\); got 3"),
        ("fc_1", (1, 2), ValueError, r"shape \(120,\).*unit=3; got \(1, 2\)"),
        ("fc_1", 120, ValueError, "axis of 120 units, so there is no number 120"),
        ("fc_1", (slice(5, 5),), ValueError, "slice is empty"),
        ("fc_1", 1.5, TypeError, "unit=1.5.*number of a unit"),
        ("fc_1", True, TypeError, "unit=True"),
        ("fc_9", 3, ValueError, "no layer 'fc_9'.*Did you mean"),
        (None, 3, ValueError, r"NeuronGradient\(layer=...\) must name a layer"),
    ],
)
def test_wrong_units_are_named(layer, unit, error, message):
    case = make("lenet")
    with pytest.raises(error, match=message):
        ours(explain.NeuronGradient(layer=layer, unit=unit), case)


def test_a_unit_has_no_probability():
    with pytest.raises(ValueError, match=r"output='probability'.*explained as it is"):
        explain.NeuronGradient(layer="fc_1", unit=1, output="probability")


def test_a_host_model_has_no_units():
    model = Model(lambda p, x: np.asarray(x), host="numpy", channel_axis=None)
    with pytest.raises(TypeError, match="a host callable shows nothing"):
        explain.NeuronGradient(layer="a", unit=1)(model, np.ones((1, 3)), np.zeros(1, int))


def test_half_precision():
    case, e = make("tabular"), explain.NeuronIntegratedGradients(layer="fc_2", unit=1, n_steps=4)
    params = jax.tree.map(lambda w: jnp.asarray(w, jnp.bfloat16), case.model.params)
    half = Model(case.model.apply, params, channel_axis=None)
    a = e(half, jnp.asarray(case.x, jnp.bfloat16), case.y)
    assert a.dtype == jnp.bfloat16
    assert_close(a.astype(np.float32), ours(e, case), 0.05)
