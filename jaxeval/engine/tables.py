"""Data frames as inputs, and labels of classes as text, one-hot rows or numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..check import did_you_mean
from ..model import Model
from ..shown import count

SHOWN = 6
"""The most names that a message lists."""


def is_frame(v: Any) -> bool:
    """Whether v is a data frame: of pandas, or what has `to_pandas` (polars, PyArrow, cuDF)."""
    return hasattr(v, "columns") and (hasattr(v, "dtypes") or hasattr(v, "to_pandas"))


def read_frame(what: str, x: Any, names: tuple[str, ...] | None) -> tuple[Any, Any]:
    """(array [N, F] or x unchanged, names of its columns or None).

    Args:
      what: the argument's name in errors.
      names: the columns that are wanted; None: any.

    Raises:
      TypeError, ValueError: columns that are no numbers, or not those that are wanted.
    """
    if not is_frame(x):
        shape = np.shape(x) if hasattr(x, "shape") else ()
        if names is not None and len(shape) == 2 and shape[1] != len(names):
            raise ValueError(
                f"{what} has {count(shape[1], 'column')}, but the model has "
                f"{count(len(names), 'feature')}: "
                f"{listed(names)}"
            )
        return x, names if len(shape) == 2 else None
    if not hasattr(x, "dtypes") or not hasattr(x, "iloc"):
        x = x.to_pandas()
    columns = tuple(map(str, x.columns))
    if len(set(columns)) < len(columns):
        twice = sorted({c for c in columns if columns.count(c) > 1})
        raise ValueError(f"{what} has several columns of the name {listed(twice)}: rename them")
    check_columns(what, columns, names)
    other = [
        f"{c!r} ({dtype})"
        for c, dtype in zip(columns, x.dtypes, strict=True)
        if getattr(dtype, "kind", "O") not in "biuf"
    ]
    if other:
        raise TypeError(
            f"{what} has columns that are not numbers: {listed(other)}. Encode them as the model "
            "was trained, for example pandas.get_dummies(x, dtype=float) for categories, or "
            "x[column].cat.codes where the model takes their numbers, or leave them out"
        )
    return np.stack([np.asarray(x[c], np.float64) for c in x.columns], 1), columns


def check_columns(what: str, columns: Any, names: tuple[str, ...] | None) -> None:
    """Check that columns are those that the model was fitted on, in their order."""
    columns = tuple(map(str, columns))
    # LightGBM has underscores in place of spaces.
    if names is None or names in (columns, tuple(c.replace(" ", "_") for c in columns)):
        return
    if set(columns) == set(names):
        raise ValueError(
            f"the columns of {what} are in another order than the model's features: give "
            f"x[[{', '.join(map(repr, names[:2]))}, ...]], the order of model.feature_names"
        )
    missing = [n for n in names if n not in columns]
    extra = [c for c in columns if c not in names]
    parts = [f"lacks {listed(map(repr, missing))}"] if missing else []
    parts += [f"has {listed(map(repr, extra))}, which the model does not know"] if extra else []
    raise ValueError(
        f"{what} {' and '.join(parts)}: give the columns of model.feature_names, in their order"
    )


def listed(names: Any) -> str:
    """The first names, and how many there are more."""
    names = list(names)
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(map(str, names[:SHOWN])) + more


def read_labels(y: Any, model: Any) -> Any:
    """Labels y as class numbers [N]: one-hot rows, and the model's own labels, are translated.

    Args:
      model: its `classes`, if it has some, are the labels that y may hold.

    Raises:
      TypeError, ValueError: text without `Model.classes`, unknown labels, rows not one-hot.
    """
    if y is None:
        return None
    classes = model.classes if isinstance(model, Model) else None
    try:
        found = np.asarray(y)
    except ValueError:
        return y  # ragged: refused where arrays are read
    if found.ndim == 2 and found.shape[1] == 1:
        found = found[:, 0]
    if found.ndim == 2 and found.dtype.kind in "biuf" and len(found):
        return _one_hot(found)
    texts = found.dtype.kind in "UST" or (
        found.dtype.kind == "O" and all(isinstance(v, str) for v in found.ravel())
    )
    if classes is None:
        if texts and found.ndim == 1 and len(found):
            raise TypeError(
                f"y holds labels ({found[0]!r}, ...), but the model does not say which class has "
                "which label: give Model(classes=[...]), the labels in the order of its outputs "
                "(from_sklearn does), or y as numbers from 0 on in that order"
            )
        return y if found.ndim > 1 else found
    if found.ndim != 1:
        return y
    place = {label: i for i, label in enumerate(classes)}
    out = np.empty(len(found), np.int32)
    for i, label in enumerate(found.tolist()):
        number = place.get(
            int(label) if isinstance(label, float) and label == label // 1 else label
        )
        if number is None:
            near = did_you_mean(label, classes) if isinstance(label, str) else ""
            raise ValueError(
                f"y holds {label!r} for sample {i}, but the labels of the model's classes are "
                f"{listed(map(repr, classes))}{near}"
            )
        out[i] = number
    return out


def _one_hot(y: np.ndarray) -> np.ndarray:
    """The column of the 1 in each row."""
    good = np.isin(y, (0, 1)).all(1) & (y.astype(np.float64).sum(1) == 1)
    if not good.all():
        row = int((~good).argmax())
        raise ValueError(
            f"y has the shape {list(y.shape)}, but its rows are not one-hot: sample {row} has "
            f"{np.array2string(y[row][:SHOWN], threshold=SHOWN)}. Give one class for each sample, "
            "[N]: y.argmax(1) for probabilities; for labels that do not exclude each other, one "
            'call for each, with Model(outputs="values") and y the index of the label'
        )
    return y.argmax(1).astype(np.int32)


def check_width(y: Any, k: int) -> None:
    """Check that one-hot rows have as many columns as the model has classes."""
    shape = np.shape(y) if hasattr(y, "shape") or isinstance(y, (list, tuple)) else ()
    if len(shape) == 2 and shape[1] not in (1, k):
        raise ValueError(
            f"y is one-hot with {shape[1]} columns, but the model has {k} classes: give one class "
            "for each sample, [N]"
        )
