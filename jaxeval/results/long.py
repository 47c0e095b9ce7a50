"""Results from a long table with one row per score, as in Parquet data sets."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from ..types import Outcome
from .parts import HEAVY, codes
from .stability import fields_of, varied

QUOTE = '"'
NEEDED = ("explainer", "metric", "sample", "score")


def from_frame(
    frame: Any,
    directions: Mapping[str, str] | None = None,
    families: Mapping[str, str] | None = None,
    settings: Mapping[str, Any] | None = None,
    asked: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The arguments of `Results`; see `Results.from_dataframe`."""
    if missing := [c for c in NEEDED if c not in frame]:
        raise ValueError(f"the table lacks the columns {', '.join(missing)}")
    if "model" in frame and frame["model"].nunique() > 1:
        names = ", ".join(map(repr, frame["model"].unique()))
        raise ValueError(f"the table has several models, {names}: choose the rows of one")
    frame = frame.reset_index(drop=True)
    settings = dict(settings or {})
    place: Any
    described = dict(settings.get("metrics") or {})
    names, frame = _named(frame, described)

    def of_metric(given: Mapping[str, str] | None, column: str, default: str | None) -> Any:
        found = {}
        for name, metric in names.items():
            own = described.get(name)
            kind = own.get("class") if isinstance(own, Mapping) else None
            options = [given[k] for k in (name, metric, str(kind)) if given and k in given]
            if column in frame and not options:
                options = frame.loc[frame["name"] == name, column].unique().tolist()
                if len(options) > 1:
                    raise ValueError(f"metric {metric!r} has several values of {column!r}")
            if not options and default is None:
                raise ValueError(f"metric {metric!r} has no {column}: give {column}s=")
            found[name] = [*options, default][0]
        return found

    index = pd.unique(frame["sample"])
    place = pd.Series(np.arange(len(index)), index=index)
    y = np.full(len(index), -1, np.int64)
    if "label" in frame:
        y[place[frame["sample"]].to_numpy()] = frame["label"].to_numpy()
    outcomes = {
        cell: _outcome(rows, place)
        for cell, rows in frame.groupby(["explainer", "name"], sort=False)
    }
    return {
        "outcomes": outcomes,
        "directions": of_metric(directions, "direction", None),
        "families": of_metric(families, "family", "metrics"),
        "index": np.asarray(index),
        "y": y,
        "asked": asked or {},
        "settings": {**settings, "metrics": described},
    }


def _named(frame: Any, described: dict[str, Any]) -> tuple[dict[str, str], Any]:
    """{name: metric}, with one name per setting of a metric, and `frame` with the column "name"."""
    if "settings" not in frame:
        return {m: m for m in pd.unique(frame["metric"])}, frame.assign(name=frame["metric"])
    names, of_cell = {}, {}
    for metric, texts in frame.groupby("metric", sort=False)["settings"]:
        parsed = {text: json.loads(text) for text in texts.unique()}
        fields = {text: fields_of(value) for text, value in parsed.items()}
        changing = varied(fields)
        for text, value in parsed.items():
            own = fields[text]
            said = ", ".join(f"{p}={own.get(p, '–').strip(QUOTE)}" for p in changing)
            name = f"{metric}({said})" if said else str(metric)
            names[name], of_cell[metric, text] = str(metric), name
            described[name] = {"class": str(metric), **value}
    cells = zip(frame["metric"], frame["settings"], strict=True)
    return names, frame.assign(name=[of_cell[cell] for cell in cells])


def _outcome(rows: Any, place: Any) -> Outcome:
    """The scores of one cell by sample: means over seeds, NaN for missing samples."""
    at = place[rows["sample"]].to_numpy()
    n = at.max() + 1
    values = rows["score"].to_numpy(float, na_value=np.nan)[:, None]
    if "curve" in rows and rows["curve"].notna().any():
        lengths = {len(c) for c in rows["curve"].dropna()}
        if len(lengths) == 1:
            blank = np.full(lengths.pop(), np.nan)
            curves = [blank if c is None else np.asarray(c, float) for c in rows["curve"]]
            values = np.concatenate([values, np.stack(curves)], axis=1)
    total, count = _by_sample(values, at, n)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = total / count
    curve = mean[:, 1:] if mean.shape[1] > 1 else None
    return Outcome(score=mean[:, 0], curve=curve, **_sure(rows, at, n))


def _by_sample(values: np.ndarray, at: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """(sums [n, ...] of the defined values of each sample, their numbers)."""
    defined = ~np.isnan(values)
    total, count = (np.zeros((n, *values.shape[1:])) for _ in range(2))
    np.add.at(total, at, np.where(defined, values, 0))
    np.add.at(count, at, defined)
    return total, count


def _sure(rows: Any, at: np.ndarray, n: int) -> dict[str, Any]:
    """Errors, effective draws and heavy tails of the means over seeds, if the table has them."""
    if "error" not in rows or not rows["error"].notna().any():
        return {}

    def column(name: str) -> np.ndarray:
        return rows[name].to_numpy(float, na_value=np.nan)

    drawn = "effective" in rows and rows["effective"].notna().any()
    taken = {}
    if "asked" in rows and rows["asked"].notna().any():
        taken = {"asked": _by_sample(column("asked"), at, n)[0], "status": np.zeros(n, np.int8)}
        np.maximum.at(taken["status"], at, codes(rows["status"]))
    total, count = _by_sample(column("error") ** (2 if drawn else 1), at, n)
    with np.errstate(invalid="ignore", divide="ignore"):
        if not drawn:
            return {"error": total / count, **taken}
        error = np.where(count > 0, np.sqrt(total) / count, np.nan)
    heavy = np.zeros(n, bool)
    if "status" in rows:
        heavy[at[(rows["status"] == HEAVY).to_numpy()]] = True
    effective = _by_sample(column("effective"), at, n)[0]
    return {"error": error, "effective": effective, "heavy_tails": heavy, **taken}
