"""Small models that answer with logits, probabilities, one binary logit, or plain values."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxeval as je

RNG = np.random.default_rng(4)
X = RNG.normal(size=(7, 6)).astype(np.float32)
W = RNG.normal(size=(6, 3)).astype(np.float32)
V = RNG.normal(size=(6, 1)).astype(np.float32)
Y = np.arange(7) % 3
KEYS = jax.random.key(0)


def logits(w: Any, x: Any) -> Any:
    return 2 * jnp.tanh(x @ w)


def probabilities(w: Any, x: Any) -> Any:
    return jax.nn.softmax(logits(w, x))


def model(apply: Any = logits, w: Any = W, **given: Any) -> je.Model:
    return je.Model(apply, w, channel_axis=None, **given)


def evaluate(model: Any, metrics: Any, explainers: Any = None, y: Any = Y, **given: Any) -> Any:
    explainers = explainers or {"a": X}
    return je.evaluate(
        model, X, y, explainers=explainers, metrics=metrics, progress=False, batch_size=5, **given
    )


FLIP = {"flip": je.PixelFlipping(n_steps=3, baseline=0.0)}
