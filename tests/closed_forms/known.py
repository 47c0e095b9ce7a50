"""Models and explainers of which scores are known without computing them."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

import jaxeval as je
from tests.world import KEY, N, world

W = world()
F = W.x[0].size
SHAPE = W.x.shape


def linear(w: Any, x: Any) -> Any:
    return x.reshape(len(x), -1) @ w


def counting(params: Any, x: Any) -> Any:
    """Logit 0 counts the entries that are not 0."""
    n = (x != 0).reshape(len(x), -1).sum(1).astype(jnp.float32)
    return jnp.stack([n, jnp.zeros_like(n)], 1)


WEIGHTS = np.random.default_rng(3).normal(size=(F, 5)).astype(np.float32)
LINEAR = je.Model(linear, WEIGHTS)
LINEAR_24 = je.Model(linear, WEIGHTS[:24])
COUNTING = je.Model(counting, {})
ONES = np.ones(SHAPE, np.float32)
ZEROS = np.zeros(N, np.int32)
OF_Y = WEIGHTS[:, W.y].T.reshape(SHAPE)  # the weights of the explained class
ROBUST = {
    "max": je.MaxSensitivity(n_samples=4),
    "avg": je.AvgSensitivity(n_samples=4),
    "lipschitz": je.LocalLipschitz(n_samples=4),
    "ris": je.RIS(n_samples=4),
    "ros": je.ROS(n_samples=4),
    "average": je.AverageStability(n_samples=4, distance="l2"),
    "continuity": je.Continuity(n_steps=5),
}


def black() -> np.ndarray:
    return W.x.min((1, 2, 3), keepdims=True)


def score(metric: Any, model: Any, x: Any = W.x, y: Any = W.y, a: Any = None, **given: Any) -> Any:
    return je.score(metric, model, x, y, a, **({"key": KEY, "batch_size": 64} | given))


def fixed(model: Any, x: Any, y: Any, keys: Any) -> Any:
    """An explainer that looks at nothing."""
    pattern = jnp.sin(jnp.arange(x[0].size, dtype=x.dtype)).reshape(x[0].shape)
    return jnp.broadcast_to(pattern, x.shape)


def the_input(model: Any, x: Any, y: Any, keys: Any) -> Any:
    return x
