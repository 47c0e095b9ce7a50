"""Attribution methods in torch as explainers: captum's, zennit's, shap's, LIME's and any other."""

import jax
import numpy as np
import pytest

torch = pytest.importorskip("torch")
captum = pytest.importorskip("captum.attr")

from jaxeval_torch import (  # noqa: E402
    captum_explainer,
    lime_explainer,
    shap_explainer,
    torch_explainer,
    wrap_torch,
    zennit_explainer,
)

import jaxeval as je  # noqa: E402
from tests import networks  # noqa: E402
from tests.bridges.nets import Answers  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def case():
    model, params = networks.smooth_cnn(seed=3)
    x = np.random.default_rng(0).uniform(-1, 1, (4, 3, 18, 18)).astype(np.float32)
    return model, networks.smooth_cnn_torch(params), x, np.array([0, 1, 2, 3], np.int32)


def keys(n=4):
    return jax.random.split(jax.random.key(0), n)


def both(case):
    _, net, x, y = case
    return net, torch.from_numpy(x.copy()), torch.from_numpy(y).long()


def close(a, b, rtol=1e-5):
    a, b = np.asarray(a), np.asarray(b)
    np.testing.assert_allclose(a, b, rtol=0, atol=rtol * np.abs(b).max())


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
        with pytest.raises(ValueError, match=rf"{setting}=.*one row a sample.*\[3, 5\].*function"):
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


# What a module's outputs are.


@pytest.mark.parametrize("y", [4, -1])
def test_classes_that_the_module_does_not_have_are_refused(tabular, y):
    net, x, _, _ = tabular
    e = captum_explainer("Saliency", net)
    with pytest.raises(ValueError, match=rf"y .*{y}"):
        e(None, x, np.array([0, y, 1]), keys(3))


@pytest.fixture(scope="module")
def one_logit():
    torch.manual_seed(1)
    x = np.random.default_rng(1).normal(size=(3, 5)).astype(np.float32)
    return torch.nn.Linear(5, 1).eval(), x, np.array([0, 1, 1])


@pytest.mark.parametrize("flat", [False, True], ids=["[N, 1]", "[N]"])
def test_one_logit_is_that_of_class_1(one_logit, flat):
    net, x, y = one_logit
    w = net.weight.detach().numpy()
    net = torch.nn.Sequential(net, torch.nn.Flatten(0)) if flat else net
    right = np.where(y[:, None] == 1, w, -w)
    close(captum_explainer("Saliency", net, outputs="binary", abs=False)(None, x, y, None), right)
    ig = captum_explainer("IntegratedGradients", net, outputs="binary", n_steps=4)
    close(ig(None, x, y, None), right * x)
    if not flat:
        pytest.importorskip("zennit")
        from zennit.core import Composite

        close(zennit_explainer(Composite(), net, outputs="binary")(None, x, y, None), right)
    e = captum_explainer("Saliency", torch.nn.Linear(5, 3), outputs="binary")
    with pytest.raises(ValueError, match="one logit a sample"):
        e(None, x, y, None)


def test_one_output_is_no_probabilities(one_logit):
    net, x, y = one_logit
    with pytest.raises(ValueError, match=r"one output \[N, 1\]: say what it is.*binary"):
        captum_explainer("Saliency", net, outputs="probabilities")(None, x, 0 * y, None)


def test_outputs_are_those_of_the_model(one_logit):
    net, x, y = one_logit

    class Said:
        outputs = "binary"

    e = captum_explainer("Saliency", net, abs=False)
    w = net.weight.detach().numpy()
    close(e(Said, x, y, None), np.where(y[:, None] == 1, w, -w))
    # The model may be more than the module, of which something else can be said.
    e = captum_explainer("Saliency", net, outputs="values", abs=False)
    close(e(Said, x, 0 * y, None), np.broadcast_to(w, x.shape))


def test_values_are_explained_by_their_index():
    net = torch.nn.Linear(5, 2).eval()
    x = np.ones((2, 5), np.float32)
    e = captum_explainer("Saliency", net, outputs="values", abs=False)
    close(e(None, x, np.array([1, 0]), None), net.weight.detach().numpy()[[1, 0]])


def test_shap_of_one_logit(one_logit):
    pytest.importorskip("shap")
    net, x, y = one_logit
    w = net.weight.detach().numpy()
    e = shap_explainer("DeepExplainer", net, np.zeros((4, 5), np.float32), outputs="binary")
    close(e(None, x, y, keys(3)), np.where(y[:, None] == 1, w, -w) * x, 1e-4)


def test_lime_of_one_output(one_logit):
    lime = pytest.importorskip("lime.lime_tabular")
    net, x, y = one_logit
    w = net.weight.detach().numpy()[0]
    data = np.random.default_rng(2).normal(size=(50, 5))

    def tabular(**settings):
        return lime.LimeTabularExplainer(data, discretize_continuous=False, **settings)

    with pytest.raises(ValueError, match=r"one output \[N, 1\].*binary"):
        lime_explainer(tabular(), net)(None, x, np.zeros(3, int), keys(3))
    a = np.asarray(lime_explainer(tabular(), net, outputs="binary")(None, x, y, keys(3)))
    for row, label in zip(a, y, strict=True):
        assert np.corrcoef(row, w if label else -w)[0, 1] > 0.9
    regression = tabular(mode="regression")
    a = lime_explainer(regression, net, outputs="values")(None, x, np.zeros(3, int), keys(3))
    for row in np.asarray(a):
        assert np.corrcoef(row, w)[0, 1] > 0.95
    with pytest.raises(ValueError, match='mode="regression" explains outputs="values"'):
        lime_explainer(regression, net, outputs="binary")(None, x, y, keys(3))
    shares = torch.nn.Sequential(torch.nn.Linear(5, 3), torch.nn.Softmax(-1)).eval()
    given = lime_explainer(tabular(), shares, outputs="probabilities", num_samples=200)
    logits = lime_explainer(tabular(), shares[0], num_samples=200)
    close(given(None, x, y, keys(3)), logits(None, x, y, keys(3)), 1e-4)
    with pytest.raises(ValueError, match=r"answers with probabilities.*outputs=.probabilities"):
        lime_explainer(tabular(), shares)(None, x, y, keys(3))
    with pytest.raises(ValueError, match=r"do not lie in \[0, 1\] and sum to 1"):
        lime_explainer(tabular(), shares[0], outputs="probabilities")(None, x, y, keys(3))


def test_a_module_that_answers_with_a_dict():
    torch.manual_seed(0)
    net = Answers(lambda z: {"scores": z, "loss": z.sum()}).eval()
    x = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)
    e = captum_explainer("Saliency", net, output="scores", abs=False)
    a = e(None, x, np.array([0, 1, 2]), keys(3))
    close(a, net.fc.weight.detach().numpy())


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda n: captum_explainer("IntegratedGradient", n), ValueError, "IntegratedGradients"),
        (lambda n: captum_explainer("Saliency"), TypeError, "must be an nn.Module, got NoneType"),
        (lambda n: captum_explainer("LayerGradCam", n), TypeError, "give layer="),
        (lambda n: captum_explainer("Saliency", n, layer="conv_1"), TypeError, "no layer"),
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
        (lambda n: captum_explainer("Saliency", n, target=[0, 1]), ValueError, "one row a sample"),
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
    with pytest.raises(ValueError, match="do not lie on the input"):
        e(None, x, y, keys())


# Any function.


@pytest.mark.parametrize("answers", ["jax", pytest.param("torch", marks=pytest.mark.slow)])
def test_a_function_of_tensors_is_an_explainer_for_evaluate(case, answers):
    model, net, x, y = case
    calls = []

    def gradient(module, inputs, targets):
        assert module is net
        assert not module.training
        calls.append(len(inputs))
        inputs.requires_grad_()
        module(inputs).gather(1, targets[:, None]).sum().backward()
        return inputs.grad.abs()

    net.train()
    try:
        results = je.evaluate(
            model if answers == "jax" else wrap_torch(net),
            x,
            y,
            explainers={
                "torch": torch_explainer(gradient, net),
                "captum": captum_explainer("Saliency", net),
                "jax": je.explain.Saliency(),
            },
            metrics={"flip": je.PixelFlipping(n_steps=3), "max": je.MaxSensitivity(n_samples=2)},
            key=0,
            batch_size=4,
            progress=False,
        ).to_dataframe()
        table = results.pivot_table("score", ["metric", "sample"], "explainer")
        np.testing.assert_allclose(table["torch"], table["jax"], rtol=1e-4)
        np.testing.assert_allclose(table["captum"], table["jax"], rtol=1e-4)
        assert all(m.training for m in net.modules())
        assert all(p.grad is None for p in net.parameters())
        assert max(calls) == 4  # a batch a call
    finally:
        net.eval()


def test_what_an_explainer_writes_to_changes_no_array(case):
    _, net, x, y = case
    given = jax.numpy.asarray(x)
    e = torch_explainer(lambda m, v, t: v.zero_(), net)
    assert not np.asarray(e(None, given, y, keys())).any()
    np.testing.assert_array_equal(given, x)


def test_metrics_that_change_parameters_refuse_them(case):
    model, net, x, y = case
    with pytest.raises((TypeError, ValueError), match=r"host|parameters|Host"):
        je.MPRT()(model, x, y, explainer=captum_explainer("Saliency", net))


# Other packages.


def test_zennit(case):
    pytest.importorskip("zennit")
    from zennit.attribution import SmoothGrad
    from zennit.composites import EpsilonPlus
    from zennit.core import Composite

    net, x, y = both(case)
    x.requires_grad_()
    (right,) = torch.autograd.grad(net(x).gather(1, y[:, None]).sum(), x)
    close(zennit_explainer(Composite(), net)(None, case[2], case[3], keys()), right)
    a = zennit_explainer(EpsilonPlus(), net)(None, case[2], case[3], keys())
    assert a.shape == case[2].shape
    assert np.abs(np.asarray(a) - right.numpy()).max() > 0
    smooth = zennit_explainer(lambda m: SmoothGrad(m, noise_level=0.1, n_iter=3), net)
    assert smooth(None, case[2], case[3], keys()).shape == case[2].shape


@pytest.fixture(scope="module")
def tabular():
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3, 5)).astype(np.float32)
    background = rng.normal(size=(20, 5)).astype(np.float32)
    return torch.nn.Sequential(torch.nn.Linear(5, 4)).eval(), x, np.array([2, 0, 1]), background


@pytest.mark.parametrize(
    "name",
    ["DeepExplainer", pytest.param("GradientExplainer", marks=pytest.mark.slow), "KernelExplainer"],
)
def test_shap_of_a_linear_model(tabular, name):
    """Its values are w (x - mean of the background), whatever the method."""
    pytest.importorskip("shap")
    net, x, y, background = tabular
    right = net[0].weight.detach().numpy()[y] * (x - background.mean(0))
    settings = {} if name == "DeepExplainer" else {"nsamples": 64 if "K" in name else 2000}
    e = shap_explainer(name, net, background, **settings)
    a = np.asarray(e(None, x, y, keys(3)))
    tolerance = 0.15 if name == "GradientExplainer" else 1e-3  # one draws from the background
    close(a, right, tolerance)
    np.testing.assert_array_equal(e(None, x, y, keys(3)), a)


def test_lime_of_tables_and_images(case, tabular):
    lime = pytest.importorskip("lime.lime_tabular")
    from lime.lime_image import LimeImageExplainer

    net, x, y, background = tabular
    e = lime_explainer(
        lime.LimeTabularExplainer(background, discretize_continuous=False), net, num_samples=400
    )
    state = np.random.get_state()[1].copy()
    a = np.asarray(e(None, x, y, keys(3)))
    assert a.shape == x.shape
    np.testing.assert_array_equal(e(None, x, y, keys(3)), a)
    np.testing.assert_array_equal(np.random.get_state()[1], state)
    assert (np.sign(a) == np.sign(net[0].weight.detach().numpy()[y])).mean() > 0.6

    _, net, x, y = case
    tiles = np.arange(9).reshape(3, 3).repeat(6, 0).repeat(6, 1)
    e = lime_explainer(
        LimeImageExplainer(), net, num_samples=30, segmentation_fn=lambda image: tiles
    )
    a = np.asarray(e(None, x[:2], y[:2], keys(2)))
    assert a.shape == (2, 1, 18, 18)
    for row in a[:, 0]:
        assert [len(np.unique(row[tiles == i])) for i in range(9)] == [1] * 9
        assert len(np.unique(row)) == 9
    np.testing.assert_array_equal(e(None, x[1:2], y[1:2], keys(2)[1:]), a[1:])
