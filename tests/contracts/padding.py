"""Samples that are filled up, and a model and explainers that tell what padding is.

The model reads off x what padding is (tokens of zeros) and takes inputs of any length, and the
explainers have something to say of padding, which must not count.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxeval as je
from jaxeval.metric import asks_of

T, E, K, HIDDEN = 12, 3, 4, 8
LENGTHS = np.array([12, 8, 5, 8, 12, 5])
N = len(LENGTHS)
BATCH = 4


def real_tokens(x: Any) -> Any:
    return (x != 0).any(-1)


def apply(params: Any, x: Any) -> Any:
    """A network of the mean of what it makes of each token that is not padding."""
    h = jax.nn.softplus(x @ params["hidden"]["w"] + params["hidden"]["b"])
    real = real_tokens(x)[..., None]
    mean = jnp.where(real, h, 0).sum(1) / jnp.maximum(real.sum(1), 1)
    return jnp.tanh(mean) @ params["out"]["w"] + params["out"]["b"]


def entries(model: je.Model, x: Any, y: Any, keys: Any) -> Any:
    def total(v: Any) -> Any:
        return jnp.take_along_axis(model(v), y[:, None], 1).sum()

    return jnp.where(real_tokens(x)[..., None], jax.grad(total)(x), 5.0)


def tokens(model: je.Model, x: Any, y: Any, keys: Any) -> Any:
    return jnp.where(real_tokens(x), entries(model, x, y, keys).sum(-1), -7.0)


EXPLAINERS = {"tokens": tokens, "entries": entries}


@functools.cache
def model() -> je.Model:
    rng = np.random.default_rng(2)

    def draw(*size: int) -> np.ndarray:
        return rng.normal(size=size).astype(np.float32)

    params = {
        "hidden": {"w": 2 * draw(E, HIDDEN), "b": draw(HIDDEN)},
        "out": {"w": 2 * draw(HIDDEN, K), "b": draw(K)},
    }
    return je.Model(apply, params, channel_axis=-1)


@dataclasses.dataclass(frozen=True)
class Data:
    x: np.ndarray
    y: np.ndarray
    a: np.ndarray
    mask: np.ndarray
    padding: np.ndarray


@functools.cache
def data(kind: str = "tokens", left: bool = False) -> Data:
    """Samples filled up at the end, or at the beginning, with maps that say something there."""
    rng = np.random.default_rng(4)
    x = rng.uniform(0.2, 1, (N, T, E)).astype(np.float32)
    y = rng.integers(0, K, N).astype(np.int32)
    a = rng.choice([-1, -0.5, -0.25, 0, 0.25, 0.5, 1, 2, 3.0], (N, T, E)).astype(np.float32)
    a[:, :3] = [[1.5], [-2.5], [0.125]]
    a = a if kind == "entries" else a[..., 0]
    mask = rng.uniform(size=a.shape) < 0.4
    mask[:, 1] = True
    padding = np.arange(T) >= LENGTHS[:, None]
    x[padding], a[padding], mask[padding] = 0, 9, True
    if left:
        x, a, mask, padding = (v[:, ::-1].copy() for v in (x, a, mask, padding))
    return Data(x, y, a, mask, padding)


def takes_padding(m: Any) -> bool:
    return all(what.takes_padding for what in (m, *asks_of(m)))


def cut(d: Data, length: int, left: bool = False) -> Data:
    rows, own = length == LENGTHS, slice(T - length, None) if left else slice(length)
    x, a, mask, padding = (v[rows, own] for v in (d.x, d.a, d.mask, d.padding))
    assert not padding.any()
    return Data(x, d.y[rows], a, mask, padding)
