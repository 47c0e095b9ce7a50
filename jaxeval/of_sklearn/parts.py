"""The parts that converted estimators are made of: ``part(params, x) -> values``, in JAX."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
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

    `params` are trained by gradients, so metrics may randomise them; `state` is not.
    """

    name: str
    fn: Callable[[Any, Any], Any]
    params: dict[str, np.ndarray]
    state: dict[str, np.ndarray] = {}  # noqa: RUF012


class NotConvertible(Exception):
    """Why an estimator is not converted; it runs on the host."""


@dataclasses.dataclass(frozen=True)
class Chain:
    """``apply(params, x)`` of parts, each with its own parameters."""

    parts: tuple[tuple[str, Callable[[Any, Any], Any]], ...]

    def __call__(self, params: Any, x: Any) -> Any:
        for name, fn in self.parts:
            own = {**params["params"].get(name, {}), **params["state"].get(name, {})}
            x = fn(own, x)
        return x


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

    def __call__(self, p: Any, x: Any) -> Any:
        made = []
        for chain, (columns, states) in zip(self.chains, p["chains"], strict=True):
            v = x[:, columns]
            for fn, state in zip(chain, states, strict=True):
                v = fn(state, v)
            made.append(v)
        return jnp.concatenate(made, 1)


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


# -- steps of pipelines --------------------------------------------------------------------------


def affine(name: str, shift: Any, scale: Any, add: Any = 0.0, clip: Any = None) -> Part:
    low, high = (0.0, 0.0) if clip is None else clip
    values = {"shift": shift, "scale": scale, "add": add, "low": low, "high": high}
    return Part(name, Affine(clip is not None), {}, {k: f32(v) for k, v in values.items()})


def _standard(name: str, step: Any) -> Part:
    shift = 0.0 if step.mean_ is None else step.mean_
    return affine(name, shift, 1.0 if step.scale_ is None else 1 / step.scale_)


def _min_max(name: str, step: Any) -> Part:
    # (x - data_min) * scale + low, in the order that does not cancel in float32
    low = step.feature_range[0]
    return affine(name, step.data_min_, step.scale_, low, step.feature_range if step.clip else None)


def _max_abs(name: str, step: Any) -> Part:
    if getattr(step, "clip", False):
        raise NotConvertible(f"step {name!r} limits its result")
    return affine(name, 0.0, 1 / step.scale_)


def _robust(name: str, step: Any) -> Part:
    shift = 0.0 if step.center_ is None else step.center_
    return affine(name, shift, 1.0 if step.scale_ is None else 1 / step.scale_)


def _pca(name: str, step: Any) -> Part:
    kernel = np.asarray(step.components_, np.float64).T
    if step.whiten:
        kernel = kernel / np.sqrt(step.explained_variance_)
    part = dense(name, kernel, -np.asarray(step.mean_, np.float64) @ kernel)
    return part._replace(params={}, state=part.params)


def _selected(name: str, step: Any) -> Part:
    return Part(name, Columns(), {}, {"columns": step.get_support(indices=True).astype(np.int32)})


def _filled(name: str, step: Any) -> Part:
    value = np.asarray(step.statistics_)
    if step.add_indicator or value.dtype.kind not in "iuf" or np.isnan(value).any():
        raise NotConvertible(f"step {name!r} does more than to fill in numbers")
    if not (isinstance(step.missing_values, float) and np.isnan(step.missing_values)):
        raise NotConvertible(f"step {name!r} takes {step.missing_values!r} for a missing value")
    return Part(name, Filled(), {}, {"value": f32(value)})


def _beside(name: str, step: Any) -> Part:
    chains, states = [], []
    for own, made, _ in step.transformers_:
        indices = np.arange(step.n_features_in_)[step._transformer_to_input_indices[own]]
        if (isinstance(made, str) and made == "drop") or not len(indices):
            continue
        parts = [
            part
            for inner, each in getattr(made, "steps", [(own, made)])
            for part in preprocessing(inner, each)
        ]
        chains.append(tuple(part.fn for part in parts))
        states.append((indices.astype(np.int32), tuple(part.state for part in parts)))
    if not chains:
        raise NotConvertible(f"step {name!r} leaves no columns")
    return Part(name, Beside(tuple(chains)), {}, {"chains": tuple(states)})  # type: ignore[dict-item]


STEPS: dict[str, Callable[[str, Any], Part]] = {
    "StandardScaler": _standard,
    "MinMaxScaler": _min_max,
    "MaxAbsScaler": _max_abs,
    "RobustScaler": _robust,
    "PCA": _pca,
    "SimpleImputer": _filled,
    "ColumnTransformer": _beside,
    "SelectKBest": _selected,
    "SelectPercentile": _selected,
    "SelectFromModel": _selected,
    "VarianceThreshold": _selected,
    "RFE": _selected,
    "RFECV": _selected,
}
"""Steps of pipelines that are linear, or select columns."""


def preprocessing(name: str, step: Any) -> list[Part]:
    """A step of a pipeline before its last."""
    if step is None or (isinstance(step, str) and step == "passthrough"):
        return []
    kind = type(step).__name__
    if kind == "FunctionTransformer" and getattr(step, "func", None) is None:
        return []
    if kind not in STEPS:
        raise NotConvertible(f"its step {name!r} is a {kind}")
    return [STEPS[kind](name, step)]
