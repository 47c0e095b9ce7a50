"""Equinox modules: their outputs, layers, state, and what is refused."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

eqx = pytest.importorskip("equinox")

import jaxeval as je  # noqa: E402

X = np.random.default_rng(0).uniform(size=(4, 1, 8, 8)).astype(np.float32)
Y = np.array([0, 1, 2, 1])


class Net(eqx.Module):
    conv: eqx.nn.Conv2d
    norm: eqx.nn.BatchNorm
    drop: eqx.nn.Dropout
    out: eqx.nn.Linear

    def __init__(self, key):
        a, b = jax.random.split(key)
        self.conv = eqx.nn.Conv2d(1, 4, 3, key=a)
        self.norm = eqx.nn.BatchNorm(4, axis_name="batch", mode="batch")
        self.drop = eqx.nn.Dropout(0.5)
        self.out = eqx.nn.Linear(4, 3, key=b)

    def __call__(self, x, state, *, key):
        x, state = self.norm(jax.nn.relu(self.conv(x)), state)
        return self.out(self.drop(x.mean((1, 2)), key=key)), state


@pytest.fixture(scope="module")
def trained():
    net, state = eqx.nn.make_with_state(Net)(jax.random.key(0))
    keys = jax.random.split(jax.random.key(1), len(X))
    call = jax.vmap(lambda x, s, k: net(x, s, key=k), (0, None, 0), (0, None), axis_name="batch")
    return net, call(X, state, keys)[1]


def test_outputs_are_the_modules_in_inference_mode(trained):
    net, state = trained
    model = je.from_equinox(net, state)
    still = eqx.nn.inference_mode(net)
    want = [still(jnp.asarray(v), state, key=None)[0] for v in X]
    np.testing.assert_allclose(model(X), want, rtol=1e-5, atol=1e-6)
    assert not net.drop.inference  # the caller's keeps its mode


def test_layers_metrics_and_explainers(trained):
    model = je.from_equinox(*trained)
    assert {"conv", "conv/relu", "out"} <= set(model.layers(X))
    cam = je.attribute(je.explain.GradCAM(layer="conv/relu"), model, X, Y)
    assert cam.shape == (4, 1, 8, 8)
    explainer = je.explain.Saliency()
    assert je.layer_names(model, X)[0] == "conv"
    assert np.isfinite(je.score(je.MPRT(), model, X, Y, explainer=explainer).score).all()
    assert np.isfinite(je.score(je.RRS(n_samples=2), model, X, Y, explainer=explainer).score).all()


def test_plain_and_batched_modules():
    mlp = eqx.nn.MLP(6, 3, 8, 2, key=jax.random.key(0))
    x = np.random.default_rng(0).normal(size=(5, 6)).astype(np.float32)
    model = je.from_equinox(mlp, channel_axis=None)
    np.testing.assert_allclose(model(x), jax.vmap(mlp)(x), rtol=1e-6, atol=1e-6)
    assert next(iter(model.layers(x))) == "layers/0"

    class Batched(eqx.Module):
        mlp: eqx.nn.MLP

        def __call__(self, x):
            return jax.vmap(self.mlp)(x)

    whole = je.from_equinox(Batched(mlp), batched=True, channel_axis=None)
    np.testing.assert_array_equal(whole(x), model(x))


def test_what_does_not_fit_is_refused(trained):
    net, _ = trained
    with pytest.raises(TypeError, match=r"takes a state: give from_equinox\(module, state\)"):
        je.from_equinox(net)
    with pytest.raises(TypeError, match=r"a callable equinox.Module, got function"):
        je.from_equinox(lambda x: x)
    with pytest.raises(TypeError, match="no argument 'train'"):
        je.from_equinox(*trained, train=False)
    x = np.ones((2, 6), np.float32)
    mlp = eqx.nn.MLP(6, 3, 8, 2, key=jax.random.key(0))
    with pytest.raises(TypeError, match=r"from_equinox\(module\)"):
        je.evaluate(mlp, x, explainers={"x": x}, metrics=[je.Sparseness()])


def test_modules_that_split_their_key_say_that_they_need_one():
    class Splits(eqx.Module):
        out: eqx.nn.Linear
        drop: eqx.nn.Dropout

        def __call__(self, x, key):
            return self.out(self.drop(x, key=jax.random.split(key)[0]))

    net = Splits(eqx.nn.Linear(6, 3, key=jax.random.key(0)), eqx.nn.Dropout(0.5))
    x = np.ones((2, 6), np.float32)
    with pytest.raises(ValueError, match=r"from_equinox\(module, key=jax.random.key\(0\)\)"):
        je.attribute("Gradient", je.from_equinox(net, channel_axis=None), x, [0, 0])
    model = je.from_equinox(net, channel_axis=None, key=jax.random.key(0))
    np.testing.assert_allclose(model(x), jax.vmap(net.out)(x), rtol=1e-6, atol=1e-6)
