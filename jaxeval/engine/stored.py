"""Given attributions: arrays, one array per class, and SHAP values of all shapes."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..shown import count
from .data import Data, read_rows
from .tables import check_columns, is_frame, listed

RTOL = 1e-3
"""How far the inputs of an Explanation may be from x, which is in float32."""


def is_stored(given: Any) -> bool:
    """Whether an explainer is given by its attributions."""
    if hasattr(given, "shape") or is_frame(given) or is_explanation(given):
        return True
    return (
        isinstance(given, (list, tuple)) and bool(given) and all(hasattr(v, "shape") for v in given)
    )


def is_explanation(given: Any) -> bool:
    """Whether it is a `shap.Explanation`."""
    return type(given).__module__.partition(".")[0] == "shap" and hasattr(given, "values")


def read_maps(
    what: str, given: Any, data: Data, wanted: list[tuple[int, ...]], k: int | None, kind: str
) -> np.ndarray:
    """The attributions [N, features] of the explained classes.

    Args:
      given: an array [N, ...] in the shape of x, with or without its channel axis; with a further
        last axis, one map per class, [N, ..., K]; a list of K arrays [N, ...]; a data frame; or a
        `shap.Explanation` of these samples.
      wanted: the shapes that a map can have.
      k: the number of the model's outputs; None if unknown.
      kind: the kind of the model's outputs.

    Raises:
      ValueError, TypeError: other shapes, samples or columns, or unknown classes.
    """
    n = len(data.x)
    names = None
    if is_explanation(given):
        names = getattr(given, "feature_names", None)
        _same_samples(what, getattr(given, "data", None), data.x)
        values = np.asarray(given.values)
        if kind == "binary" and values.shape[1:] in wanted and _has_zero(data.y):
            raise ValueError(
                f"{what} are those of one output, the logit of class 1, but y also explains class "
                "0: give an array, np.where(y == 1, v, -v) of the values v [N, F] for maps of "
                "each sample's own class, or y = 1 for all"
            )
        given = values
    elif is_frame(given):
        names, given = list(given.columns), np.asarray(given)
    elif isinstance(given, (list, tuple)):
        given = _stacked(what, given, n, data.x.ndim)
    if names is not None and data.names is not None and len(names) == len(data.names):
        check_columns(what, names, data.names)
    maps = read_rows(what, given, n)
    if maps.shape[1:] in wanted or maps.ndim < 3 or maps.shape[1:-1] not in wanted:
        return maps
    return _of_classes(what, maps, data.y, k, kind)


def _stacked(what: str, given: Any, n: int, ndim: int) -> np.ndarray:
    """A list of K arrays [N, ...] as [N, ..., K]; a list of N maps as [N, ...]."""
    arrays = [np.asarray(v) for v in given]
    shapes = sorted({v.shape for v in arrays})
    if len(shapes) > 1:
        raise ValueError(
            f"{what} are a list of arrays of different shapes, {listed(map(list, shapes))}: give "
            "one array [N, ...], or a list with one array [N, ...] for each class"
        )
    if len(arrays) == n and arrays[0].ndim < ndim and shapes[0][:1] != (n,):
        return np.stack(arrays)
    if shapes[0][:1] != (n,):
        raise ValueError(
            f"{what} are a list of {count(len(arrays), 'array')} {list(shapes[0])}: wanted one "
            f"array for each class, with one row for each of the {n} samples"
        )
    return np.stack(arrays, -1)


def _of_classes(
    what: str, maps: np.ndarray, y: np.ndarray | None, k: int | None, kind: str
) -> np.ndarray:
    """The map of each sample's class, from maps [N, ..., K]."""
    shape, last = list(maps.shape), maps.shape[-1]
    if maps.ndim == 3 and last == maps.shape[1] and np.allclose(maps, maps.swapaxes(1, 2)):
        raise ValueError(
            f"{what} have the shape {shape} and are symmetric, as SHAP interaction values are: "
            "give their sum over the last axis, which are SHAP values [N, F]"
        )
    if last == 1:
        return maps[..., 0]
    if k is not None and last != k:
        raise ValueError(
            f"{what} have the shape {shape}, which would be maps of {last} classes, but the model "
            f"has {k}: give [N, ...] in the shape of x, or one map per class, [N, ..., {k}]"
        )
    if y is None:
        raise ValueError(
            f"{what} have the shape {shape}, one map per class: give y=, the classes to explain, "
            "such as those that the model predicts, np.asarray(model(x)).argmax(1)"
        )
    if y.max() >= last:
        raise ValueError(f"{what} have maps of {last} classes, but y holds the class {y.max()}")
    at = y.reshape(-1, *[1] * (maps.ndim - 1)).astype(np.int64)
    return np.take_along_axis(maps, at, -1)[..., 0]


def _same_samples(what: str, own: Any, x: np.ndarray) -> None:
    """Check that an explanation is of these samples, if it says of which it is."""
    try:
        own = np.asarray(own, np.float64)
    except (TypeError, ValueError):
        return
    if own.shape != x.shape:
        return
    scale = np.abs(x).max(0) + np.finfo(np.float32).tiny
    far = (np.abs(own - x) > RTOL * scale).reshape(len(x), -1).any(1)
    if far.any():
        raise ValueError(
            f"{what} are of other samples: the Explanation's data differs from x in "
            f"{int(far.sum())} of {len(x)} rows, the first of them row {int(far.argmax())}"
        )


def _has_zero(y: np.ndarray | None) -> bool:
    return y is None or bool((y == 0).any())
