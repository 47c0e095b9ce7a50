"""captum's methods as explainers."""

from __future__ import annotations

import jax
import numpy as np
import pytest

torch = pytest.importorskip("torch")
captum = pytest.importorskip("captum.attr")

from jaxeval_torch import (  # noqa: E402
    captum_explainer,
    torch_explainer,
    wrap_torch,
    zennit_explainer,
)

import jaxeval as je  # noqa: E402
from tests.bridges.explained import both, close, keys  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("Saliency", {}),
        ("IntegratedGradients", {"n_steps": 6}),
        ("IntegratedGradients", {"n_steps": 6, "internal_batch_size": 5, "baselines": 0.3}),
        ("IntegratedGradients", {"n_steps": 6, "multiply_by_inputs": False}),
        ("DeepLift", {}),
        ("InputXGradient", {}),
        ("Occlusion", {"sliding_window_shapes": (3, 6, 6), "strides": (3, 6, 6)}),
    ],
)
def test_maps_are_captums(case, name, settings):
    net, x, y = both(case)
    made = {k: v for k, v in settings.items() if k == "multiply_by_inputs"}
    given = {k: v for k, v in settings.items() if k not in made}
    right = getattr(captum, name)(net, **made).attribute(x, target=y, **given)
    ours = captum_explainer(name, net, **settings)(None, case[2], case[3], keys())
    close(ours, right.detach())


@pytest.mark.parametrize("form", ["one", "one with a batch axis", "tensor", "function"])
def test_baselines(case, form):
    net, x, y = both(case)
    one = np.random.default_rng(2).normal(size=x.shape[1:]).astype(np.float32)
    full = np.broadcast_to(one, x.shape).copy()
    given = {
        "one": one,
        "one with a batch axis": one[None],
        "tensor": torch.from_numpy(one),
        "function": lambda v: torch.from_numpy(full).to(v),
    }[form]
    right = captum.IntegratedGradients(net).attribute(
        x, target=y, n_steps=4, baselines=torch.from_numpy(full)
    )
    e = captum_explainer("IntegratedGradients", net, n_steps=4, baselines=given)
    close(e(None, case[2], case[3], keys()), right)


@pytest.mark.parametrize(("settings", "most"), [({}, 4), ({"internal_batch_size": 8}, 8)])
def test_the_module_sees_no_more_rows_at_once_than_the_engine_gives(case, settings, most):
    _, net, x, y = case
    rows = []
    handle = net.register_forward_hook(lambda m, given, out: rows.append(len(given[0])))
    try:
        e = captum_explainer("IntegratedGradients", net, n_steps=6, **settings)
        e(None, x, y, keys())
    finally:
        handle.remove()
    assert max(rows) == most
    assert sum(rows) >= 6 * len(x)


def test_targets(case):
    net, x, _ = both(case)
    for target, right in ((2, 2), (lambda y: (y + 1) % 4, torch.tensor([1, 2, 3, 0]))):
        e = captum_explainer("Saliency", net, target=target)
        close(e(None, case[2], case[3], keys()), captum.Saliency(net).attribute(x, target=right))


def test_an_object_of_captums(case):
    net, x, y = both(case)
    e = captum_explainer(captum.IntegratedGradients(net), n_steps=5)
    close(
        e(None, case[2], case[3], keys()),
        captum.IntegratedGradients(net).attribute(x, target=y, n_steps=5),
    )


class Mine:
    """Not of captum, but with its method."""

    def attribute(self, inputs, target, scale=1.0):
        return inputs * scale + target[:, None, None, None]


def test_any_object_with_attribute(case):
    _, net, x, y = case
    e = captum_explainer(Mine(), net, scale=2.0)
    close(e(None, x, y, keys()), 2 * x + y[:, None, None, None])


@pytest.mark.parametrize("name", ["LayerGradCam", "LayerActivation", "LayerIntegratedGradients"])
def test_layers_are_laid_over_the_input(case, name):
    net, x, y = both(case)
    settings = {"n_steps": 4} if "Integrated" in name else {}
    target = {} if name == "LayerActivation" else {"target": y}
    right = getattr(captum, name)(net, net.conv_2).attribute(x, **target, **settings)
    right = torch.nn.functional.interpolate(right.sum(1, keepdim=True), (18, 18), mode="bilinear")
    for layer in ("conv_2", net.conv_2):
        e = captum_explainer(name, net, layer=layer, **settings)
        a = e(None, case[2], case[3], keys())
        assert a.shape == (4, 1, 18, 18)
        close(a, right.detach())
    nearest = captum_explainer(name, net, layer="conv_2", interpolate="nearest", **settings)
    assert np.abs(nearest(None, case[2], case[3], keys()) - a).max() > 0


def test_guided_grad_cam_has_the_inputs_shape(case):
    _, net, x, y = case
    a = captum_explainer("GuidedGradCam", net, layer="conv_2")(None, x, y, keys())
    assert a.shape == x.shape


def test_random_methods_depend_on_the_samples_key_alone(case):
    _, net, x, y = case
    tunnel = captum.NoiseTunnel(captum.Saliency(net))
    e = captum_explainer(tunnel, nt_samples=3, stdevs=0.1)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    whole = np.asarray(e(None, x, y, keys()))
    assert torch.equal(torch.get_rng_state(), before)
    np.testing.assert_array_equal(e(None, x, y, keys()), whole)
    parts = [e(None, x[i : i + 2], y[i : i + 2], keys()[i : i + 2]) for i in (0, 2)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    other = e(None, x, y, jax.random.split(jax.random.key(1), 4))
    assert np.abs(other - whole).max() > 0


def test_gradient_shap_takes_a_distribution_of_baselines(case):
    _, net, x, y = case
    e = captum_explainer("GradientShap", net, baselines=np.zeros((2, 3, 18, 18), np.float32))
    assert e(None, x, y, keys()).shape == x.shape


@pytest.mark.parametrize("name", ["GradientShap", "DeepLiftShap"])
def test_a_number_is_a_distribution_of_one_baseline(tabular, name):
    net, x, y, _ = tabular
    settings = {"stdevs": 0.0} if name == "GradientShap" else {}
    e = captum_explainer(name, net, baselines=0.5, **settings)
    close(e(None, x, y, keys(3)), net[0].weight.detach().numpy()[y] * (x - 0.5))
    several = np.stack([np.zeros(5), np.ones(5)]).astype(np.float32)
    e = captum_explainer("DeepLiftShap", net, baselines=several)
    close(e(None, x, y, keys(3)), net[0].weight.detach().numpy()[y] * (x - 0.5))


SEGMENTS = np.array([[0, 0, 1, 1, 2], [0, 1, 0, 1, 2], [2, 2, 1, 0, 0]])


@pytest.mark.parametrize(
    ("name", "setting", "value"),
    [
        ("FeatureAblation", "feature_mask", SEGMENTS),
        ("KernelShap", "feature_mask", torch.from_numpy(SEGMENTS)),
        ("IntegratedGradients", "baselines", np.zeros((3, 5), np.float32)),
        ("Occlusion", "baselines", jax.numpy.zeros((3, 5))),
    ],
)
def test_settings_with_one_row_a_sample_are_refused(tabular, name, setting, value):
    """They would go with places in the batch: right by chance for one batch of the whole data."""
    net, x, y, _ = tabular
    more = {"sliding_window_shapes": (1,)} if name == "Occlusion" else {}
    e = captum_explainer(name, net, **{setting: value}, **more)
    for n in (2, 3):
        with pytest.raises(
            ValueError, match=rf"{setting}=.*one row per sample.*\[3, 5\].*function"
        ):
            e(None, x[:n], y[:n], keys(n))


@pytest.mark.parametrize("name", ["FeatureAblation", "KernelShap", "Lime", "ShapleyValueSampling"])
@pytest.mark.parametrize("batch_size", [1, 2, 3])
def test_one_feature_mask_serves_any_batch(tabular, name, batch_size):
    net, x, y, _ = tabular
    w = net[0].weight.detach().numpy()[y]
    n = {"n_samples": 200} if name in ("KernelShap", "Lime") else {}
    one = SEGMENTS[0]
    right = np.stack([np.bincount(one, v)[one] for v in w * x])
    for mask in (one, one[None]):
        e = captum_explainer(name, net, feature_mask=mask, **n)
        a = je.attribute(e, wrap_torch(net), x, y, batch_size=batch_size)
        close(a, right, 0.1 if name == "Lime" else 1e-3)


def test_a_function_gives_each_sample_its_row(tabular):
    """Whatever the batch, and for perturbed inputs, too."""
    net, x, y, _ = tabular

    def segments(v):
        return (v > 0).long()

    e = captum_explainer("FeatureAblation", net, feature_mask=segments)
    w = net[0].weight.detach().numpy()[y]
    right = np.stack(
        [np.bincount(m, v)[m] for m, v in zip((x > 0).astype(int), w * x, strict=True)]
    )
    for batch_size in (1, 2, 3):
        close(je.attribute(e, wrap_torch(net), x, y, batch_size=batch_size), right)


@pytest.mark.parametrize("name", ["float16", "bfloat16", "float64"])
def test_modules_of_any_precision_are_explained(name):
    x = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(5, 4)).eval().to(getattr(torch, name))
    y = np.array([2, 0, 1])
    w = net[0].weight.detach().float().numpy()[y]
    e = captum_explainer("InputXGradient", net)
    a = je.attribute(e, wrap_torch(net), x, y, batch_size=2)
    assert a.dtype == np.float32
    close(a, w * x, 0.02)
    half = jax.numpy.asarray(x, jax.numpy.bfloat16)
    assert e(None, half, y, keys(3)).dtype == jax.numpy.bfloat16


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda n: captum_explainer("IntegratedGradient", n), ValueError, "IntegratedGradients"),
        (lambda n: captum_explainer("Saliency"), TypeError, "must be an nn.Module, got NoneType"),
        (lambda n: captum_explainer("LayerGradCam", n), TypeError, "give layer="),
        (
            lambda n: captum_explainer("Saliency", n, layer="conv_1"),
            TypeError,
            "not a layer method",
        ),
        (lambda n: captum_explainer("LayerGradCam", n, layer="conv2"), ValueError, "conv_2"),
        (lambda n: captum_explainer("Saliency", n, steps=3), TypeError, "no setting 'steps'"),
        (lambda n: captum_explainer("NoiseTunnel", n), TypeError, "give the object"),
        (lambda n: captum_explainer(3, n), TypeError, "object with .attribute, got int"),
        (lambda n: captum_explainer(Mine()), TypeError, "give the module"),
        (
            lambda n: captum_explainer("FeaturePermutation", n),
            TypeError,
            "depend on the batch size",
        ),
        (
            lambda n: captum_explainer("Saliency", n, target=[0, 1]),
            ValueError,
            "one row per sample",
        ),
        (lambda n: captum_explainer("Saliency", n, target=np.arange(2)), ValueError, "function of"),
        (lambda n: captum_explainer("Saliency", n, outputs="logit"), ValueError, "'logits'"),
        (lambda n: captum_explainer(Mine(), n, outputs="binary"), TypeError, "its own module"),
        (lambda n: zennit_explainer(None, n, outputs="b"), ValueError, "'binary'"),
        (lambda n: torch_explainer(3, n), TypeError, "fn must be callable"),
        (lambda n: torch_explainer(len, len), TypeError, "must be an nn.Module"),
    ],
)
def test_mistakes_are_named(case, call, error, says):
    with pytest.raises(error, match=says):
        call(case[1])


def test_a_layer_without_space_cannot_be_laid_over(case):
    _, net, x, y = case
    e = captum_explainer("LayerActivation", net, layer="fc_1")
    with pytest.raises(ValueError, match="cannot be interpolated to the input"):
        e(None, x, y, keys())
