"""The parts that converted estimators are made of: ``part(params, x) -> values``, in JAX."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

ACTIVATIONS: dict[str, Callable[[Any], Any]] = {
    "identity": lambda x: x,
    "logistic": jax.nn.sigmoid,
    "relu": jax.nn.relu,
    "tanh": jnp.tanh,
}
"""scikit-learn's names of activations."""


class Part(NamedTuple):
    """A step of a converted estimator.

    `params` are trained by gradients, so metrics may randomise them; `state` is not. If
    `fn.strict`, there are rows that the estimator refuses, and `fn.refuses` says which.

    `draw` makes plausible inputs of the part from rows of normal draws, in their shape.
    """

    name: str
    fn: Callable[[Any, Any], Any]
    params: dict[str, np.ndarray]
    state: dict[str, Any] = {}  # noqa: RUF012
    draw: Callable[[Any, np.ndarray], np.ndarray] | None = None


class NotConvertible(Exception):
    """Why an estimator is not converted; it runs on the host."""


@dataclasses.dataclass(frozen=True)
class Chain:
    """``apply(params, x)`` of parts, each with its own parameters; NaN where one refuses."""

    parts: tuple[tuple[str, Callable[[Any, Any], Any]], ...]

    @property
    def strict(self) -> bool:
        """Whether there are rows that a part refuses."""
        return any(getattr(fn, "strict", False) for _, fn in self.parts)

    def __call__(self, params: Any, x: Any) -> Any:
        own = [{**params["params"].get(n, {}), **params["state"].get(n, {})} for n, _ in self.parts]
        x, refused = _in_turn([fn for _, fn in self.parts], own, x)
        return x if refused is None else jnp.where(refused[:, None], jnp.nan, x)


def _in_turn(fns: Sequence[Any], own: Sequence[Any], x: Any) -> tuple[Any, Any]:
    """(outputs of the last function, which rows one of them refuses [N], or None if none can)."""
    refused = None
    for fn, p in zip(fns, own, strict=True):
        if getattr(fn, "strict", False):
            now = fn.refuses(p, x)
            refused = now if refused is None else refused | now
        x = fn(p, x)
    return x, refused


@dataclasses.dataclass(frozen=True)
class Dense:
    """``activation(x @ kernel + bias)``."""

    activation: str = "identity"

    def __call__(self, p: Any, x: Any) -> Any:
        return ACTIVATIONS[self.activation](x @ p["kernel"] + p["bias"])


@dataclasses.dataclass(frozen=True)
class Affine:
    """``(x - shift) * scale``, limited to [low, high] if given: what scalers do."""

    clipped: bool = False

    def __call__(self, p: Any, x: Any) -> Any:
        x = (x - p["shift"]) * p["scale"] + p["add"]
        return jnp.clip(x, p["low"], p["high"]) if self.clipped else x


@dataclasses.dataclass(frozen=True)
class Columns:
    """Some columns of x."""

    def __call__(self, p: Any, x: Any) -> Any:
        return x[:, p["columns"]]


@dataclasses.dataclass(frozen=True)
class Filled:
    """x with a value of its column in place of each missing one."""

    def __call__(self, p: Any, x: Any) -> Any:
        return jnp.where(jnp.isnan(x), p["value"], x)


@dataclasses.dataclass(frozen=True)
class Beside:
    """What several chains make of some columns of x, beside each other."""

    chains: tuple[tuple[Callable[[Any, Any], Any], ...], ...]

    @property
    def strict(self) -> bool:
        return any(getattr(fn, "strict", False) for chain in self.chains for fn in chain)

    def __call__(self, p: Any, x: Any) -> Any:
        return jnp.concatenate([made for made, _ in self._made(p, x)], 1)

    def refuses(self, p: Any, x: Any) -> Any:
        """Which rows one of the chains does not take."""
        found = [refused for _, refused in self._made(p, x) if refused is not None]
        return functools.reduce(jnp.logical_or, found)

    def _made(self, p: Any, x: Any) -> list[tuple[Any, Any]]:
        return [
            _in_turn(chain, states, x[:, columns])
            for chain, (columns, states) in zip(self.chains, p["chains"], strict=True)
        ]


@dataclasses.dataclass(frozen=True)
class OneVersusRest:
    """Probabilities of classes whose decision values are each a logit against the rest."""

    def __call__(self, p: Any, x: Any) -> Any:
        # In logarithms, as all sigmoids of a row may underflow.
        return jax.nn.softmax(jax.nn.log_sigmoid(x), -1)


@dataclasses.dataclass(frozen=True)
class Link:
    """The function that turns a raw prediction into the one that is returned."""

    name: str

    def __call__(self, p: Any, x: Any) -> Any:
        return {"exp": jnp.exp, "sigmoid": jax.nn.sigmoid}[self.name](x)


def dense(name: str, kernel: Any, bias: Any, activation: str = "identity") -> Part:
    """A dense layer, kernel [F, K], bias [K]."""
    params = {"kernel": f32(kernel), "bias": f32(bias)}
    return Part(name, Dense(activation), params)


def f32(v: Any) -> np.ndarray:
    return np.asarray(v, np.float32)


def linear(estimator: Any) -> list[Part]:
    """A linear model's decision values or predictions."""
    coef = estimator.coef_
    coef = coef.toarray() if hasattr(coef, "toarray") else np.asarray(coef)
    kernel = np.atleast_2d(coef).T
    bias = np.broadcast_to(np.ravel(estimator.intercept_), kernel.shape[1:])
    return [dense("linear", kernel, bias)]


def mlp(estimator: Any) -> list[Part]:
    """A multi-layer perceptron, up to its last activation where that is a softmax or sigmoid."""
    last = len(estimator.coefs_) - 1
    return [
        dense(f"dense_{i}", kernel, bias, "identity" if i == last else estimator.activation)
        for i, (kernel, bias) in enumerate(
            zip(estimator.coefs_, estimator.intercepts_, strict=True)
        )
    ]
