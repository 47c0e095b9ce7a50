"""Models of several inputs: all their entries are features, counted over all of them."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxeval as je

RNG = np.random.default_rng(0)
PARTS = {
    "image": RNG.normal(size=(3, 1, 2, 2)).astype(np.float32),
    "table": RNG.normal(size=(3, 3)).astype(np.float32),
}
P = {k: jnp.asarray(RNG.normal(size=(v[0].size, 2)).astype(np.float32)) for k, v in PARTS.items()}
Y = np.array([0, 1, 1])


def apply(p, x):
    z = x["image"].reshape(len(x["image"]), -1) @ p["image"]
    return z + jnp.tanh(x["table"] @ p["table"])


MODEL = je.Model(apply, P)
FLAT = np.concatenate([v.reshape(3, -1) for v in PARTS.values()], 1)
ONE = je.Model(lambda p, x: apply(p, {"image": x[:, :4], "table": x[:, 4:]}), P, channel_axis=None)
BACKGROUND = {k: v[::-1] for k, v in PARTS.items()}


def test_maps_have_the_shapes_of_the_inputs():
    explainer = je.explain.IntegratedGradients(n_steps=4, baseline=0.0)
    a = je.attribute(explainer, MODEL, PARTS, Y)
    want = je.attribute(explainer, ONE, FLAT, Y)
    assert {k: v.shape for k, v in a.items()} == {k: v.shape for k, v in PARTS.items()}
    np.testing.assert_allclose(a["image"].reshape(3, 4), want[:, :4], rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(a["table"], want[:, 4:], rtol=1e-6, atol=1e-6)
    pair = je.attribute(
        explainer, lambda x: apply(P, {"image": x[0], "table": x[1]}), tuple(PARTS.values()), Y
    )
    assert isinstance(pair, tuple)
    np.testing.assert_allclose(pair[1], a["table"], rtol=1e-6, atol=1e-6)


def test_features_are_counted_over_all_inputs():
    a = je.attribute("Gradient", MODEL, PARTS, Y)
    flat = np.concatenate([np.reshape(v, (3, -1)) for v in a.values()], 1)
    given = {"output": "logit"}
    metric = je.PixelFlipping(n_steps=None, baseline=0.0)
    out = je.score(metric, MODEL, PARTS, Y, a, **given)
    want = je.score(metric, ONE, FLAT, Y, flat, **given)
    assert out.curve.shape == (3, 7)
    np.testing.assert_allclose(out.curve, want.curve, rtol=1e-5, atol=1e-6)
    r = je.evaluate(
        MODEL, PARTS, Y, explainers={"stored": a, "G": "Gradient"}, progress=False,
        metrics={"m": je.PixelFlipping(n_steps=None, baseline="background mean")},
        background=BACKGROUND, **given,
    )  # fmt: skip
    np.testing.assert_array_equal(r["stored", "m"].score, r["G", "m"].score)
    assert r.settings["feature_names"][:2] == ["image[0, 0, 0]", "image[0, 0, 1]"]
    assert r.settings["feature_names"][-1] == "table[2]"


def test_the_parts_of_joining():
    joined = je.join_inputs(MODEL, PARTS)
    np.testing.assert_array_equal(joined.x, FLAT)
    np.testing.assert_array_equal(joined.join(joined.split(FLAT)), FLAT)
    assert joined.groups.tolist() == [0] * 4 + [1] * 3
    b = joined.one_each({"image": 0.5, "table": [1.0, 2.0, 3.0]})
    assert b.tolist() == [0.5] * 4 + [1.0, 2.0, 3.0]
    whole = je.attribute(
        je.explain.FeatureAblation(features=joined.groups, baseline=b), joined.model, joined.x, Y
    )
    gone = {**PARTS, "image": np.full_like(PARTS["image"], 0.5)}
    drop = np.asarray(apply(P, PARTS) - apply(P, gone))[np.arange(3), Y]
    np.testing.assert_allclose(joined.split(whole)["image"][:, 0, 0, 0], drop, rtol=1e-4, atol=1e-6)


def test_models_on_the_host():
    host = je.Model(lambda _, x: np.asarray(apply(P, x)), {}, host=True)
    a = je.attribute(je.explain.FeatureAblation(baseline=0.0), host, PARTS, Y)
    want = je.attribute(je.explain.FeatureAblation(baseline=0.0), MODEL, PARTS, Y)
    jax.tree.map(lambda u, v: np.testing.assert_allclose(u, v, rtol=1e-4, atol=1e-6), a, want)


@pytest.mark.parametrize(
    ("x", "words"),
    [
        ({**PARTS, "table": PARTS["table"][:2]}, "as many rows as the first"),
        ({**PARTS, "ids": np.ones((3, 4), int)}, "input 'ids' of x must be floating-point"),
        ({}, "must be a dict"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(x, words):
    with pytest.raises((TypeError, ValueError), match=words):
        je.attribute("Gradient", MODEL, x, Y)


def test_maps_that_do_not_fit_are_refused():
    a = dict(PARTS)
    for wrong, words in (
        ({"image": a["image"]}, "those of the inputs image, table"),
        ({**a, "table": a["table"][:, :2]}, "the part of input 'table'"),
        ((a["image"], a["table"]), "a dict or a tuple, as x is"),
    ):
        with pytest.raises(ValueError, match=words):
            je.score(je.Sparseness(), MODEL, PARTS, Y, wrong)
