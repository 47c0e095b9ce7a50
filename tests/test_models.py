"""Models from Flax: Linen and NNX, their state, their hidden layers and their initialisation."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jaxeval as je
from jaxeval.engine import TRACES
from jaxeval.perturb.layers import layer_names

X = np.random.default_rng(0).uniform(size=(5, 8, 8, 1)).astype(np.float32)


class Net(nn.Module):
    """Convolution, batch normalisation, dropout, two dense layers."""

    @nn.compact
    def __call__(self, x, train=False):
        x = nn.softplus(nn.Conv(4, (3, 3), strides=2)(x))
        x = nn.BatchNorm(use_running_average=not train)(x)
        x = nn.Dropout(0.5, deterministic=not train)(x)
        x = nn.softplus(nn.Dense(8)(x.reshape(len(x), -1)))
        return nn.Dense(3)(x)


class NnxNet(nnx.Module):
    def __init__(self, rngs):
        self.conv = nnx.Conv(1, 4, (3, 3), rngs=rngs)
        self.norm = nnx.BatchNorm(4, rngs=rngs)
        self.drop = nnx.Dropout(0.5, rngs=rngs)
        self.out = nnx.Linear(256, 3, rngs=rngs)

    def __call__(self, x):
        x = self.drop(self.norm(nnx.softplus(self.conv(x))))
        return self.out(x.reshape(len(x), -1))


@pytest.fixture(scope="module")
def linen():
    variables = Net().init(jax.random.key(0), X)
    return je.from_flax(Net(), variables, train=False), variables


def test_linen_is_the_module(linen):
    model, variables = linen
    np.testing.assert_allclose(model(X), Net().apply(variables, X), rtol=1e-6, atol=1e-6)
    assert model.channel_axis == -1


def test_equal_linen_modules_share_compiled_programs(linen):
    _, variables = linen
    score = lambda: je.Deletion(n_steps=4)(  # noqa: E731
        je.from_flax(Net(), variables, train=False), X, a=X, batch_size=5
    )
    first = score()
    before = dict(TRACES)
    np.testing.assert_array_equal(score(), first)
    assert dict(TRACES) == before


def test_linen_hidden_layers_are_named_by_module_path(linen):
    model, variables = linen
    logits, hidden = model.hidden(model.params, X)
    np.testing.assert_allclose(logits, Net().apply(variables, X), rtol=1e-6, atol=1e-6)
    assert list(hidden) == ["Conv_0", "BatchNorm_0", "Dropout_0", "Dense_0", "Dense_1"]
    assert hidden["Conv_0"].shape == (5, 4, 4, 4)


def test_nnx_runs_in_inference_mode_and_keeps_the_module_as_it_was():
    module = NnxNet(nnx.Rngs(0))
    module.train()
    model = je.from_flax(module)
    assert not module.drop.deterministic
    module.eval()
    np.testing.assert_allclose(model(X), module(X), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(model(X), model(X))
    out = je.Deletion(n_steps=4)(model, X, a=X, batch_size=5)
    assert np.isfinite(out).all()


def test_mprt_knows_flax_layers_and_leaves_the_state_alone(linen):
    model, variables = linen
    layers = ["Conv_0", "BatchNorm_0", "Dense_0", "Dense_1"]
    for way in ("normal", "permute", "reinit"):
        metric = je.MPRT(randomise=way, order="bottom_up")
        question = metric.questions().bind(
            model, je.Sample(x=X[0], y=0, key=None, position=0, features=(8, 8, 1))
        )
        assert [layer.name for layer in question.layers] == layers
        new = question.params(model.params, jax.random.key(1), 0)
        jax.tree.map(np.testing.assert_array_equal, new["batch_stats"], variables["batch_stats"])
        kernel = lambda p: np.asarray(p["params"]["Conv_0"]["kernel"])  # noqa: E731
        assert (kernel(new) != kernel(variables)).any()
        if way == "permute":
            np.testing.assert_array_equal(
                np.sort(kernel(new).ravel()), np.sort(kernel(variables).ravel())
            )
    out = je.score(je.MPRT(), model, X, explainer=je.explain.Gradient())
    assert out.curve.shape == (5, 4)


def test_nnx_layers_are_named_without_the_variable():
    model = je.from_flax(NnxNet(nnx.Rngs(0)))
    out = je.score(je.MPRT(layers=["out", "conv"]), model, X, explainer=je.explain.Gradient())
    assert out.curve.shape == (5, 2)


def test_layers_have_one_name_everywhere(linen):
    """As listed, as hidden activations (RRS), and as what is randomised (MPRT)."""
    model, _ = linen
    found = model.layers(X)
    assert found["Conv_0"] == (5, 4, 4, 4)
    randomised = layer_names(model, X)
    assert randomised == ("Conv_0", "BatchNorm_0", "Dense_0", "Dense_1")
    assert [name for name in found if name in randomised] == list(randomised)
    _, hidden = model.hidden(model.params, X)
    shapes = {name: v.shape for name, v in hidden.items()}
    assert shapes.items() >= {name: found[name] for name in randomised}.items()
    nnx_model = je.from_flax(NnxNet(nnx.Rngs(0)))
    assert set(layer_names(nnx_model, X)) <= set(nnx_model.layers(X))
    with pytest.raises(TypeError, match="needs inputs x"):
        model.layers()
    known = dataclasses.replace(model, example=jax.ShapeDtypeStruct((1, *X.shape[1:]), X.dtype))
    assert known.layers()["Conv_0"] == (1, 4, 4, 4)


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda: je.from_flax(Net()), TypeError, "needs its variables"),
        (lambda: je.from_flax(Net(), {"w": 1}), ValueError, "what module.init returns"),
        (lambda: je.from_flax(lambda x: x), TypeError, "flax.linen or flax.nnx module"),
        (lambda: je.from_flax(NnxNet(nnx.Rngs(0)), {}), TypeError, "holds its own variables"),
        (lambda: je.Model(3), TypeError, "apply"),
        (lambda: je.Model(jnp.sum, host="torch"), ValueError, "host"),
    ],
)
def test_wrong_models_are_refused(call, error, says):
    with pytest.raises(error, match=says):
        call()


def test_channel_axis_must_name_an_axis():
    model = je.Model(lambda p, x: x.reshape(len(x), -1)[:, :3], {}, channel_axis=5)
    with pytest.raises(ValueError, match="channel_axis=5"):
        je.Sparseness()(model, X, a=X)


class Flags(nn.Module):
    """A module whose arguments are checked."""

    @nn.compact
    def __call__(self, x, train: bool, scale=1.0, deterministic=True):
        return nn.Dense(3)(x.reshape(len(x), -1)) * scale


class Trains(nn.Module):
    @nn.compact
    def __call__(self, x, train=True):
        return nn.Dense(3)(x.reshape(len(x), -1))


@pytest.mark.parametrize(
    ("net", "given", "words"),
    [
        (Flags(), {}, r"needs the argument 'train': give .*train=False"),
        (Flags(), {"trian": False}, r"no argument 'trian', only train.*Did you mean 'train'"),
        (Trains(), {}, "in training mode by default, train=True: give .*train=False"),
        (Net(), {"train": True}, "train=True is training mode, which would change"),
    ],
)
def test_call_arguments_are_checked_at_once(linen, net, given, words):
    with pytest.raises((TypeError, ValueError), match=words):
        je.from_flax(net, linen[1], **given)


def test_hidden_layers_of_nnx():
    net = NnxNet(nnx.Rngs(0))
    model = je.from_flax(net)
    seen = je.explain.with_hidden(model, ["conv", "conv/activation"])
    z, hidden = seen.hidden(model.params, X)
    net.eval()
    np.testing.assert_allclose(hidden["conv"], net.conv(X), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(z, net(X), rtol=1e-5, atol=1e-6)
    score = je.score(je.RRS(n_samples=2), model, X, [0] * 5, explainer=je.explain.Saliency())
    assert np.isfinite(score.score).all()


def test_arguments_of_nnx_modules_are_passed_on():
    class Scaled(nnx.Module):
        def __init__(self, rngs):
            self.out = nnx.Linear(64, 3, rngs=rngs)

        def __call__(self, x, scale=1.0):
            return scale * self.out(x.reshape(len(x), -1))

    net = Scaled(nnx.Rngs(0))
    np.testing.assert_allclose(je.from_flax(net, scale=2.0)(X), 2 * net(X), rtol=1e-6, atol=1e-6)
    with pytest.raises(TypeError, match="no argument 'scales'"):
        je.from_flax(net, scales=2.0)


class Draws(nn.Module):
    """Draws random numbers, or keeps count, whatever it is told."""

    counts: bool = False

    @nn.compact
    def __call__(self, x, deterministic=None):
        if self.counts:
            self.variable("calls", "n", lambda: jnp.zeros(())).value += 1
        off = False if deterministic is None else deterministic
        x = nn.Dropout(0.5)(x, deterministic=self.counts or off)
        return nn.Dense(3)(x.reshape(len(x), -1))


def linen_variables(net, **given):
    keys = {"params": jax.random.key(0), "dropout": jax.random.key(1)}
    return net.init(keys, X, **given)


OTHER_STATE = {"BatchNorm_1": {"mean": jnp.zeros(4), "var": jnp.ones(4)}}


@pytest.mark.parametrize(
    ("net", "change", "given", "words"),
    [
        (Net(), {"batch_stats": None}, {"train": False},
         "Net reads 'batch_stats', but .* only 'params': .*: ..., \"batch_stats\": ...}(\n|$)"),
        (Net(), {"batch_stats": {}}, {"train": False}, "Net reads 'batch_stats', but"),
        (Net(), {"batch_stats": None}, {"train": True},
         r"\"batch_stats\": ...}. Give from_flax\(module, variables, train=False\)"),
        (Net(), {"batch_stats": OTHER_STATE}, {"train": False}, "variables are not those of Net"),
        (Net(), {"params": {}}, {"train": False}, "variables are not those of Net"),
        (Draws(), {}, {},
         r"draws random numbers .*\"dropout\". Give from_flax\(.*, deterministic=True\)"),
        (Draws(counts=True), {}, {"deterministic": True},
         "Draws changes its state .*\"calls\" .*deterministic=True or use_running_average"),
    ],
)  # fmt: skip
def test_what_flax_refuses_says_what_to_do(net, change, given, words):
    variables = {
        **linen_variables(net, **({"train": False} if "train" in given else given)),
        **change,
    }
    variables = {k: v for k, v in variables.items() if v is not None}
    model = je.from_flax(net, variables, **given)
    with pytest.raises(ValueError, match=words):
        model(X)
    with pytest.raises(ValueError, match=words) as caught:
        je.attribute("Gradient", model, X, [0] * len(X))
    assert "NumPy" not in str(caught.value)
    with pytest.raises(ValueError, match=words):
        model.layers(X)
    for example in (X, jax.ShapeDtypeStruct(X.shape, X.dtype)):
        with pytest.raises(ValueError, match=words):
            je.from_flax(net, variables, example=example, **given)


def test_linen_with_an_example_knows_its_layers(linen):
    _, variables = linen
    model = je.from_flax(Net(), variables, train=False, example=X[:2])
    assert model.layers()["Conv_0"] == (1, 4, 4, 4)
    assert je.from_flax(NnxNet(nnx.Rngs(0)), example=X[:2]).layers()["conv"] == (1, 8, 8, 4)


def test_keys_for_random_draws_are_refused_or_asked_for():
    variables = linen_variables(Draws())
    with pytest.raises(TypeError, match=r"takes no rngs: .*variables, deterministic=True\)"):
        je.from_flax(Draws(), variables, rngs={"dropout": jax.random.key(0)})

    class Keyed(nnx.Module):
        def __init__(self, rngs):
            self.out, self.drop = nnx.Linear(64, 3, rngs=rngs), nnx.Dropout(0.5)

        def __call__(self, x, rngs):
            return self.out(self.drop(x.reshape(len(x), -1), rngs=rngs))

    net = Keyed(nnx.Rngs(0))
    with pytest.raises(TypeError, match=r"give from_flax\(module, rngs=flax.nnx.Rngs\(0\)\)"):
        je.from_flax(net)
    want = net.out(X.reshape(len(X), -1))
    np.testing.assert_allclose(je.from_flax(net, rngs=nnx.Rngs(0))(X), want, rtol=1e-6, atol=1e-6)
