"""Half precision and 64 bits: the maps of float32, as far as the type can hold them."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxeval import explain
from jaxeval.model import Model
from jaxeval.types import canonical
from tests import transformers_by_hand as by_hand

from .helpers import ALIKE, every, jitted, keys, make, run

CAMS = tuple(cls.__name__ for cls in explain.FAMILIES["class activation maps"])
IMAGES = (*CAMS, "ExtremalPerturbation")
ATTENTION = tuple(cls.__name__ for cls in explain.FAMILIES["attention"])
FEATURES = np.array([0, 0, 1, 1, 2, 3])
EVERY = every(
    {"n_steps": 4, "n_samples": 4, "layer": "first", "unit": 2},
    {
        "Saliency": {"output": "probability"},
        "InputXGradient": {"output": "log_probability"},
        "NoiseGrad": {"n_samples": 2},
        "FusionGrad": {"n_models": 2, "n_samples": 2},
        "BlurIG": {"max_sigma": 2.0},
        "DeepLiftShap": {"background": np.stack([np.zeros(6), np.ones(6)])},
        "Occlusion": {"window": 2},
        "FeatureAblation": {"features": FEATURES},
        "FeaturePermutation": {"features": FEATURES, "n_samples": 1},
        "ShapleyValueSampling": {"n_samples": 3},
        "KernelShap": {"n_samples": 40, "features": FEATURES},
        "Lime": {"n_samples": 40},
        "RISE": {"n_samples": 8, "cells": 2},
        "NeuronFeatureAblation": {"features": FEATURES},
        "XRAI": {"segments": FEATURES},
        "ExtremalPerturbation": {"step_size": 3, "sigma": 2.0},
        "Constant": {"value": 0.5},
        **{name: {"layer": None} for name in CAMS},
    },
)
OTHERS = {
    **{f"LRP, {r}": explain.LRP(rule=r) for r in ("alpha_beta", "z_plus", "gamma", "flat")},
    **{f"LRP, {r}": explain.LRP(rule=r) for r in ("w_square", "z_box", "epsilon_plus_flat")},
    "LRP, a small epsilon": explain.LRP(rule=explain.Epsilon(epsilon=1e-9)),
    "LayerConductance, differences": explain.LayerConductance(
        layer="first", n_steps=4, derivative="differences"
    ),
    "Lime, euclidean": explain.Lime(n_samples=40, distance="euclidean", width=2.0),
    "DeepLift, gradient": explain.DeepLift(pooling="gradient", output="probability"),
    "IntegratedGradients, blur": explain.IntegratedGradients(n_steps=4, baseline="blur"),
    "GuidedIG, mean": explain.GuidedIG(n_steps=4, baseline="mean", fraction=0.5),
    "Occlusion, of probabilities": explain.Occlusion(window=2, output="probability"),
}
ALL = {**EVERY, **OTHERS}


def table(params, x):
    z = jax.nn.relu(x @ params["first"]["w"] + params["first"]["b"])
    return jax.nn.gelu(z) @ params["second"]["w"]


def images(params, x):
    z = jax.lax.conv(x, params["conv"], (1, 1), "SAME")
    return jax.nn.relu(z).mean((2, 3)) @ params["second"]["w"]


def sequence(params, x):
    h = jax.nn.softmax(x @ params["first"]["w"] @ x.mT / 8) @ x
    return (h + x)[:, 0] @ params["second"]["w"]


def cased(name, dtype):
    """(model, x): rows of numbers, one of zeros among them, as one sample is all zeros.

    Numbers that all types hold exactly, so that what differs is the arithmetic.
    """
    rng = np.random.default_rng(0)

    def numbers(*shape):
        return (rng.integers(-8, 9, shape) / 8).astype(dtype)

    if name in ATTENTION:
        params = {"first": {"w": numbers(6, 6)}, "second": {"w": numbers(6, 3)}}
        x = numbers(4, 5, 6)
        model = Model(sequence, jax.tree.map(jnp.asarray, params), channel_axis=-1)
    elif name in IMAGES:
        params = {"conv": numbers(4, 2, 3, 3), "second": {"w": numbers(4, 3)}}
        x = numbers(4, 2, 6, 6)
        model = Model(images, jax.tree.map(jnp.asarray, params))
    else:
        params = {
            "first": {"w": numbers(6, 8), "b": numbers(8)},
            "second": {"w": numbers(8, 3)},
        }
        x = numbers(4, 6)
        model = Model(table, jax.tree.map(jnp.asarray, params), channel_axis=None)
    x[1] = 0
    x[2, ..., :2] = 0
    return model, x


Y = np.array([0, 1, 2, 1])


def maps(name, dtype, through_jit=False):
    model, x = cased(name, dtype)
    # Through jit as by the engine: with fields that are arrays.
    e, call = (canonical(ALL[name]), jitted) if through_jit else (ALL[name], run)
    a = call(e, model, x, Y, keys(4))
    assert a.dtype == jax.dtypes.canonicalize_dtype(dtype)
    return np.asarray(a, np.float64)


RIGHT = {}


def right(name):
    if name not in RIGHT:
        RIGHT[name] = maps(name, np.float32)
    return RIGHT[name]


# The model's logits and gradients have an error of some roundings; what follows is computed in
# float32. All types differ from float32 by less than 3 eps of the largest value, but VarGrad.
ROUNDINGS = 8
# Of its largest value, g^2, a variance has twice the relative error of the gradients g.
OF_VARIANCE = 2 * ROUNDINGS


def close(a, wanted, dtype, roundings=ROUNDINGS):
    scale = np.abs(wanted).max()
    eps = float(jnp.finfo(dtype).eps)
    np.testing.assert_allclose(a, wanted, rtol=0, atol=roundings * eps * scale)


slow = pytest.mark.slow
HALF = [pytest.param(name, np.float16, marks=slow if name in ALIKE else ()) for name in ALL] + [
    pytest.param(name, jnp.bfloat16, marks=() if name in ("LRP", "GuidedIG", "Lime") else slow)
    for name in ALL
]


@pytest.mark.parametrize(("name", "dtype"), HALF)
def test_half_precision(name, dtype):
    a, wanted = maps(name, dtype), right(name)
    assert a.shape == wanted.shape
    close(a, wanted, dtype)


@pytest.mark.parametrize("name", ["LRP", "DeepLift", "GuidedIG", "Lime", "LayerConductance"])
def test_half_precision_within_a_compiled_program(name):
    close(maps(name, np.float16, through_jit=True), right(name), np.float16)


ROUGH = {
    "TransformerAttribution": explain.TransformerAttribution(upsample=None),
    "AttnLRP": explain.AttnLRP(),
    "NeuronIntegratedGradients": explain.NeuronIntegratedGradients(layer="fc_2/relu", unit=3),
}


@pytest.mark.parametrize("dtype", [np.float16, jnp.bfloat16], ids=["float16", "bfloat16"])
@pytest.mark.parametrize("name", ROUGH)
def test_half_precision_is_as_near_as_weights_are(name, dtype):
    """Maps of deep models move far where activations come near 0, or where ReLUs and maxima switch,
    and no further than by half a unit in the last place of weights and inputs."""
    if name == "NeuronIntegratedGradients":
        model, x = make("tabular").model, make("tabular", 8).x
    else:
        model, x = by_hand.model(images=False), by_hand.inputs(images=False, n=8)
    e, y, eps = ROUGH[name], np.arange(8) % 4, float(jnp.finfo(dtype).eps)
    rng = np.random.default_rng(0)
    params, x = jax.tree.map(lambda v: np.float32(v.astype(dtype)), (model.params, x))

    def near(v):
        return np.float32(v * (1 + rng.choice((-1, 1), v.shape) * eps / 2))

    def mapped(params, x):
        a = jitted(e, dataclasses.replace(model, params=params), x, y, None)
        return np.asarray(a, np.float64).reshape(8, -1)

    wanted = mapped(params, x)
    moves = [mapped(*jax.tree.map(near, (params, x))) - wanted for _ in range(10)]
    half = mapped(*jax.tree.map(lambda v: jnp.asarray(v, dtype), (params, x)))
    most = np.abs(moves).max((0, 2)) + 2 * eps * np.abs(wanted).max(1)
    assert (np.abs(half - wanted).max(1) <= most).all()


@pytest.mark.parametrize("host", ["numpy", "jax"])
def test_half_precision_on_the_host(host):
    model, x = cased("KernelShap", np.float16)
    params = jax.tree.map(np.asarray, model.params)

    def answer(_, x):
        assert x.dtype == np.float16
        return np.asarray(table(params, x))

    outside = Model(answer, host=host, channel_axis=None)
    for name in ("KernelShap", "Occlusion", "Lime"):
        a = ALL[name](outside, x, Y, keys(4))
        assert a.dtype == np.float16
        close(np.asarray(a, np.float64), right(name), np.float16)


X64 = [
    *(pytest.param(n, np.float32, marks=() if n in EVERY else slow) for n in ALL),
    *(pytest.param(n, np.float64, marks=() if n in ("GuidedIG", "LRP") else slow) for n in ALL),
]


@pytest.mark.parametrize(("name", "dtype"), X64)
def test_64_bits(name, dtype):
    """The same random numbers, too."""
    wanted = right(name)
    with jax.enable_x64(True):
        roundings = OF_VARIANCE if name == "VarGrad" else ROUNDINGS
        close(maps(name, dtype, through_jit=True), wanted, np.float32, roundings)
        if name == "GuidedIG":
            close(maps(name, dtype), wanted, np.float32, roundings)


# Models that compute in half precision whatever they are given, as Flax's `dtype=` makes them.


def mixed(half):
    @jax.custom_vjp
    def doubled(z):
        return 2 * z

    doubled.defvjp(lambda z: (2 * z, None), lambda _, c: (2 * c,))

    def apply(params, x):
        first, second = (p["w"].astype(half) for p in (params["first"], params["second"]))
        z = x.astype(half) @ first
        z = jax.nn.relu(z - z.mean(1, keepdims=True) + jnp.asarray(0.5, half))
        z, _ = jax.lax.scan(lambda z, w: (z + jax.nn.gelu(z * w), None), z, jnp.ones(2, half))
        z = jax.lax.cond(True, lambda z: jax.nn.relu6(z), lambda z: -z, z)
        z = jax.checkpoint(lambda z: jnp.tanh(z) + jax.nn.silu(z))(z)
        z = doubled(z)
        return (jax.nn.softmax(z) @ second).astype(jnp.float32)

    _, x = cased("LRP", np.float32)
    rng = np.random.default_rng(1)
    first, second = rng.integers(-8, 9, (6, 8)) / 8, rng.integers(-8, 9, (8, 3)) / 8
    params = {"first": {"w": jnp.float32(first)}, "second": {"w": jnp.float32(second)}}
    return Model(apply, params, channel_axis=None), x


@pytest.mark.parametrize("half", [np.float16, jnp.bfloat16], ids=["float16", "bfloat16"])
@pytest.mark.parametrize(
    "e",
    [
        explain.GuidedBackprop(),
        explain.DeepLift(),
        explain.LayerGradientXActivation(layer="first"),
        explain.LayerConductance(layer="first", n_steps=3),
    ],
    ids=lambda e: type(e).__name__,
)
def test_models_that_compute_in_half_precision(e, half):
    """What follows the model's operations computes them in float32."""
    (model, x), (single, _) = mixed(half), mixed(np.float32)
    a, wanted = e(model, x, Y), e(single, x, Y)
    assert a.dtype == np.float32
    close(a, wanted, half)


@pytest.mark.parametrize("rule", ["epsilon", "alpha_beta", "z_plus", "gamma"])
def test_relevance_does_not_overflow(rule):
    """A sum of 0, divided by an epsilon that float16 can hold, is beyond what it can."""
    w = np.array([[1, -1], [2, 1], [1, 1]], np.float16)

    def apply(p, x):
        return jax.nn.relu(x.astype(jnp.float16) @ w).astype(x.dtype)

    model, e = Model(apply, channel_axis=None), explain.LRP(rule=rule)
    for dtype in (np.float16, np.float32):
        x = np.array([[1, 2, 0], [0, 0, 0], [2, -1, 0]], dtype)
        a = np.asarray(e(model, x, np.array([0, 1, 0])), np.float32)
        wanted = e(
            Model(lambda p, x: jax.nn.relu(x @ w), channel_axis=None), np.float32(x), [0, 1, 0]
        )
        np.testing.assert_allclose(a, wanted, rtol=2e-3, atol=1e-5)
