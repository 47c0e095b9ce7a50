"""Keras models on JAX: their outputs, layers by Keras's names, and what is refused."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

os.environ.setdefault("KERAS_BACKEND", "jax")
keras = pytest.importorskip("keras")

import jaxeval as je  # noqa: E402

if keras.backend.backend() != "jax":
    pytest.skip("Keras was imported with another backend", allow_module_level=True)
layers = keras.layers
X = np.random.default_rng(0).uniform(size=(4, 8, 8, 1)).astype(np.float32)
Y = np.array([0, 1, 2, 1])


def parts():
    return [
        layers.Conv2D(4, 3, activation="relu", name="first"),
        layers.BatchNormalization(name="norm"),
        layers.MaxPooling2D(name="pool"),
        layers.Dropout(0.5, name="drop"),
        layers.Flatten(name="flat"),
        layers.Dense(3, name="out"),
    ]


def sequential():
    return keras.Sequential([keras.Input((8, 8, 1)), *parts()])


def functional():
    x = given = keras.Input((8, 8, 1))
    for layer in parts():
        x = layer(x)
    return keras.Model(given, x)


class Own(keras.Model):
    def __init__(self):
        super().__init__()
        self.parts = parts()

    def call(self, x, training=None):
        for layer in self.parts:
            x = layer(x, training=training) if layer.name in ("norm", "drop") else layer(x)
        return x


def subclassed():
    net = Own()
    net(X)
    return net


@pytest.fixture(scope="module", params=[sequential, functional, subclassed])
def net(request):
    keras.utils.set_random_seed(0)
    net = request.param()
    for v in net.non_trainable_variables:  # statistics that differ from those at the start
        if "moving" in v.path:
            v.assign(np.abs(np.random.default_rng(1).normal(size=v.shape)) + 0.5)
    return net


def test_outputs_are_kerass(net):
    model = je.from_keras(net)
    assert (model.outputs, model.channel_axis) == ("logits", -1)
    np.testing.assert_allclose(model(X), net(X, training=False), rtol=1e-5, atol=1e-6)


def test_layers_have_kerass_names_and_outputs(net):
    model = je.from_keras(net)
    found = {name.rpartition("/")[2]: name for name in model.layers(X)}
    assert {"first", "norm", "pool", "drop", "flat", "out"} <= set(found)
    chosen = [layer for layer in net._flatten_layers() if layer.name in ("first", "pool")]
    seen = je.explain.with_hidden(model, [found["first"], found["pool"]])
    _, hidden = seen.hidden(seen.params, X)
    first = chosen[0](X)
    np.testing.assert_allclose(hidden[found["first"]], first, rtol=1e-5, atol=1e-6)
    assert float(np.min(hidden[found["first"]])) == 0.0  # after its activation
    cam = je.attribute(je.explain.GradCAM(layer=found["first"]), model, X, Y)
    assert cam.shape == (4, 8, 8, 1)


def test_metrics_of_parameters_and_layers_run(net):
    model = je.from_keras(net)
    explainer = je.explain.Saliency()
    score = je.score(je.MPRT(), model, X, Y, explainer=explainer)
    assert score.curve.shape[1] >= 3
    assert np.isfinite(je.score(je.RRS(n_samples=2), model, X, Y, explainer=explainer).score).all()
    before = [np.array(v.value) for v in net.trainable_variables]
    je.attribute(je.explain.LRP(rule="epsilon"), model, X, Y)
    for v, was in zip(net.trainable_variables, before, strict=True):
        np.testing.assert_array_equal(v.value, was)
    assert all("call" not in vars(layer) for layer in net._flatten_layers())


@pytest.mark.parametrize(
    ("activation", "units", "kind", "k"),
    [
        ("softmax", 3, "probabilities", 3),
        ("sigmoid", 1, "probabilities", 2),
        ("sigmoid", 3, "values", 3),
        (None, 1, "values", 1),
        (None, 3, "logits", 3),
    ],
)
def test_the_last_activation_says_what_the_outputs_are(activation, units, kind, k):
    net = keras.Sequential([keras.Input((4,)), layers.Dense(units, activation=activation)])
    model = je.from_keras(net)
    assert (model.outputs, model.channel_axis) == (kind, None)
    z, p = model(X[:, :1, :4, 0].reshape(4, 4)), np.asarray(net(X[:, :1, :4, 0].reshape(4, 4)))
    assert z.shape == (4, k)
    np.testing.assert_allclose(z[:, -1], p[:, -1], rtol=1e-5, atol=1e-6)


def test_what_is_not_supported_is_refused():
    with pytest.raises(TypeError, match="a model of Keras 3"):
        je.from_keras(lambda x: x)
    with pytest.raises(ValueError, match="is not built"):
        je.from_keras(Own())
    a = keras.Input((2,))
    two = keras.Model(a, [layers.Dense(2, name="p")(a), layers.Dense(1, name="q")(a)])
    with pytest.raises(TypeError, match=r"2 outputs \('p', 'q'\), wanted one: give keras.Model"):
        je.from_keras(two)


TABLE = np.random.default_rng(2).normal(size=(4, 3)).astype(np.float32)


def branches(image, table):
    """The layers of two branches, applied."""
    h = layers.Flatten()(layers.Conv2D(2, 3, activation="relu", name="conv")(image))
    table = layers.Dense(4, activation="tanh", name="dense")(table)
    return layers.Dense(3, name="out")(layers.Concatenate(name="both")([h, table]))


def of_list():
    image, table = keras.Input((8, 8, 1), name="image"), keras.Input((3,), name="table")
    return keras.Model([image, table], branches(image, table))


def of_dict():
    image, table = keras.Input((8, 8, 1), name="image"), keras.Input((3,), name="table")
    return keras.Model({"i": image, "t": table}, branches(image, table))


class Two(keras.Model):
    def __init__(self):
        super().__init__()
        self.conv = layers.Conv2D(2, 3, activation="relu", name="conv")
        self.out = layers.Dense(3, name="out")

    def both(self, image, table):
        flat = keras.ops.reshape(self.conv(image), (-1, 72))
        return self.out(keras.ops.concatenate([flat, table], -1))


class OfOneDict(Two):
    def call(self, x):
        return self.both(x["image"], x["table"])


class OfArguments(Two):
    def call(self, image, table, training=False):
        return self.both(image, table)


def built(net, *x):
    net(*x)
    return net


NAMED, PAIR = {"image": X, "table": TABLE}, (X, TABLE)
SEVERAL = {
    "list": (of_list, PAIR, lambda net: net(list(PAIR))),
    "list by names": (of_list, dict(reversed(NAMED.items())), lambda net: net(list(PAIR))),
    "dict": (of_dict, {"t": TABLE, "i": X}, lambda net: net({"i": X, "t": TABLE})),
    "dict by names": (of_dict, NAMED, lambda net: net({"i": X, "t": TABLE})),
    "subclass": (lambda: built(OfOneDict(), NAMED), NAMED, lambda net: net(NAMED)),
    "arguments": (lambda: built(OfArguments(), *PAIR), PAIR, lambda net: net(*PAIR)),
}


@pytest.mark.parametrize("case", SEVERAL)
def test_several_inputs_are_explained_together(case):
    make, x, call = SEVERAL[case]
    net = make()
    model = je.from_keras(net)
    np.testing.assert_allclose(model(x), call(net), rtol=1e-5, atol=1e-6)
    maps = je.attribute("InputXGradient", model, x, Y)
    assert type(maps) is type(x)
    pairs = [(maps[k], x[k]) for k in x] if isinstance(x, dict) else zip(maps, x, strict=True)
    assert all(a.shape == v.shape for a, v in pairs)


def test_one_input_is_explained_while_the_others_stay():
    model = je.from_keras(of_list())
    together = je.attribute("InputXGradient", model, NAMED, Y)
    alone = je.attribute("InputXGradient", model, X, Y, inputs={"table": TABLE})
    np.testing.assert_allclose(alone, together["image"], rtol=1e-5, atol=1e-6)
    cam = je.attribute(je.explain.GradCAM(layer="conv"), model, X, Y, inputs={"table": TABLE})
    assert cam.shape == X.shape
    layer = je.attribute(je.explain.LayerActivation(layer="conv"), model, NAMED, Y)
    assert layer.shape == (4, 6, 6, 2)
    results = je.evaluate(
        model, NAMED, Y, explainers="Gradient", metrics={"rrs": je.RRS(n_samples=3)}, progress=False
    )
    assert np.isfinite(results.scores["Gradient", "rrs"]).all()
    with pytest.raises(ValueError, match="explain the image alone"):
        je.attribute(je.explain.GradCAM(layer="conv"), model, NAMED, Y)


def test_other_inputs_than_the_models_are_refused():
    model = je.from_keras(of_list())
    with pytest.raises(ValueError, match="has the inputs 'image', 'table'"):
        je.attribute("Gradient", model, {"a": X, "table": TABLE}, Y)
    with pytest.raises(ValueError, match="one of them as x and the others as inputs="):
        je.attribute("Gradient", model, X, Y)


class WithoutTraining(keras.Model):
    def __init__(self):
        super().__init__()
        self.drop, self.out = layers.Dropout(0.5), layers.Dense(3)

    def call(self, x):
        return self.out(self.drop(x))


def test_a_call_without_the_argument_training_is_in_inference_mode():
    net = built(WithoutTraining(), TABLE)
    np.testing.assert_allclose(je.from_keras(net)(TABLE), net(TABLE), rtol=1e-5, atol=1e-6)


def test_another_backend_is_refused():
    script = """
        import keras, jaxeval as je
        net = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
        try:
            je.from_keras(net)
        except ValueError as e:
            assert "KERAS_BACKEND=jax before Keras is imported" in str(e), e
        else:
            raise AssertionError
    """
    pytest.importorskip("torch")
    import textwrap

    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        capture_output=True,
        text=True,
        env={**os.environ, "KERAS_BACKEND": "torch"},
    )
    assert not done.returncode, done.stderr
