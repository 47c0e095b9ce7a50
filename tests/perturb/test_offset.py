"""A shifted input and a model that compensates for it."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

import jaxeval as je

X = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
FIRST, SECOND = (
    np.random.default_rng(i).normal(size=s).astype(np.float32)
    for i, s in ((1, (4, 5)), (2, (5, 3)))
)


def of_dict(params, x):
    hidden = jnp.tanh(x @ params["params"]["first"]["w"])
    return hidden @ params["params"]["second"]["w"]


NAMED = je.Model(
    of_dict, {"params": {"first": {"w": FIRST}, "second": {"w": SECOND}}}, channel_axis=None
)
PLAIN = je.Model(lambda p, x: jnp.tanh(x @ p[0]) @ p[1], [FIRST, SECOND], channel_axis=None)


@pytest.mark.parametrize("model", [NAMED, PLAIN], ids=["a dict", "a list"])
def test_the_model_compensates(model):
    shifted = je.perturb.Offset(shift=-1.5).model(model, None, 0)
    np.testing.assert_allclose(shifted(X - 1.5), model(X), rtol=1e-5, atol=1e-6)


def test_layers_keep_their_names():
    shifted = je.perturb.Offset().model(NAMED, None, 0)
    assert set(je.explain.layers(shifted, X)) >= {"first", "second"}
    explainer = je.explain.LayerGradientXActivation(layer="first")
    np.testing.assert_allclose(
        je.attribute(explainer, shifted, X - 1, [0, 1, 2]),
        je.attribute(explainer, NAMED, X, [0, 1, 2]), rtol=1e-4, atol=1e-6,
    )  # fmt: skip


def test_a_layer_by_its_name_is_scored():
    model = je.data.digits_cnn()
    x = je.data.digits().x_test[:2]
    layer = next(n for n, _ in je.explain.layers(model, x).items() if "Conv" in n)
    score = je.InputInvariance()(model, x, [0, 1], explainer=je.explain.GradCAM(layer=layer))
    assert np.isfinite(score).all()
