"""The digits networks and their trained weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from ..model import Model
from ..of_flax import from_flax

WEIGHTS = Path(__file__).with_name("digits_cnn.npz")
TRANSFORMER_WEIGHTS = Path(__file__).with_name("digits_transformer.npz")


class DigitsCNN(nn.Module):
    """Two convolutions of 3x3 without padding and two dense layers: x [N, 8, 8, 1] -> [N, 10]."""

    channels: tuple[int, int] = (8, 16)
    hidden: int = 64

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        for n in self.channels:
            x = nn.relu(nn.Conv(n, (3, 3), padding="VALID")(x))
        x = x.reshape(len(x), -1)
        x = nn.relu(nn.Dense(self.hidden)(x))
        return nn.Dense(10)(x)


class DigitsTransformer(nn.Module):
    """A vision transformer of 16 patches and a class token: x [N, 8, 8, 1] -> [N, 10]."""

    patch: int = 2
    width: int = 24
    heads: int = 3
    layers: int = 2

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        size = (self.patch, self.patch)
        x = nn.Conv(self.width, size, size)(x).reshape(len(x), -1, self.width)
        token = self.param("token", nn.initializers.zeros, (1, 1, self.width))
        x = jnp.concatenate([jnp.broadcast_to(token, (len(x), 1, self.width)), x], 1)
        x = x + self.param("place", nn.initializers.normal(0.1), (1, *x.shape[1:]))
        for _ in range(self.layers):
            x = x + nn.MultiHeadDotProductAttention(self.heads)(nn.LayerNorm()(x))
            x = x + nn.Dense(self.width)(nn.gelu(nn.Dense(2 * self.width)(nn.LayerNorm()(x))))
        return nn.Dense(10)(nn.LayerNorm()(x)[:, 0])


def load(path: str | Path = WEIGHTS, network: nn.Module | None = None) -> Model:
    """A network (default: `DigitsCNN`) with the weights in a file written by `save`."""
    with np.load(path) as file:
        flat = {name: jnp.asarray(file[name]) for name in file.files}
    params = unflatten_dict(flat, sep="/")
    return from_flax(network or DigitsCNN(), {"params": params}, channel_axis=-1)


def save(params: Any, path: str | Path = WEIGHTS) -> None:
    """Write nested dicts of arrays."""
    flat: dict[str, Any] = {k: np.asarray(v) for k, v in flatten_dict(params, sep="/").items()}
    with open(path, "wb") as file:
        np.savez_compressed(file, **flat)
