"""The digits network and its trained weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from ..model import Model
from ..of_flax import from_flax

WEIGHTS = Path(__file__).with_name("digits_cnn.npz")


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


def load(path: str | Path = WEIGHTS) -> Model:
    """`DigitsCNN` with the weights in a file written by `save`."""
    params: dict[str, Any] = {}
    with np.load(path) as file:
        for name in file.files:
            layer, parameter = name.split("/")
            params.setdefault(layer, {})[parameter] = jnp.asarray(file[name])
    return from_flax(DigitsCNN(), {"params": params}, channel_axis=-1)


def save(params: Any, path: str | Path = WEIGHTS) -> None:
    """Write {layer: {parameter: array}}."""
    flat: dict[str, Any] = {
        f"{layer}/{p}": np.asarray(v) for layer, ps in params.items() for p, v in ps.items()
    }
    with open(path, "wb") as file:
        np.savez_compressed(file, **flat)
