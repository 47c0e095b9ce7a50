"""Every explainer of a model with `inputs`: each row goes with its own ones."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxeval as je
from jaxeval import explain

from .helpers import every

RNG = np.random.default_rng(0)
N, SIDE = 3, 6
ATTENDING = ("AttentionRollout", "GenericAttention", "TransformerAttribution")


def draw(*shape: int) -> jax.Array:
    return jnp.asarray(RNG.normal(size=shape), jnp.float32)


PARAMS = {
    "conv": {"w": draw(4, 2, 3, 3)},
    "dense": {"w": draw(4, 5)},
    "other": {"w": draw(3, 5)},
    "out": {"w": draw(5, 3)},
}
X = np.asarray(draw(N, 2, SIDE, SIDE))
OTHER = np.asarray(draw(N, 3))
Y = np.array([0, 2, 1])
TOKENS = {"query": {"w": draw(4, 4)}, "value": {"w": draw(4, 4)}, "out": {"w": draw(4, 3)}}
EVERY = every(
    {"n_steps": 3, "n_samples": 3, "layer": "dense", "unit": 2},
    {
        **{c.__name__: {"layer": None} for c in explain.FAMILIES["class activation maps"]},
        "FeaturePermutation": {"n_samples": 1, "patch": 3},
        "FeatureAblation": {"patch": 3},
        "NeuronFeatureAblation": {"patch": 3},
        "ShapleyValueSampling": {"n_samples": 2, "patch": 3},
        "KernelShap": {"n_samples": 12, "patch": 3},
        "Lime": {"n_samples": 12, "patch": 3},
        "Occlusion": {"window": 3, "stride": 3},
        "XRAI": {"segments": np.arange(SIDE**2).reshape(SIDE, SIDE) // 8},
    },
)


def image(p: Any, x: jax.Array, inputs: Any) -> jax.Array:
    h = jax.nn.relu(jax.lax.conv(x, p["conv"]["w"], (1, 1), "SAME")).mean((2, 3))
    h = jax.nn.relu(h @ p["dense"]["w"] + inputs["other"] @ p["other"]["w"])
    return h @ p["out"]["w"]


def sequence(p: Any, x: jax.Array, inputs: Any) -> jax.Array:
    """Attention within which some tokens are masked."""
    z = jnp.where(inputs["there"][:, None], (x @ p["query"]["w"]) @ x.mT, -1e9)
    return (jax.nn.softmax(z) @ (x @ p["value"]["w"]))[:, 0] @ p["out"]["w"]


QUICK = (
    *("NeuronGradient", "NeuronConductance", "NeuronFeatureAblation", "LayerFeatureAblation"),
    *("RAP", "AblationCAM", "LayerDeepLift", *ATTENDING),
)
NOISY = ("NoiseGrad", "FusionGrad")
"""Change parameters, among which this test puts the inputs."""
NAMES = [
    name if name in QUICK else pytest.param(name, marks=pytest.mark.slow)
    for name in EVERY
    if name not in NOISY
]


@pytest.mark.parametrize("name", NAMES)
def test_rows_go_with_their_inputs(name: str):
    """Against a model for each row, which holds that row's inputs as a parameter."""
    net, params, x, inputs, channel = image, PARAMS, X, {"other": OTHER}, 1
    if name in ATTENDING:
        there = np.array([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1], [1, 0, 1, 1, 0]], bool)
        net, params, x = sequence, TOKENS, np.asarray(draw(N, 5, 4))
        inputs, channel = {"there": there}, -1

    def alone(given: Any, x: jax.Array) -> jax.Array:
        own = {k: jnp.broadcast_to(v, (len(x), *v.shape[1:])) for k, v in given["own"].items()}
        return net(given, x, own)

    e = EVERY[name]
    got = je.attribute(e, je.Model(net, params, channel_axis=channel), x, Y, inputs=inputs)
    for i in range(N):
        own = {k: jnp.asarray(v[i : i + 1]) for k, v in inputs.items()}
        model = je.Model(alone, {**params, "own": own}, channel_axis=channel)
        one = je.attribute(e, model, x[i : i + 1], Y[i : i + 1], index=[i])
        np.testing.assert_allclose(got[i], one[0], rtol=1e-4, atol=1e-5)
    assert np.abs(got).max() > 1e-3
