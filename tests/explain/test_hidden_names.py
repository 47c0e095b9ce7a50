"""Explainers of layers take the names of `Model.hidden`; maps are those of the traced name."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import jaxeval as je
from jaxeval.perturb import RandomiseLayers

RNG = np.random.default_rng(0)
X = RNG.normal(size=(3, 8, 8, 2)).astype(np.float32)
Y = np.array([0, 1, 2])
PARAMS = {
    "stem": RNG.normal(size=(3, 3, 2, 4)).astype(np.float32),
    "block": RNG.normal(size=(3, 3, 4, 4)).astype(np.float32),
    "head": RNG.normal(size=(4, 3)).astype(np.float32),
}


def conv(x, w):
    return lax.conv_general_dilated(
        x, w.astype(x.dtype), (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


@jax.jit
def block(p, x):
    return jax.nn.relu(conv(x, p["block"]) + x)


def hidden(p, x):
    """Values made inside of a call, the input, the logits, and one that nothing is made from."""
    first = jax.nn.relu(conv(x, p["stem"]))
    second = block(p, first)
    pooled = second.mean((1, 2))
    z = pooled @ p["head"].astype(x.dtype)
    shown = {"stage 0": first, "stage 1": second, "pooled": pooled, "x": x, "z": z}
    return z, {**shown, "beside": second.max((1, 2)), "stem": first}


def apply(p, x):
    return hidden(p, x)[0]


MODEL = je.Model(apply, PARAMS, hidden=hidden, channel_axis=-1)
TRACED = je.Model(apply, PARAMS, channel_axis=-1)
SAME = {"stage 0": "stem/relu", "stage 1": "block/relu"}
KINDS = [n for family in ("layers", "class activation maps") for n in je.explain.FAMILIES[family]]


def settings(kind):
    return {"patch": 4} if "Ablation" in kind.__name__ and "CAM" not in kind.__name__ else {}


def close(a, want, tolerance=1e-5):
    """Relative to the largest entry, as float32 and another order of the same sums leave it."""
    want = np.asarray(want)
    np.testing.assert_allclose(a, want, rtol=0, atol=tolerance * np.abs(want).max())


def test_layers_lists_them_last():
    found = MODEL.layers(X)
    traced = TRACED.layers(X)
    assert list(found)[: len(traced)] == list(traced)
    assert {k: found[k] for k in set(found) - set(traced)} == {
        "stage 0": (3, 8, 8, 4),
        "stage 1": (3, 8, 8, 4),
        "pooled": (3, 4),
        "x": X.shape,
        "z": (3, 3),
    }
    assert set(SAME.values()) <= set(traced)


@pytest.mark.parametrize("layer", SAME)
@pytest.mark.parametrize("kind", KINDS)
def test_maps_are_those_of_the_traced_name(kind, layer):
    ours, traced = (kind(layer=v, **settings(kind)) for v in (layer, SAME[layer]))
    want = je.attribute(traced, TRACED, X, Y)
    close(je.attribute(ours, MODEL, X, Y), want)
    np.testing.assert_array_equal(je.attribute(traced, MODEL, X, Y), want)


@pytest.mark.parametrize("kind", je.explain.FAMILIES["neurons"])
def test_units_too(kind):
    maps = [
        je.attribute(
            kind(layer=layer, unit=(slice(2, 6), slice(2, 6), 1), **settings(kind)), model, X, Y
        )
        for layer, model in (("stage 1", MODEL), (SAME["stage 1"], TRACED))
    ]
    close(*maps)
    assert np.abs(maps[0]).max() > 0


def test_values_without_a_traced_name():
    """The mean over positions, the input and the logits; rules for layers; functions of our own."""
    a = je.attribute(je.explain.LayerActivation(layer="pooled"), MODEL, X, Y)
    close(a, hidden(PARAMS, X)[1]["pooled"])
    product = je.attribute(je.explain.LayerGradientXActivation(layer="pooled"), MODEL, X, Y)
    np.testing.assert_allclose(product.sum(1), np.asarray(apply(PARAMS, X))[range(3), Y], rtol=1e-4)
    same = je.attribute(je.explain.LayerActivation(layer="x"), MODEL, X, Y)
    np.testing.assert_array_equal(same, X)
    z = je.attribute(je.explain.LayerActivation(layer="z"), MODEL, X, Y)
    close(z, apply(PARAMS, X))
    rule = {"stage 1": "epsilon"}, {SAME["stage 1"]: "epsilon"}
    ours, traced = (je.explain.LRP(rule="gamma", layers=layers) for layers in rule)
    want = je.attribute(traced, TRACED, X, Y)
    close(je.attribute(ours, MODEL, X, Y), want)
    unit = je.explain.Neuron(explainer=je.explain.Gradient(), layer="pooled", unit=1)
    want = jax.grad(lambda x: hidden(PARAMS, x)[1]["pooled"][:, 1].sum())(X)
    close(je.attribute(unit, MODEL, X, Y), want, 1e-4)


def test_inside_of_jit_in_half_precision_and_in_metrics():
    explain = je.explain.GradCAM(layer="stage 1")
    want = explain(MODEL, X, Y)
    mapped = jax.jit(lambda p, x: explain(je.Model(apply, p, hidden=hidden, channel_axis=-1), x, Y))
    close(mapped(PARAMS, X), want)
    half = explain(MODEL, X.astype(np.float16), Y)
    np.testing.assert_allclose(half, want, rtol=2e-2, atol=2e-2)
    for metric in (je.MPRT(), je.MaxSensitivity(n_samples=2)):
        scores = [
            je.score(metric, model, X, Y, explainer=je.explain.GradCAM(layer=layer)).score
            for layer, model in (("stage 1", MODEL), (SAME["stage 1"], TRACED))
        ]
        np.testing.assert_allclose(*scores, rtol=1e-4)


def test_blocks_of_flax_that_have_no_traced_name():
    class Block(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.relu(nn.Conv(4, (3, 3))(x)) + 1

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.Dense(3)(Block()(x).mean((1, 2)))

    variables = Net().init(jax.random.key(0), X)
    model = je.from_flax(Net(), variables)
    assert "Block_0" in model.layers(X)
    a = je.attribute(je.explain.LayerActivation(layer="Block_0"), model, X, Y)
    want = Block().apply({"params": variables["params"]["Block_0"]}, X)
    close(a, want)


@pytest.mark.parametrize(
    ("explainer", "words"),
    [
        (je.explain.GradCAM(layer="stage1"), r"no layer 'stage1', only .*Did you mean 'stage 1'"),
        (
            je.explain.GradCAM(layer="beside"),
            "'beside' as a value that its logits are not computed",
        ),
        (je.explain.LRP(layers={"stage 1": "gamma", "head": "epsilon"}), "names of one kind only"),
    ],
)
def test_what_is_no_layer_says_so(explainer, words):
    with pytest.raises(ValueError, match=words):
        je.attribute(explainer, MODEL, X, Y)


def test_hidden_must_give_the_same_logits():
    def other(p, x):
        z, layers = hidden(p, x)
        return 2 * z, layers

    def reordered(p, x):
        first = jax.nn.relu(conv(x, p["stem"]))
        second = jax.nn.relu(first + conv(first, p["block"]))
        return jnp.einsum("nhwc,ck->nk", second, p["head"]) / 64, {"stage 1": second}

    explain = je.explain.GradCAM(layer="stage 1")
    wrong = je.Model(apply, PARAMS, hidden=other, channel_axis=-1)
    with pytest.raises(ValueError, match="gives other logits than apply"):
        explain(wrong, X, Y)
    with pytest.warns(UserWarning, match="other operations than apply"):
        jax.jit(lambda p, x: explain(je.Model(apply, p, hidden=other, channel_axis=-1), x, Y))(
            PARAMS, X
        )
    right = je.Model(apply, PARAMS, hidden=reordered, channel_axis=-1)
    want = explain(MODEL, X, Y)
    close(jax.jit(lambda x: explain(right, x, Y))(X), want, 1e-4)
    close(explain(right, X, Y), want, 1e-4)
    with pytest.raises(ValueError, match="gives other logits than apply"):
        jax.jit(lambda x: explain(wrong, x, Y))(X)


def deep(p, x):
    for name in sorted(p):
        x = jnp.tanh(x @ p[name])
    return x


def test_many_layers_are_not_all_listed():
    params = {f"layer {i:03}": np.eye(3, dtype=np.float32) for i in range(150)}
    model = je.Model(deep, params, channel_axis=None)
    x, y = np.ones((2, 3), np.float32), np.zeros(2, int)
    every = (
        r"layer 017, .*\.\.\. \(299 in all: list\(model.layers\(x\)\)\)\. Did you mean 'layer 017'"
    )
    with pytest.raises(ValueError, match=every) as caught:
        je.attribute(je.explain.LayerActivation(layer="layer_017"), model, x, y)
    assert len(str(caught.value)) < 400
    with pytest.raises(ValueError, match=r"one of layer 000, .*\.\.\. \(299 in all"):
        je.attribute(je.explain.LayerActivation(), model, x, y)
    sample = je.Sample(x=x[0], y=0, key=None, position=0, features=(3,))
    every = r"layer 017, .*\.\.\. \(150 in all: jaxeval.layer_names\(model, x\)\) \(those with"
    with pytest.raises(ValueError, match=every):
        RandomiseLayers(names=("layer_017",)).bind(model, sample)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16])
def test_same_logits_by_other_operations(dtype):
    """In half precision, and NaN for some of the inputs on which they are compared."""
    params = {k: v.astype(dtype) for k, v in PARAMS.items()}

    def first(p, x):
        return jnp.log(conv(x, p["stem"]) + 1)

    def one(p, x):
        return first(p, x).mean((1, 2)) @ p["head"]

    def other(p, x):
        h = first(p, x)
        return jnp.einsum("nhwc,ck->nhwk", h, p["head"]).mean((1, 2)), {"logs": h}

    assert np.isnan(one(params, X.astype(dtype))).any()
    model = je.Model(one, params, hidden=other, channel_axis=-1)
    x = jnp.zeros(X.shape, dtype)
    assert je.explain.LayerActivation(layer="logs")(model, x, Y).shape == (3, 8, 8, 4)
