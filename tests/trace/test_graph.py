"""Models taken apart: units are recognised, layers have names, nothing is lost."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.ad_checkpoint import checkpoint_name

import jaxeval as je
from jaxeval import explain
from jaxeval.cpu import Rewritten
from jaxeval.model import Model
from jaxeval.trace import Graph
from jaxeval.types import pytree
from tests.explain.helpers import assert_close, make

X = np.random.default_rng(0).normal(size=(3, 6)).astype(np.float32)
W = np.random.default_rng(1).normal(size=(6, 6)).astype(np.float32)
RULES = ("epsilon", "gamma", "alpha_beta", "z_plus", "flat", "w_square")


def kinds(apply, params=W, x=X):
    return [n.kind for n in Graph(Model(apply, params, channel_axis=None), x).nodes]


@pytest.mark.parametrize(
    "relu",
    [
        jax.nn.relu,
        lambda x: jnp.maximum(x, 0),
        lambda x: jnp.maximum(0.0, x),
        lambda x: jnp.where(x > 0, x, 0),
        lambda x: jnp.where(x >= 0, x, jnp.zeros_like(x)),
        lambda x: jnp.clip(x, 0),
        lambda x: x * (x > 0),
        jax.jit(nn.relu),
        jax.checkpoint(jax.nn.relu),
        lambda x: jax.nn.leaky_relu(x, 0.0),
    ],
)
def test_rectifiers_are_recognised(relu):
    assert kinds(lambda w, x: relu(x @ w)) == ["linear", "relu"]
    # The gate is shut at 0, where some ways of writing it have the gradient 1/2 or 1.
    zero = Model(lambda w, x: relu(x) @ w, W, channel_axis=None)
    a = explain.GuidedBackprop()(zero, np.zeros((1, 6), np.float32), np.array([0]))
    np.testing.assert_array_equal(a, 0)


@pytest.mark.parametrize(
    "other",
    [
        jax.nn.relu6,
        jax.nn.leaky_relu,
        jax.nn.gelu,
        jax.nn.silu,
        jax.nn.softplus,
        jax.nn.elu,
        jnp.abs,
        jnp.tanh,
        lambda x: jnp.maximum(x, 0.1),
        lambda x: x * jnp.tanh(jax.nn.softplus(x)),
        lambda x: jax.nn.gelu(x, approximate=False),
    ],
)
def test_other_activations_are_one_unit(other):
    found = kinds(lambda w, x: other(x @ w))
    assert [k for k in found if k != "move"] == ["linear", "activation"]  # a cast may follow


@pytest.mark.parametrize(
    ("fn", "wanted"),
    [
        (jax.nn.softmax, ["softmax"]),
        (lambda x: jnp.exp(x) / jnp.exp(x).sum(-1, keepdims=True), None),
        (jax.nn.log_softmax, ["softmax"]),
        (lambda x: x / jnp.sqrt((x**2).mean(-1, keepdims=True) + 1e-6), ["normalise"]),
        (jax.nn.standardize, ["normalise"]),
        (lambda x: x - x.mean(-1, keepdims=True), ["sum", "move", "scale", "add"]),
        (lambda x: x + jax.nn.relu(x), ["relu", "add"]),
        (lambda x: jax.nn.relu(x) + jnp.tanh(x), ["relu", "activation", "add"]),
        (lambda x: x[:, :3] * x[:, 3:], ["move", "move", "product"]),
        (lambda x: x @ x.T, ["move", "bilinear"]),
        (lambda x: 2 * x + 1, ["scale"]),
        (lambda x: jnp.sort(x), ["other"]),
    ],
)
def test_units(fn, wanted):
    found = kinds(lambda w, x: fn(x))
    if wanted is not None:
        assert found == wanted


def residual(params, x):
    h = jax.nn.relu(x @ params["a"]["w"] + params["a"]["b"])
    h = jax.lax.cond(params["a"]["b"][0] > 0, lambda h: h, lambda h: 2 * h, h)
    h = jax.lax.fori_loop(0, 3, lambda i, h: jnp.tanh(h @ params["b"]["w"]) + h, h)
    h, _ = jax.lax.scan(lambda h, w: (h * w, None), h, jnp.arange(1.0, 3.0))
    return jax.nn.softmax(h) @ params["c"]["w"]


PARAMS = {"a": {"w": W, "b": W[0]}, "b": {"w": W / 3}, "c": {"w": W[:, :4]}}


def test_without_rules_it_is_the_gradient():
    model = Model(residual, PARAMS, channel_axis=None)
    graph = Graph(model, X)
    values = graph.forward(model.params, X)
    np.testing.assert_allclose(values[graph.out], model(X), rtol=1e-5, atol=1e-6)
    seed = np.random.default_rng(2).normal(size=(3, 4)).astype(np.float32)
    wanted = jax.grad(lambda x: (model(x) * seed).sum())(X)
    assert_close(graph.backward(values, seed, {}), wanted, 1e-5)


@pytest.mark.parametrize("opaque", [False, True])
def test_own_derivatives_are_kept(opaque):
    @jax.custom_jvp
    def straight(x):
        return jnp.round(x)

    straight.defjvp(lambda p, t: (straight(*p), 3 * t[0]))

    @jax.custom_vjp
    def reverse(x):
        return x * 2

    reverse.defvjp(lambda x: (x * 2, None), lambda _, g: (-g,))
    fn = reverse if opaque else straight
    model = Model(lambda w, x: fn(x @ w), W, channel_axis=None)
    y = np.array([0, 1, 2])
    wanted = explain.Gradient()(model, X, y)
    assert_close(explain.GuidedBackprop()(model, X, y), wanted, 1e-6)


def test_layers_of_plain_parameters():
    model = Model(residual, PARAMS, channel_axis=None)
    assert explain.layers(model, X) == {
        "a": (3, 6),
        "a/relu": (3, 6),
        "a/activation": (3, 6),
        "b": (3, 6),
        "b/activation": (3, 6),
        "b/add": (3, 6),
        "b@2": (3, 6),
        "b/activation@2": (3, 6),
        "b/add@2": (3, 6),
        "b@3": (3, 6),
        "b/activation@3": (3, 6),
        "b/add@3": (3, 6),
        "b/softmax": (3, 6),
        "c": (3, 4),
    }


class Net(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.BatchNorm(use_running_average=True)(nn.Conv(4, (3, 3))(x)))
        x = nn.max_pool(x, (2, 2), (2, 2))
        x = checkpoint_name(jnp.tanh(nn.Dense(5)(x)), "features")
        return nn.Dense(3)(x.reshape(len(x), -1))


def test_layers_of_linen_are_its_modules():
    x = np.random.default_rng(0).normal(size=(2, 8, 8, 1)).astype(np.float32)
    net = Net()
    variables = net.init(jax.random.key(0), x)
    variables = jax.tree.map(lambda v: v + 0.1, variables)
    model = je.from_flax(net, variables)
    found = explain.layers(model, x)
    names = ["Conv_0", "BatchNorm_0", "BatchNorm_0/relu", "BatchNorm_0/reduce_window_max"]
    assert list(found) == [*names, "Dense_0", "Dense_0/activation", "features", "Dense_1"]
    assert model.hidden is not None
    graph, (_, hidden) = Graph(model, x), model.hidden(model.params, x)
    values = graph.forward(model.params, x)
    for name in ("Conv_0", "BatchNorm_0", "Dense_0", "Dense_1"):
        assert_close(values[graph.layer(name)], hidden[name], 1e-5)


def test_layers_of_nnx_are_its_modules():
    class Small(nnx.Module):
        def __init__(self, rngs):
            self.conv, self.norm = nnx.Conv(1, 2, (3, 3), rngs=rngs), nnx.BatchNorm(2, rngs=rngs)
            self.out = nnx.Linear(32, 3, rngs=rngs)

        def __call__(self, x):
            return self.out(nnx.relu(self.norm(self.conv(x))).reshape(len(x), -1))

    model = je.from_flax(Small(nnx.Rngs(0)))
    x = np.ones((2, 4, 4, 1), np.float32)
    assert list(explain.layers(model, x)) == ["conv", "norm", "norm/relu", "out"]


def test_rewritten_models_are_read_as_they_were_written():
    case = make("lenet")
    given = Model(Rewritten(case.model.apply), case.model.params)
    assert [n.kind for n in Graph(given, case.x).nodes] == [
        n.kind for n in Graph(case.model, case.x).nodes
    ]
    assert list(explain.layers(given, case.x)) == list(explain.layers(case.model, case.x))
    for e in (explain.LRP(rule="epsilon_gamma_box"), explain.DeepLift()):
        a = e(case.model, case.x, case.y)
        assert_close(e(given, case.x, case.y), a, 1e-4)


def scaled(params, x):
    """A convolution with a scale a channel after it, channels first."""
    x = jax.lax.conv_general_dilated(x, params["conv"], (1, 1), "SAME")
    x = jax.nn.relu(x * params["scale"][:, None, None] + params["shift"][:, None, None])
    x = jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 1, 2, 2), (1, 1, 2, 2), "VALID")
    return x.reshape(len(x), -1) @ params["dense"]


def scaled_model():
    rng = np.random.default_rng(0)
    shapes = {"conv": (5, 3, 3, 3), "scale": (5,), "shift": (5,), "dense": (45, 4)}
    params = {k: jnp.asarray(rng.normal(size=s), jnp.float32) for k, s in shapes.items()}
    x = jnp.asarray(rng.normal(size=(2, 3, 6, 6)), jnp.float32)
    return Model(scaled, params), Model(Rewritten(scaled), params), x


def test_values_may_be_channels_last():
    written, rewritten, x = scaled_model()
    assert [v.shape for v in Graph(rewritten, x).layers.values()] == [
        v.shape for v in Graph(written, x).layers.values()
    ]
    graph, plain = Graph(rewritten, x, turned=True), Graph(written, x, turned=True)
    assert [n.kind for n in graph.nodes if n.kind != "move"] == [
        n.kind for n in plain.nodes if n.kind != "move"
    ]
    (last,) = (n for n in graph.nodes if n.first.name == "conv_general_dilated")
    assert last.outs[0].shape == (2, 6, 6, 5)
    z = graph.forward(written.params, x)[graph.out]
    assert_close(z, scaled(written.params, x), 1e-5)


def test_rules_give_the_same_channels_last():
    written, rewritten, x = scaled_model()
    y, low = np.array([0, 3]), np.random.default_rng(1).uniform(-9, -5, (3, 6, 6))
    box = explain.ZBox(low=low.astype(np.float32), high=5.0)
    explainers = [explain.GuidedBackprop(), explain.Deconvolution(), explain.DeepLift()]
    explainers += [explain.LRP(rule=rule) for rule in RULES]
    explainers += [explain.ExcitationBackprop(), explain.LRP(first=box)]
    for e in explainers:
        assert_close(e(rewritten, x, y), e(written, x, y), 1e-4)


@pytest.mark.parametrize("base", [explain.LrpRule, explain.Epsilon])
def test_a_rule_of_ones_own_sees_the_axes_of_the_model(base):
    seen = []

    @pytree
    class Seeing(base):
        def propagate(self, layer, relevance):
            seen.append(layer.x.shape)
            return explain.Epsilon().propagate(layer, relevance)

    _, rewritten, x = scaled_model()
    explain.LRP(convolution=Seeing())(rewritten, x, np.array([0, 3]))
    assert seen == [x.shape]


def test_what_has_no_rule_is_named_with_its_line():
    def apply(w, x):
        return jnp.fft.fft(x @ w).real

    model = Model(apply, W, channel_axis=None)
    with pytest.raises(explain.Unsupported, match=r"LRP has no rule for real.*test_graph\.py:\d+"):
        explain.LRP()(model, X, np.zeros(3, int))

    def loop(w, x):
        return jax.lax.while_loop(lambda x: x.sum() < 100, lambda x: x @ w + 10, x)

    with pytest.raises(explain.Unsupported, match=r"while loop.*test_graph\.py:\d+.*lax\.scan"):
        explain.GuidedBackprop()(Model(loop, W, channel_axis=None), X, np.zeros(3, int))


def test_host_models_show_nothing():
    model = Model(lambda p, x: x, host="numpy")
    with pytest.raises(TypeError, match="host callable shows nothing"):
        explain.LRP()(model, X, np.zeros(3, int))
