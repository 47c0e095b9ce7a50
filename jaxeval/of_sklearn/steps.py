"""Steps of pipelines before their last, as parts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .encoders import encoder
from .parts import Affine, Beside, Columns, Filled, NotConvertible, Part, dense, f32


def affine(name: str, shift: Any, scale: Any, add: Any = 0.0, clip: Any = None) -> Part:
    low, high = (0.0, 0.0) if clip is None else clip
    values = {"shift": shift, "scale": scale, "add": add, "low": low, "high": high}
    state = {k: f32(v) for k, v in values.items()}

    def draw(_: Any, x: np.ndarray) -> np.ndarray:
        return x / np.where(state["scale"] == 0, 1, state["scale"]) + state["shift"]

    return Part(name, Affine(clip is not None), {}, state, draw)


def _standard(name: str, step: Any) -> Part:
    shift = step.mean_ if step.with_mean else 0.0
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
    chains = []
    for own, made, _ in step.transformers_:
        indices = np.arange(step.n_features_in_)[step._transformer_to_input_indices[own]]
        if (isinstance(made, str) and made == "drop") or not len(indices):
            continue
        steps = getattr(made, "steps", [(own, made)])
        chains.append((indices, [p for inner, each in steps for p in preprocessing(inner, each)]))
    if not chains:
        raise NotConvertible(f"step {name!r} leaves no columns")
    return beside(name, chains)


def beside(name: str, chains: Sequence[tuple[np.ndarray, list[Part]]]) -> Part:
    """What chains of parts make of some columns, beside each other."""
    states = tuple((i.astype(np.int32), tuple(p.state for p in parts)) for i, parts in chains)

    def draw(rng: Any, x: np.ndarray) -> np.ndarray:
        for columns, parts in chains:
            x[:, columns] = drawn(parts, rng, x[:, columns])
        return x

    fns = tuple(tuple(p.fn for p in parts) for _, parts in chains)
    return Part(name, Beside(fns), {}, {"chains": states}, draw)


def drawn(parts: Sequence[Part], rng: Any, x: np.ndarray) -> np.ndarray:
    """Plausible inputs of these parts from rows of normal draws."""
    kept = (p for p in parts if not isinstance(p.fn, Filled))
    first = next(kept, None)
    return x if first is None or first.draw is None else first.draw(rng, x)


STEPS: dict[str, Callable[[str, Any], Part]] = {
    "StandardScaler": _standard,
    "MinMaxScaler": _min_max,
    "MaxAbsScaler": _max_abs,
    "RobustScaler": _robust,
    "PCA": _pca,
    "SimpleImputer": _filled,
    "ColumnTransformer": _beside,
    "OneHotEncoder": encoder,
    "OrdinalEncoder": encoder,
    "TargetEncoder": encoder,
    "SelectKBest": _selected,
    "SelectPercentile": _selected,
    "SelectFromModel": _selected,
    "VarianceThreshold": _selected,
    "RFE": _selected,
    "RFECV": _selected,
}
"""Steps of pipelines that are linear, select columns, or look up categories."""


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
