"""One sample in float64, and the small network that it is shown to."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

Answer = float | tuple[float, Any]
"""What a reference gives of one sample: a score, or (score, curve)."""


def softplus(h: np.ndarray) -> np.ndarray:
    return np.logaddexp(0, h)


def sigmoid(h: np.ndarray) -> np.ndarray:
    return np.exp(-np.logaddexp(0, -h))


@dataclasses.dataclass(frozen=True)
class Net:
    """logits = softplus(x W + b) V + c, with its gradient in closed form."""

    params: dict[str, dict[str, np.ndarray]]

    def _hidden(self, x: np.ndarray) -> np.ndarray:
        layer = self.params["hidden"]
        return x.reshape(-1) @ layer["w"] + layer["b"]

    def hidden(self, x: np.ndarray) -> np.ndarray:
        """The activations of the hidden layer."""
        return softplus(self._hidden(x))

    def logits(self, x: np.ndarray) -> np.ndarray:
        layer = self.params["out"]
        return softplus(self._hidden(x)) @ layer["w"] + layer["b"]

    def gradient(self, x: np.ndarray, y: int) -> np.ndarray:
        """The gradient of logit y."""
        through = sigmoid(self._hidden(x)) * self.params["out"]["w"][:, y]
        return (self.params["hidden"]["w"] @ through).reshape(x.shape)


@dataclasses.dataclass(frozen=True)
class Sample:
    """What a metric is given of one sample; `a` as the caller gives it, not yet prepared."""

    x: np.ndarray
    y: int
    a: np.ndarray
    net: Net
    channel_axis: int | None
    reduce: Callable[[np.ndarray], np.ndarray]
    """An entry map in the shape of `a`: what the explainer does with its gradient."""
    mask: np.ndarray | None = None
    draws: Any = None
    queries: np.ndarray | None = None
    """Inputs [S, ...] that the library asked about, where it takes no draws."""
    output: Any = "probability"

    def explain(self, x: np.ndarray, y: int | None = None, net: Net | None = None) -> np.ndarray:
        return self.reduce((net or self.net).gradient(x, self.y if y is None else y))

    def spread(self, v: np.ndarray) -> np.ndarray:
        """v [features] with an axis for the channels where the features are pixels."""
        v = np.reshape(v, self.a.shape)
        if v.ndim < self.x.ndim:
            v = np.expand_dims(v, self.channel_axis)
        return np.broadcast_to(v, self.x.shape)

    def without(self, features: Any, b: Any) -> np.ndarray:
        """x with the features (flat indices) at b."""
        gone = np.zeros(self.a.size, bool)
        gone[np.asarray(features, int)] = True
        return np.where(self.spread(gone), b, self.x)

    def spatial(self) -> tuple[int, ...]:
        return tuple(n for i, n in enumerate(self.x.shape) if i != self.channel_axis)

    def over_space(self, where: np.ndarray) -> np.ndarray:
        """where [space], for every channel."""
        if self.channel_axis is None:
            return where
        return np.broadcast_to(np.expand_dims(where, self.channel_axis), self.x.shape)

    def features_with_channels(self) -> bool:
        return self.a.ndim == self.x.ndim
