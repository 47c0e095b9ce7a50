"""Checks of the parts of `Results`, and their conversion to values that JSON can hold."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..types import Outcome


def ids(index: Any) -> np.ndarray:
    """Ids of samples [N], as integers or text."""
    index = np.asarray(index)
    if index.ndim != 1:
        raise ValueError(f"index must have the shape [N], got {index.shape}")
    if index.dtype.kind in "iu":
        return index
    if index.dtype.kind == "O" and all(isinstance(i, (int, np.integer)) for i in index):
        return index.astype(np.int64)
    return np.array([str(i) for i in index.tolist()], dtype=np.str_)


def checked(outcome: Outcome, n: int, name: str) -> Outcome:
    """The outcome as float32 or float64 NumPy arrays, checked to fit n samples."""

    def real(value: Any) -> np.ndarray:
        value = np.asarray(value)
        return value if value.dtype == np.float64 else value.astype(np.float32, copy=False)

    score = real(outcome.score)
    if score.ndim != 1 or len(score) > n:
        raise ValueError(f"{name}.score must have a shape [n] with n <= {n}, got {score.shape}")
    curve = None if outcome.curve is None else real(outcome.curve)
    if curve is not None and (curve.ndim != 2 or len(curve) != len(score)):
        raise ValueError(
            f"{name}.curve must have a shape [{len(score)}, S] like its score, got {curve.shape}"
        )
    std = None if outcome.curve_std is None else real(outcome.curve_std)
    if std is not None and (curve is None or std.shape != curve.shape):
        raise ValueError(
            f"{name}.curve_std must have the shape of its curve, got {std.shape} for "
            f"{None if curve is None else curve.shape}"
        )
    return Outcome(score=score, curve=curve, curve_std=std)


def plain(value: Any) -> Any:
    """The value converted to JSON types, so that saving and loading returns it unchanged."""
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if isinstance(value, (set, frozenset)):
        return sorted(map(str, value))
    if isinstance(value, np.generic) or (hasattr(value, "tolist") and hasattr(value, "dtype")):
        return plain(value.tolist())
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    if hasattr(value, "__qualname__"):  # str(function) contains its memory address
        return f"{value.__module__}.{value.__qualname__}"  # pyright: ignore
    return str(value)


def count(n: int, noun: str) -> str:
    """A number with its noun in singular or plural.

    >>> count(1, "sample"), count(1200, "sample")
    ('1 sample', '1,200 samples')
    """
    return f"{n:,} {noun}{'' if n == 1 else 's'}"
