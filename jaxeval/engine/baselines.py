"""Baselines from background samples, and warnings for baselines unsuitable for tables."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from .. import check
from ..metric import Metric, asks_of
from ..ops import BACKGROUND_BASELINES, BASELINES, Background

FIELDS = ("baseline", "background")
"""Fields of metrics, perturbations and explainers that take background samples."""

MIXED = tuple(b for b in BASELINES if b not in ("zero", *BACKGROUND_BASELINES))
"""Baselines computed from the row's own entries, or drawn from one range for all columns."""


def read_background(background: Any, x: np.ndarray) -> np.ndarray | None:
    """The background samples [B, ...], checked to match x [N, ...]."""
    if background is None:
        return None
    try:
        rows = np.asarray(background)
    except Exception as e:
        raise TypeError(f"background must be an array of samples ({e})") from e
    if rows.ndim != x.ndim or rows.shape[1:] != x.shape[1:] or not len(rows):
        raise ValueError(
            f"background must be at least one sample like those of x, [B, "
            f"{', '.join(map(str, x.shape[1:]))}], got shape {list(rows.shape)}"
        )
    if rows.dtype.kind not in "biufV":
        raise TypeError(f"background must be a numeric array, got dtype {rows.dtype}")
    rows = rows.astype(x.dtype)
    if not np.isfinite(rows.astype(np.float64, copy=False)).all():
        raise ValueError("background holds NaN or infinite values: leave those samples out")
    return rows


def with_background(
    metrics: Mapping[str, Metric], explainers: Mapping[str, Any], rows: np.ndarray | None
) -> tuple[dict[str, Metric], dict[str, Any]]:
    """Metrics and explainers with "background" and "background mean" replaced by arrays.

    Raises:
      ValueError: one of them uses such a name, but no background is given.
    """
    stands_for: dict[tuple[str, str], Any] = {}
    if rows is not None:
        mean = jnp.asarray(rows.mean(0, dtype=np.float64).astype(rows.dtype))
        samples = jnp.asarray(rows)  # one shared copy on the device
        stands_for = {
            ("baseline", "background"): Background(samples),
            ("baseline", "background mean"): mean,
            ("background", "background"): samples,
            ("background", "background mean"): mean[None],
        }
    used = False

    def setting(key: Any, value: Any, name: str) -> Any:
        """A setting passed on to another library, which does not use our keys."""
        nonlocal used
        if key != "baselines" or not isinstance(value, str) or value not in BACKGROUND_BASELINES:
            return replaced(value, name)
        if value == "background" or rows is None:
            raise ValueError(
                f"{name}: baselines={value!r} "
                + (
                    "needs samples: give background=, an array [B, ...] of them"
                    if rows is None
                    else "cannot be drawn there: give the samples themselves where the method "
                    'takes several, or "background mean"'
                )
            )
        used = True
        return np.asarray(stands_for["baseline", value])

    def replaced(value: Any, name: str) -> Any:
        nonlocal used
        if isinstance(value, (list, tuple)) and type(value) in (list, tuple):
            return _same(value, type(value)(replaced(v, name) for v in value))
        if isinstance(value, dict):
            new = {k: setting(k, v, name) for k, v in value.items()}
            return value if all(new[k] is v for k, v in value.items()) else new
        if not dataclasses.is_dataclass(value) or isinstance(value, type):
            return value
        changed = {}
        for field, given in fields_of(value):
            if field in FIELDS and isinstance(given, str) and given in BACKGROUND_BASELINES:
                if rows is None:
                    raise ValueError(
                        f"{name}: {type(value).__name__}({field}={given!r}) needs samples: give "
                        "background=, an array [B, ...] of them, such as training data"
                    )
                used, changed[field] = True, stands_for[field, given]
            elif (new := replaced(given, name)) is not given:
                changed[field] = new
        return dataclasses.replace(value, **changed) if changed else value

    metrics = {m: replaced(metric, f"metric {m!r}") for m, metric in metrics.items()}
    explainers = {e: replaced(v, f"explainer {e!r}") for e, v in explainers.items()}
    if rows is not None and not used:
        check.warn(
            "background= is given, but no metric and no explainer uses it: give them "
            'baseline="background" or baseline="background mean"'
        )
    return metrics, explainers


def _same(old: Any, new: Any) -> Any:
    return old if all(a is b for a, b in zip(old, new, strict=True)) else new


def fields_of(value: Any) -> Iterator[tuple[str, Any]]:
    """(name, value) of the fields of a dataclass that can be given."""
    for f in dataclasses.fields(value):
        if f.init:
            yield f.name, getattr(value, f.name)


def one_range(x: np.ndarray) -> bool:
    """Whether the columns of a table [N, F] have one range, so that each may have others' values.

    So it is if every column spans at least an eighth of the range of the table, and its mean lies
    in the range of every other: of standardised columns, or of those that are all scaled to [0, 1].
    Columns that do not vary in x count towards the range of the table only.
    """
    low, high = x.min(0).astype(np.float64), x.max(0).astype(np.float64)
    varies = high > low
    if not varies.any():
        return False
    whole, mean = high.max() - low.min(), x.mean(0, dtype=np.float64)[varies]
    low, high = low[varies], high[varies]
    wide = (high - low >= whole / 8).all()
    return bool(wide and mean.min() >= low.max() and mean.max() <= high.min())


def warn_of_units(
    metrics: Mapping[str, Metric], explainers: Mapping[str, Any], x: np.ndarray
) -> None:
    """Warn once of all baselines that mix the units of the columns of a table [N, F]."""
    shape = x.shape
    if len(shape) != 2 or shape[1] < 2:
        return
    found = []
    for m, metric in metrics.items():
        names = (getattr(q, "baseline", None) for q in asks_of(metric))
        found += [f"metric {m!r} ({b!r})" for b in dict.fromkeys(filter(_mixes, names))]
    for e, explainer in explainers.items():
        names = (b for b in _baselines(explainer) if _mixes(b))
        found += [f"explainer {e!r} ({b!r})" for b in dict.fromkeys(names)]
    if found and not one_range(x):
        check.warn(
            f"x is a table [N, {shape[1]}], and these baselines mix the units of its columns, as "
            "they are computed from a row's own entries or from one range for all columns: "
            f"{', '.join(found)}. Give background=, such as training data, with "
            f'baseline="background" or "background mean"; or an array [{shape[1]}], or "zero" for '
            f"standardised columns. A series, of one unit, is [N, 1, {shape[1]}]."
        )


def _mixes(baseline: Any) -> bool:
    return isinstance(baseline, str) and baseline in MIXED


def _baselines(value: Any) -> Iterator[Any]:
    """The baselines of an explainer and of the explainers that it wraps."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field, given in fields_of(value):
            if field == "baseline":
                yield given
            else:
                yield from _baselines(given)
