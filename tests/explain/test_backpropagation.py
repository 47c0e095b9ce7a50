"""Modified backpropagation: captum's maps, the papers' formulas, and what sums must hold."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxeval import explain
from jaxeval.explain.weighted_layer import stable
from jaxeval.model import Model

from .helpers import NAMES, assert_close, jitted, keys, make
from .test_captum import captum, ours

pytestmark = pytest.mark.filterwarnings("ignore:Input Tensor", "ignore:Setting ")


@pytest.mark.parametrize("name", NAMES)
def test_guided_and_deconvolution(name):
    case = make(name)
    assert_close(ours(explain.GuidedBackprop(), case), captum("GuidedBackprop", case))
    assert_close(ours(explain.Deconvolution(), case), captum("Deconvolution", case))


def array(v):
    import torch

    return torch.from_numpy(np.array(v))


def in_double(name, case, baselines):
    """captum's map in float64, where small differences are not lost."""
    import captum.attr

    method = getattr(captum.attr, name)(case.torch().double())
    x, b = array(case.x).double(), array(baselines).double()
    return method.attribute(x, b, target=array(case.y.astype(np.int64))).detach().numpy()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("baseline", [0.0, 0.3])
def test_deep_lift(name, baseline):
    case = make(name)
    e = explain.DeepLift(baseline=baseline, pooling="gradient")
    b = np.full_like(case.x, baseline)
    assert_close(ours(e, case), in_double("DeepLift", case, b))


@pytest.mark.parametrize("name", NAMES)
def test_deep_lift_shap(name):
    case = make(name)
    b = np.random.default_rng(0).normal(size=(4, *case.x.shape[1:])).astype(np.float32)
    e = explain.DeepLiftShap(background=b, pooling="gradient")
    assert_close(ours(e, case), in_double("DeepLiftShap", case, b))


@pytest.mark.parametrize(
    ("name", "output"),
    [
        *(("lenet", "logit"), ("rgb", "log_probability"), ("tabular", "probability")),
        *(
            pytest.param(name, output, marks=pytest.mark.slow)
            for name, output in (("lenet", "log_probability"), ("lenet", "probability"))
        ),
    ],
)
def test_deep_lift_is_complete(name, output):
    case = make(name)
    b = np.random.default_rng(0).normal(size=(2, *case.x.shape[1:])).astype(np.float32)
    for e, baselines in (
        (explain.DeepLift(baseline=b[0], output=output), b[:1]),
        (explain.DeepLiftShap(background=b, output=output), b),
    ):
        a = np.asarray(ours(e, case))
        score = [
            e.scores(case.model, jnp.broadcast_to(v, case.x.shape), jnp.asarray(case.y))
            for v in baselines
        ]
        total = e.scores(case.model, jnp.asarray(case.x), jnp.asarray(case.y)) - np.mean(score, 0)
        np.testing.assert_allclose(a.reshape(len(a), -1).sum(1), total, atol=2e-4, rtol=2e-4)


def attention(params, x):
    """One head over 4 tokens with layer normalisation, gates, maxima and a quotient."""
    h = x @ params["in"]
    h = (h - h.mean(-1, keepdims=True)) / jnp.sqrt(h.var(-1, keepdims=True) + 1e-3)
    q, k, v = (h @ params[name] for name in "qkv")
    h = h + jax.nn.softmax(q @ k.mT / 2) @ v
    h = h * jax.nn.sigmoid(h @ params["q"])
    h = h / (1 + (h**2).sum(-1, keepdims=True))
    return jnp.concatenate([h.max(1), h.min(1), h.sum(1)], -1)[:, :4]


def transformer():
    rng = np.random.default_rng(0)
    params = {n: jnp.asarray(rng.normal(size=(5, 5)) / 2, jnp.float32) for n in ("in", *"qkv")}
    x = rng.normal(size=(3, 4, 5)).astype(np.float32)
    return Model(attention, params, channel_axis=None), x, np.array([0, 1, 3])


def test_deep_lift_is_complete_through_attention():
    model, x, y = transformer()
    e = explain.DeepLift(baseline=0.1)
    a = jitted(e, model, x, y, None)
    total = e.scores(model, jnp.asarray(x), y) - e.scores(model, jnp.full_like(x, 0.1), y)
    # Normalisation and softmax take eight points of their mean gradient.
    np.testing.assert_allclose(a.sum((1, 2)), total, atol=2e-3)


def test_relevance_goes_through_attention():
    model, x, y = transformer()
    for attention in ("values", "uniform"):
        a = jitted(explain.LRP(attention=attention), model, x, y, None)
        assert np.isfinite(a).all()
        assert np.abs(a).max() > 1e-3


# -- relevance -----------------------------------------------------------------------------------


def lrp(case, rule=None):
    """captum's map; it knows no rule for a Flatten, so flattening is no module."""
    import captum.attr
    from torch import nn

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.ModuleList(m for m in case.torch() if not isinstance(m, nn.Flatten))

        def forward(self, x):
            for layer in self.layers:
                x = layer(x.flatten(1) if isinstance(layer, nn.Linear) else x)
            return x

    net = Net()
    for module in net.layers:
        if hasattr(module, "weight") and rule is not None:
            module.rule = rule()
    target = array(case.y.astype(np.int64))
    return captum.attr.LRP(net).attribute(array(case.x), target=target).detach().numpy()


@pytest.mark.parametrize("name", ["lenet", "tabular"])
def test_lrp_epsilon(name):
    case = make(name)
    assert_close(ours(explain.LRP(rule=explain.Epsilon(epsilon=1e-9)), case), lrp(case))


@pytest.mark.parametrize("name", ["lenet", "tabular"])
def test_lrp_gamma(name):
    from captum.attr._utils.lrp_rules import GammaRule

    case = make(name)
    e = explain.LRP(rule=explain.Gamma(gamma=0.3, epsilon=1e-9, general=False))
    assert_close(ours(e, case), lrp(case, lambda: GammaRule(gamma=0.3)))


WEIGHTS = np.random.default_rng(0).normal(size=(6, 3))
BIAS = np.random.default_rng(1).normal(size=3)


def reference(rule, x, r):
    """The relevance of x [6] by loops over the formulas of the papers; r [3]."""

    def plus(v):
        return max(v, 0.0)

    def minus(v):
        return min(v, 0.0)

    out = np.zeros(6)
    for j in range(3):
        w, b = WEIGHTS[:, j], BIAS[j]
        products = [x[i] * w[i] for i in range(6)]
        z = sum(products) + b
        if rule == "epsilon":
            parts = [p / z for p in products]
        elif rule == "z_plus":
            up = sum(map(plus, products)) + plus(b)
            parts = [plus(p) / up for p in products]
        elif rule == "alpha_beta":
            up = sum(map(plus, products)) + plus(b)
            down = sum(map(minus, products)) + minus(b)
            parts = [2 * plus(p) / up - (minus(p) / down if down else 0) for p in products]
        elif rule == "gamma":
            favour = plus if z > 0 else minus
            terms = [p + 0.25 * favour(p) for p in products]
            bias = b + 0.25 * favour(b)
            # Of a product, only what has the sign of z is favoured.
            parts = [t / (sum(terms) + bias) for t in terms]
        elif rule == "flat":
            parts = [1 / 6] * 6
        elif rule == "w_square":
            parts = [w[i] ** 2 / (sum(w**2) + b**2) for i in range(6)]
        elif rule == "z_box":
            terms = [products[i] + 3 * plus(w[i]) - 3 * minus(w[i]) for i in range(6)]
            parts = [t / (sum(terms) + b - plus(b) - minus(b)) for t in terms]
        else:
            raise ValueError(rule)
        out += r[j] * np.array(parts)
    return out


@pytest.mark.parametrize(
    "rule", ["epsilon", "z_plus", "alpha_beta", "gamma", "flat", "w_square", "z_box"]
)
def test_rules_are_the_papers_formulas(rule):
    def layer(p, x):
        return x @ p["w"] + p["b"]

    model = Model(layer, {"w": jnp.asarray(WEIGHTS), "b": jnp.asarray(BIAS)}, channel_axis=None)
    x = np.random.default_rng(5).normal(size=(4, 6)).astype(np.float32)
    y = np.array([0, 1, 2, 1])
    given = explain.ZBox(low=-3.0, high=3.0) if rule == "z_box" else rule
    a = explain.LRP(rule=given)(model, x, y)
    z = x @ WEIGHTS + BIAS
    wanted = [reference(rule, v, np.eye(3)[c] * u) for v, u, c in zip(x, z, y, strict=True)]
    assert_close(a, np.array(wanted), 1e-3)


def normalised(p, x):
    """Convolution, batch normalisation with scales of both signs, ReLU, and a product."""
    h = jax.lax.conv(x, p["w"], (1, 1), "SAME")
    h = (h - p["mean"]) / jnp.sqrt(p["var"] + 1e-5) * p["scale"] + p["shift"]
    return jax.nn.relu(h).sum((2, 3)) @ p["v"]


def merged(p, x):
    s = (p["scale"] / jnp.sqrt(p["var"] + 1e-5)).squeeze(0)
    h = jax.lax.conv(x, p["w"] * s[..., None], (1, 1), "SAME")
    h = h + (p["shift"].squeeze(0) - p["mean"].squeeze(0) * s)
    return jax.nn.relu(h).sum((2, 3)) @ p["v"]


@pytest.mark.parametrize("rule", ["epsilon", "gamma", "alpha_beta", "z_plus", "w_square", "z_box"])
def test_batch_normalisation_is_part_of_its_layer(rule):
    rng = np.random.default_rng(0)
    shapes = {"w": (4, 2, 3, 3), "v": (4, 3)} | dict.fromkeys(
        ("mean", "var", "scale", "shift"), (1, 4, 1, 1)
    )
    p = {n: jnp.asarray(rng.normal(size=s), jnp.float32) for n, s in shapes.items()}
    p["var"] = p["var"] ** 2 + 0.1
    x, y = rng.normal(size=(3, 2, 6, 6)).astype(np.float32), np.array([0, 1, 2])
    e = explain.LRP(rule=rule)
    assert_close(e(Model(normalised, p), x, y), e(Model(merged, p), x, y), 1e-3)


@pytest.mark.parametrize("addition", ["proportional", "copy"])
def test_relevance_at_a_sum(addition):
    """f = relu(x) + 3 x: of x > 0, a quarter and three quarters, or all twice."""
    model = Model(lambda p, x: jax.nn.relu(x) + 3 * x, channel_axis=None)
    x = np.array([[1.0, 2.0]], np.float32)
    a = explain.LRP(addition=addition)(model, x, np.array([1]))
    assert_close(a, np.array([[0, 8.0 if addition == "proportional" else 16.0]]), 1e-5)


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16, jnp.float32])
def test_a_small_epsilon_is_not_0(dtype):
    """1e-9 is less than the least number of float16, and a sum may be 0."""
    z = jnp.asarray([0.0, -0.0, 2.0, -2.0], dtype)
    got = jax.jit(stable)(z, 1e-9)
    assert got.dtype == dtype
    assert (got[:2] > 0).all()
    np.testing.assert_array_equal(got[2:], z[2:])
    np.testing.assert_array_equal(jax.jit(stable)(z, 0.0), z)


def test_relevance_at_sums_has_the_rules_epsilon():
    """f = mean(relu(x) + 3 x) without weights: each sum z passes on z / (z + ε)."""
    model = Model(lambda p, x: (jax.nn.relu(x) + 3 * x).mean(2), channel_axis=None)
    x = np.array([[[1.0, 3.0]]], np.float32)
    a = explain.LRP(rule=explain.Epsilon(epsilon=0.5))(model, x, np.array([0]))
    score = 8.0
    mean = score * score / (score + 0.5)
    z = np.array([[[4.0, 12.0]]])
    assert_close(a, mean * z / z.sum() * z / (z + 0.5), 1e-6)


@pytest.mark.parametrize("rule", ["epsilon", "epsilon_plus", "epsilon_plus_flat", "gamma"])
def test_relevance_is_kept_without_biases(rule):
    case = make("lenet")
    params = {
        n: {"weight": p["weight"], "bias": 0 * p["bias"]} for n, p in case.model.params.items()
    }
    model = Model(case.model.apply, params)
    a = np.asarray(jitted(explain.LRP(rule=rule), model, case.x, case.y, None))
    score = model(jnp.asarray(case.x))[jnp.arange(3), case.y]
    np.testing.assert_allclose(a.sum((1, 2, 3)), score, rtol=2e-3, atol=1e-4)


def test_composites_are_their_rules():
    case = make("lenet")
    named = ours(explain.LRP(rule="epsilon_plus_flat"), case)
    parts = explain.LRP(first="flat", convolution=explain.ZPlus(), dense="epsilon")
    assert_close(ours(parts, case), named, 1e-6)
    layers = {"conv_1": "flat", "conv_2": "z_plus"}
    assert_close(ours(explain.LRP(layers=layers), case), named, 1e-6)
    assert np.abs(named - ours(explain.LRP(rule="epsilon_plus"), case)).max() > 1e-4


def test_excitation_is_a_distribution():
    case = make("lenet")
    positive = np.abs(case.x)
    a = jitted(explain.ExcitationBackprop(), case.model, positive, case.y, keys(3))
    assert a.min() >= 0
    np.testing.assert_allclose(a.sum((1, 2, 3)), 1, rtol=1e-3)


# -- a residual network with batch normalisation ---------------------------------------------------


def residual_apply(p, x):
    def conv(name, x):
        y = jax.lax.conv(x, p[name]["weight"], (1, 1), "SAME")
        y = y + p[name]["bias"][:, None, None]
        norm = {k: v[:, None, None] for k, v in p[f"norm_{name[-1]}"].items()}
        return (y - norm["mean"]) / jnp.sqrt(norm["var"] + 1e-5) * norm["weight"] + norm["bias"]

    h = jax.nn.relu(conv("conv_1", x))
    h = jax.nn.relu(conv("conv_2", h) + h)
    h = jax.lax.reduce_window(h, -jnp.inf, jax.lax.max, (1, 1, 2, 2), (1, 1, 2, 2), "VALID")
    return h.reshape(len(x), -1) @ p["fc"]["weight"].T + p["fc"]["bias"]


def residual():
    """The network in JAX and in torch, inputs and classes."""
    import torch
    from torch import nn

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv_1, self.norm_1 = nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4)
            self.conv_2, self.norm_2 = nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)
            self.relu_1, self.relu_2, self.pool = nn.ReLU(), nn.ReLU(), nn.MaxPool2d(2)
            self.fc = nn.Linear(4 * 16, 3)

        def forward(self, x):
            h = self.relu_1(self.norm_1(self.conv_1(x)))
            h = self.relu_2(self.norm_2(self.conv_2(h)) + h)
            return self.fc(self.pool(h).flatten(1))

    torch.manual_seed(0)
    net = Net().eval()
    for norm in (net.norm_1, net.norm_2):
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2)
        nn.init.normal_(norm.weight)
    names = {"running_mean": "mean", "running_var": "var", "weight": "weight", "bias": "bias"}
    params = {}
    for key, v in net.state_dict().items():
        layer, name = key.split(".")
        if name in names:
            params.setdefault(layer, {})[names[name]] = jnp.asarray(v.numpy())
    x = np.random.default_rng(0).normal(size=(3, 2, 8, 8)).astype(np.float32)
    return Model(residual_apply, params), net, x, np.array([0, 2, 1])


@pytest.mark.parametrize(
    ("e", "name"),
    [
        (explain.GuidedBackprop(), "GuidedBackprop"),
        (explain.Deconvolution(), "Deconvolution"),
        (explain.DeepLift(pooling="gradient"), "DeepLift"),
    ],
    ids=["guided", "deconvolution", "deep lift"],
)
def test_residual_network(e, name):
    import captum.attr

    model, net, x, y = residual()
    theirs = getattr(captum.attr, name)(net.double())
    theirs = theirs.attribute(array(x).double(), target=array(y)).detach().numpy()
    assert_close(e(model, x, y), theirs)


def test_layers_before_and_behind_batch_normalisation():
    import captum.attr

    model, net, x, y = residual()
    names = ("conv_1", "norm_1", "conv_2", "norm_2", "fc")
    assert [n for n in explain.layers(model, x) if "/" not in n] == list(names)
    for name in names:
        theirs = captum.attr.LayerActivation(net, getattr(net, name)).attribute(array(x))
        a = explain.LayerActivation(layer=name)(model, x, y)
        assert_close(a, theirs.detach().numpy())


def test_relevance_in_a_residual_network_is_kept_but_for_biases():
    model, _, x, y = residual()
    p = {
        k: {n: 0 * v if n in ("bias", "mean") else v for n, v in w.items()}
        for k, w in model.params.items()
    }
    a = np.asarray(explain.LRP()(Model(model.apply, p), x, y))
    score = np.asarray(model.apply(p, jnp.asarray(x)))[np.arange(3), y]
    np.testing.assert_allclose(a.sum((1, 2, 3)), score, rtol=1e-3, atol=1e-4)
