"""Methods that explain a layer: captum's maps on the same network, and what must sum."""

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
