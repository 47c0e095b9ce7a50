"""What attributions must sum to, for any weights, inputs and baselines."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from jaxeval import explain
from jaxeval.model import Model

from .helpers import jitted, keys

FEATURES, WIDTH, CLASSES = 5, 7, 3
LAYER = {"layer": "first", "n_steps": 40}


def smooth(p, x):
    """Two layers with a gate between them, of smooth functions."""
    h = jax.nn.softplus(x @ p["first"]["w"] + p["first"]["b"])
    h = h * jax.nn.sigmoid(h @ p["gate"]["w"])
    return jnp.tanh(h) @ p["last"]["w"]


def kinked(p, x):
    """The same with rectifiers and a maximum."""
    h = jax.nn.relu(x @ p["first"]["w"] + p["first"]["b"])
    h = h * jax.nn.relu(h @ p["gate"]["w"])
    return jnp.maximum(h, jnp.roll(h, 1, axis=1)) @ p["last"]["w"]


def weights(seed):
    rng = np.random.default_rng(seed)
    shapes = {"first": (FEATURES, WIDTH), "gate": (WIDTH, WIDTH), "last": (WIDTH, CLASSES)}
    p = {n: {"w": rng.normal(size=s) / np.sqrt(s[0])} for n, s in shapes.items()}
    p["first"]["b"] = rng.normal(size=WIDTH) / 2
    return jax.tree.map(lambda v: jnp.asarray(v, jnp.float32), p)


# From the baselines [2, F]: the explainer, and how many of them it starts from.
METHODS = {
    "IntegratedGradients": lambda b: explain.IntegratedGradients(n_steps=40, baseline=b[0]),
    "LayerIntegratedGradients": lambda b: explain.LayerIntegratedGradients(baseline=b[0], **LAYER),
    "LayerConductance": lambda b: explain.LayerConductance(baseline=b[0], **LAYER),
    "DeepLift": lambda b: explain.DeepLift(baseline=b[0]),
    "DeepLiftShap": lambda b: explain.DeepLiftShap(background=b),
    "KernelShap": lambda b: explain.KernelShap(n_samples=20, baseline=b[0]),
    "ShapleyValueSampling": lambda b: explain.ShapleyValueSampling(n_samples=2, baseline=b[0]),
}
ANY = ("DeepLift", "DeepLiftShap", "KernelShap", "ShapleyValueSampling")
"""Those that owe completeness to no integral: of networks with kinks, too."""

vectors = arrays.arrays(np.float32, FEATURES, elements=st.floats(-2, 2, width=16))


@pytest.mark.parametrize(
    ("name", "apply"),
    [*((name, smooth) for name in METHODS), *((name, kinked) for name in ANY)],
    ids=lambda v: getattr(v, "__name__", v),
)
@settings(max_examples=25)
@given(
    seed=st.integers(0, 2**16), x=vectors, b=vectors, other=vectors, y=st.integers(0, CLASSES - 1)
)
@example(seed=0, x=np.ones(5, "f4"), b=np.ones(5, "f4"), other=np.zeros(5, "f4"), y=0)
def test_attributions_sum_to_the_change_of_the_score(name, apply, seed, x, b, other, y):
    model = Model(apply, weights(seed), channel_axis=None)
    background = np.stack([b, other])
    e = METHODS[name](background)
    a = np.asarray(jitted(e, model, x[None], np.array([y], np.int32), keys(1)))
    starts = background if name == "DeepLiftShap" else background[:1]
    z, z0 = (np.asarray(model(jnp.asarray(v)))[:, y] for v in (x[None], starts))
    scale = 1 + np.abs(np.concatenate([z, z0])).max()
    np.testing.assert_allclose(a.sum(), z[0] - z0.mean(), atol=5e-4 * scale)
