"""Methods that explain a layer: captum's maps on the same network, and what must sum."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxeval as je
from jaxeval import explain
from jaxeval.model import Model

from .helpers import assert_close, jitted, keys, make
from .test_backpropagation import array
from .test_captum import ours

pytestmark = pytest.mark.filterwarnings("ignore:Input Tensor", "ignore:Setting ")


def theirs_of(name, case, layer, **kwargs):
    import captum.attr

    net = case.torch()
    method = getattr(captum.attr, name)(net, getattr(net, layer))
    x, y = array(case.x), array(case.y.astype(np.int64))
    if name != "LayerActivation":
        kwargs["target"] = y
    return method.attribute(x, **kwargs).detach().numpy()


# The network, our name of a layer, and the name of the module in torch.
LAYERS = [
    ("lenet", "conv_2", "conv_2"),
    ("lenet", "conv_1/relu", "relu_1"),
    ("lenet", "conv_2/reduce_window_max", "pool_2"),
    ("lenet", "fc_2", "fc_2"),
    ("rgb", "conv_1", "conv_1"),
    ("tabular", "fc_1/relu", "relu_1"),
]
layers = pytest.mark.parametrize(("name", "layer", "module"), LAYERS)


@layers
def test_activation(name, layer, module):
    case = make(name)
    theirs = theirs_of("LayerActivation", case, module)
    assert_close(ours(explain.LayerActivation(layer=layer), case), theirs)
    theirs = theirs_of("LayerGradientXActivation", case, module)
    assert_close(ours(explain.LayerGradientXActivation(layer=layer), case), theirs)


@layers
@pytest.mark.parametrize(
    "method", ["gausslegendre", pytest.param("riemann_trapezoid", marks=pytest.mark.slow)]
)
def test_paths(name, layer, module, method):
    case = make(name)
    settings = {"n_steps": 4, "method": method}
    for ours_, theirs in (
        (explain.InternalInfluence, "InternalInfluence"),
        (explain.LayerIntegratedGradients, "LayerIntegratedGradients"),
    ):
        a = ours(ours_(layer=layer, baseline=0.1, **settings), case)
        assert_close(a, theirs_of(theirs, case, module, baselines=0.1, **settings))
    e = explain.LayerConductance(layer=layer, baseline=0.1, derivative="differences", **settings)
    assert_close(
        ours(e, case), theirs_of("LayerConductance", case, module, baselines=0.1, **settings)
    )


@pytest.mark.parametrize(
    "method", [explain.LayerConductance, explain.LayerIntegratedGradients], ids=str
)
def test_attributions_to_a_layer_are_complete(method):
    case = make("rgb")
    a = np.asarray(ours(method(layer="conv_2", n_steps=20), case))
    e, y = explain.Gradient(), jnp.asarray(case.y)
    total = e.scores(case.model, jnp.asarray(case.x), y)
    total -= e.scores(case.model, jnp.zeros(case.x.shape), y)
    np.testing.assert_allclose(a.sum((1, 2, 3)), total, atol=1e-4)


@pytest.mark.parametrize(("name", "layer", "module"), LAYERS[:3] + LAYERS[4:5])
def test_grad_cam(name, layer, module):
    import captum.attr

    case = make(name)
    raw = theirs_of("LayerGradCam", case, module)
    e = explain.GradCAM(layer=layer, rectify=False, upsample=None)
    assert_close(ours(e, case), raw)
    size = case.x.shape[2:]
    for mode in ("bilinear", "nearest") if name == "rgb" else ("bilinear",):
        theirs = theirs_of("LayerGradCam", case, module, relu_attributions=True)
        theirs = captum_interpolate(theirs, size, mode)
        assert_close(ours(explain.GradCAM(layer=layer, upsample=mode), case), theirs)
    net = case.torch()
    theirs = captum.attr.GuidedGradCam(net, getattr(net, module)).attribute(
        array(case.x), target=array(case.y.astype(np.int64))
    )
    e = explain.GuidedGradCAM(layer=layer, upsample="nearest")
    theirs = theirs.detach().numpy()
    size = np.abs(theirs).max()  # products of two small maps
    assert_close(ours(e, case) / size, theirs / size)


def captum_interpolate(a, size, mode):
    from captum.attr import LayerAttribution

    return LayerAttribution.interpolate(array(a), size, mode).numpy()


def test_grad_cam_takes_the_last_convolution():
    case = make("lenet")
    assert_close(ours(explain.GradCAM(), case), ours(explain.GradCAM(layer="conv_2"), case), 1e-7)


def test_grad_cam_channel_last():
    case = make("rgb")
    last = Model(
        lambda p, x: case.model.apply(p, jnp.moveaxis(x, -1, 1)), case.model.params, channel_axis=-1
    )
    x = np.moveaxis(case.x, 1, -1)
    e = explain.GradCAM(layer="conv_1", layer_channel_axis=1)
    a = jitted(e, last, x, case.y, None)
    assert a.shape == (3, 18, 18, 1)
    assert_close(np.moveaxis(np.asarray(a), -1, 1), ours(explain.GradCAM(layer="conv_1"), case))


@pytest.mark.parametrize(
    ("e", "name", "message"),
    [
        (explain.LayerActivation(), "tabular", r"must name a layer.*fc_1, fc_1/relu"),
        (explain.LayerActivation(layer="fc1"), "tabular", "no layer 'fc1'.*Did you mean 'fc_1'"),
        (explain.GradCAM(), "tabular", "has no convolutions: one of fc_1"),
        (explain.GradCAM(layer="fc_1"), "lenet", r"needs a layer with channels.*\[N, 120\]"),
    ],
)
def test_wrong_layers_are_named(e, name, message):
    case = make(name)
    with pytest.raises(ValueError, match=message):
        e(case.model, case.x, case.y, keys(3))


def test_layers_are_hidden_activations():
    """RRS looks at the layers that the model is given names for."""
    case = make("tabular")
    bare = Model(case.model.apply, case.model.params, channel_axis=None)
    names = ["fc_1/relu", "fc_2/relu"]
    seen = explain.with_hidden(bare, names)
    metric = je.RRS(n_samples=3)
    a = [metric(m, case.x, case.y, explainer=explain.Gradient()) for m in (seen, case.model)]
    np.testing.assert_allclose(*a, rtol=1e-4)
    weighted = explain.with_hidden(bare)
    assert list(weighted.hidden(weighted.params, case.x)[1]) == ["fc_1", "fc_2", "fc_3"]


@pytest.mark.parametrize(
    ("name", "layer", "module", "pooling"),
    [
        # captum treats a pooling as "gradient" if a ReLU lies between the layer and it.
        ("lenet", "conv_2", "conv_2", "gradient"),
        ("lenet", "conv_2/relu", "relu_2", "cross_max"),
        ("lenet", "fc_2", "fc_2", "cross_max"),
        ("rgb", "conv_1", "conv_1", "cross_max"),
        ("tabular", "fc_1/relu", "relu_1", "cross_max"),
    ],
)
def test_deep_lift(name, layer, module, pooling):
    case = make(name)
    other = case.x[::-1].copy()
    theirs = theirs_of("LayerDeepLift", case, module, baselines=array(other[:1]))
    e = explain.LayerDeepLift(layer=layer, baseline=other[0], pooling=pooling)
    assert_close(ours(e, case), theirs, 2e-5)


def test_deep_lift_to_a_layer_is_complete():
    case = make("lenet")
    a = np.asarray(ours(explain.LayerDeepLift(layer="conv_2", baseline=0.3), case))
    change = case.model(case.x) - case.model(np.full_like(case.x, 0.3))
    np.testing.assert_allclose(a.sum((1, 2, 3)), change[np.arange(3), case.y], rtol=1e-4)


@pytest.mark.parametrize("layer", ["fc_1", "fc_2", "fc_3"])
def test_lrp(layer):
    case = make("tabular")
    theirs = theirs_of("LayerLRP", case, layer)
    assert_close(ours(explain.LayerLRP(layer=layer), case), theirs, 2e-5)


@pytest.mark.parametrize("layer", ["conv_2", "conv_1/relu", "conv_2/reduce_window_max", "fc_2"])
def test_lrp_of_relus_is_the_layer_times_its_gradient(layer):
    case = make("lenet")
    expected = ours(explain.LayerGradientXActivation(layer=layer), case)
    assert_close(ours(explain.LayerLRP(layer=layer), case), expected, 2e-5)


def test_a_layer_within_a_node():
    """A convolution before the batch normalisation that is one node with it."""
    rng = np.random.default_rng(0)
    params = {
        "conv": {"w": jnp.asarray(rng.normal(size=(4, 3, 3, 3)), jnp.float32)},
        "norm": {k: jnp.asarray(rng.uniform(1, 2, (4, 1, 1)), jnp.float32) for k in "sb"},
        "last": {"w": jnp.asarray(rng.normal(size=(4 * 36, 3)), jnp.float32)},
    }

    def apply(p, x):
        h = jax.lax.conv(x, p["conv"]["w"], (1, 1), "VALID")
        h = jax.nn.relu(h * p["norm"]["s"] - p["norm"]["b"])
        return h.reshape(len(h), -1) @ p["last"]["w"]

    model, x, y = Model(apply, params), rng.normal(size=(2, 3, 8, 8)), np.array([2, 0])
    x = x.astype(np.float32)
    h = explain.LayerActivation(layer="conv")(model, x, y)
    g = explain.LayerGradientXActivation(layer="conv")(model, x, y) / h
    after = h * params["norm"]["s"] - params["norm"]["b"]
    a = explain.LayerLRP(layer="conv", rule=explain.Epsilon(epsilon=0))(model, x, y)
    # Before the bias, the relevance of z = s h - b is shared with it.
    relevance = after * g / params["norm"]["s"]
    np.testing.assert_allclose(
        a, relevance * (h * params["norm"]["s"]) / after, rtol=1e-4, atol=1e-4
    )
    a = explain.LayerDeepLift(layer="conv")(model, x, y)
    change = (model(x) - model(0 * x))[np.arange(2), y]
    np.testing.assert_allclose(a.sum((1, 2, 3)), change, rtol=1e-4)


def test_gradient_shap_with_given_draws():
    case, s = make("lenet"), 5
    rng = np.random.default_rng(0)
    background = rng.uniform(size=(4, 1, 28, 28)).astype(np.float32)
    draws = {
        "background": rng.integers(0, 4, (3, s)),
        "alpha": rng.uniform(size=(3, s)).astype(np.float32),
        "noise": rng.normal(size=(3, s, 1, 28, 28)).astype(np.float32),
    }
    e = explain.LayerGradientShap(layer="conv_2", background=background, stdevs=0.3, draws=draws)
    expected = 0
    for i in range(s):
        b, alpha = background[draws["background"][:, i]], draws["alpha"][:, i, None, None, None]
        noisy = case.x + 0.3 * draws["noise"][:, i]
        end, start, point = (
            dataclasses.replace(case, x=v) for v in (noisy, b, b + alpha * (noisy - b))
        )
        way = [theirs_of("LayerActivation", c, "conv_2") for c in (end, start)]
        a, ga = (theirs_of(f"Layer{n}", point, "conv_2") for n in (
            "Activation", "GradientXActivation"))  # fmt: skip
        expected += (way[0] - way[1]) * ga / a / s
    assert_close(ours(e, case), expected, 1e-5)


@pytest.mark.parametrize(("name", "layer", "module"), [LAYERS[3], LAYERS[4]])
def test_feature_ablation(name, layer, module):
    case = make(name)
    settings, theirs = {}, {}
    if name == "rgb":
        features = (
            np.arange(8)[:, None, None] + 8 * (np.arange(16)[:, None] // 8)
        ) + 0 * np.arange(16)
        settings, theirs = {"features": features}, {"layer_mask": array(features[None])}
    e = explain.LayerFeatureAblation(layer=layer, baseline=0.2, **settings)
    assert_close(
        ours(e, case),
        theirs_of("LayerFeatureAblation", case, module, layer_baselines=0.2, **theirs),
    )


def test_feature_ablation_of_a_channel_of_a_layer():
    """Channels by patch; what bypasses the layer stays."""
    w = jnp.asarray(np.random.default_rng(0).normal(size=(3, 2, 1, 1)), jnp.float32)

    def apply(p, x):
        return jax.lax.conv(x, p["conv"], (1, 1), "VALID").mean((2, 3)) + x.mean((1, 2, 3))[:, None]

    model, x = Model(apply, {"conv": w}), np.ones((2, 2, 4, 4), np.float32)
    e = explain.LayerFeatureAblation(layer="conv", patch=(1, 4, 4))
    a = e(model, x, np.array([1, 2]))
    expected = np.asarray(w.sum((1, 2, 3)))
    np.testing.assert_allclose(a[0, 1], expected[1], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(a[1, 2], expected[2], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(a[0, 0], 0, atol=1e-6)
    whole = explain.LayerFeatureAblation(layer="conv", patch=4)(model, x, np.array([1, 2]))
    # A patch has all channels.
    np.testing.assert_allclose(whole[0], expected[1], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("steps", [7, 3])
@pytest.mark.parametrize(
    "name", ["LayerActivation", "LayerLRP", "LayerConductance", "NeuronGradient"]
)
def test_layers_whose_first_axis_is_not_that_of_samples_are_refused(name, steps):
    """Also where the other axis has as many entries as there are samples."""
    params = {"a": {"w": jnp.ones((2, 5))}, "b": {"w": jnp.ones((5, 4))}}

    def apply(p, x):
        return jnp.tanh(jnp.swapaxes(x, 0, 1) @ p["a"]["w"]).mean(0) @ p["b"]["w"]

    more = {"unit": (1, 3)} if name == "NeuronGradient" else {}
    e = explain.get(name, layer="a", **more)
    with pytest.raises(ValueError, match=rf"'a' has the shape \[{steps}, N, 5\], whose first axis"):
        e(Model(apply, params, channel_axis=-1), jnp.ones((3, steps, 2)), jnp.zeros(3, int))
