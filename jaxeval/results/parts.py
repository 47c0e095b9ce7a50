"""Checks of the parts of `Results`, and their conversion to values that JSON can hold."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..types import Outcome

HEAVY = "heavy tails"
STATUS = ("ok", "budget", HEAVY, "not asked")
"""Texts of `Outcome.status`."""
SURE = {"error": None, "effective": None, "heavy_tails": bool, "asked": np.int64, "status": np.int8}
"""Parts of an outcome that say how sure it is, with their dtypes; None: as the score."""


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
    parts = {}
    for part, dtype in SURE.items():
        value = getattr(outcome, part)
        if value is not None:
            value = real(value) if dtype is None else np.asarray(value, dtype)
            if value.shape != score.shape:
                raise ValueError(
                    f"{name}.{part} must have the shape of its score, got {value.shape} for "
                    f"{score.shape}"
                )
        parts[part] = value
    return Outcome(score=score, curve=curve, curve_std=std, **parts)


def status(outcome: Outcome) -> np.ndarray:
    """Text [n]: "ok", "undefined", "heavy tails" where `Outcome.heavy_tails`, or `Outcome.status`.

    To a tolerance, "budget" and "heavy tails" are said of scores that did not meet it.
    """
    code = outcome.status
    if code is None:
        heavy = np.zeros(len(outcome.score), bool)
        heavy = heavy if outcome.heavy_tails is None else outcome.heavy_tails
        code = np.where(heavy, STATUS.index(HEAVY), 0)
    undefined = np.isnan(outcome.score) & (code != STATUS.index("not asked"))
    return np.where(undefined, "undefined", np.array(STATUS)[code])


def codes(text: Sequence[str]) -> np.ndarray:
    """`Outcome.status` [n] from its texts."""
    return np.array([STATUS.index(v) if v in STATUS else 0 for v in text], np.int8)


def sure_columns(outcomes: Sequence[Outcome]) -> dict[str, np.ndarray]:
    """Columns of scores that say how sure they are: error, effective, asked, status."""
    found = {
        part: np.concatenate([np.zeros(0), *(numbers(o, part) for o in outcomes)])
        for part in ("error", "effective", "asked")
    }
    return {**found, "status": np.array([text for o in outcomes for text in status(o)], object)}


def taken(outcome: Outcome) -> tuple[float, float]:
    """(evaluations of a sample on average, share of samples whose tolerance is met), or NaN."""
    if outcome.status is None or not len(outcome.score):
        return np.nan, np.nan
    asked = outcome.status != STATUS.index("not asked")
    met = outcome.status[asked] == 0
    return float(numbers(outcome, "asked").mean()), float(met.mean()) if len(met) else np.nan


def numbers(outcome: Outcome, part: str) -> np.ndarray:
    """`error`, `effective` or `asked` [n] of an outcome in float64, NaN if it has none."""
    value = getattr(outcome, part)
    return np.full(len(outcome.score), np.nan) if value is None else value.astype(np.float64)


def error_of_mean(outcome: Outcome) -> float:
    """The error of the mean over the defined samples.

    Errors of draws are independent between samples: sqrt(sum error^2) / n. Errors of curves have a
    sign in common, so their mean is given. NaN if there is none.
    """
    error = numbers(outcome, "error")
    error = error[~np.isnan(outcome.score)]
    if not len(error):
        return np.nan
    drawn = outcome.effective is not None
    return float(np.sqrt((error**2).sum()) / len(error) if drawn else error.mean())


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
