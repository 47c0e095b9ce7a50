"""Results as one Parquet file: its schema, writing and reading."""

from __future__ import annotations

import json
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ..types import Outcome
from .atomic import replace_whole
from .parts import HEAVY, codes, status

if TYPE_CHECKING:
    from .table import Results

KEY = b"jaxeval"
VERSION = 1
ROW_GROUP = 122_880
SURE = ("error", "effective", "asked")


def schema(ids: np.dtype, scores: np.dtype) -> pa.Schema:
    """The columns; `scores` (float32 or float64) is the dtype of scores and curves.

    >>> import numpy as np
    >>> schema(np.dtype("int32"), np.dtype("float32")).names[-4:]
    ['curve_std', 'error', 'effective', 'asked']
    """
    real = pa.from_numpy_dtype(scores)
    text = pa.string()
    return pa.schema(
        [
            pa.field("explainer", text, nullable=False),
            pa.field("metric", text, nullable=False),
            pa.field("family", text, nullable=False),
            pa.field("direction", text, nullable=False),
            pa.field("sample", _integer(ids) if ids.kind in "iu" else text, nullable=False),
            pa.field("label", pa.int64(), nullable=False),
            pa.field("score", real),
            pa.field("status", text, nullable=False),
            pa.field("curve", pa.list_(real)),
            pa.field("curve_std", pa.list_(real)),
            pa.field("error", real),
            pa.field("effective", real),
            pa.field("asked", pa.int64()),
        ]
    )


def _integer(dtype: np.dtype) -> pa.DataType:
    return pa.uint64() if dtype == np.uint64 else pa.int64()


def to_arrow(results: Results) -> pa.Table:
    """The results as one table with one row per score; everything else is in its metadata."""
    cells = [(e, m, results.outcomes[e, m]) for e, m in results.outcomes]
    sizes = [len(outcome.score) for _, _, outcome in cells]
    known = [a.dtype for _, _, o in cells for a in (o.score, o.curve, o.curve_std) if a is not None]
    dtype = np.result_type(np.float32, *known)
    form = schema(results.index.dtype, dtype)

    scored = max(sizes, default=0)
    meta = {
        "version": VERSION,
        "explainers": list(results.explainers),
        "directions": results.directions,
        "families": results.families,
        "cells": [
            {
                "explainer": e,
                "metric": m,
                "n": len(o.score),
                "score": str(o.score.dtype),
                "curve": _lengths(o.curve),
                "curve_std": _lengths(o.curve_std),
                **{k: None if (v := getattr(o, k)) is None else str(v.dtype) for k in SURE},
            }
            for e, m, o in cells
        ],
        "sample": results.index.dtype.str,
        "label": results.y.dtype.str,
        # Samples of a partial result that have no row yet.
        "unscored": {
            "sample": results.index[scored:].tolist(),
            "label": results.y[scored:].tolist(),
        },
        "asked": results.asked,
        "settings": results.settings,
    }
    form = form.with_metadata({KEY: json.dumps(meta, ensure_ascii=False, allow_nan=False).encode()})

    if not cells:
        return form.empty_table()
    blocks = []
    for e, m, outcome in cells:
        for start in range(0, max(len(outcome.score), 1), ROW_GROUP):  # keeps offsets in int32
            part = slice(start, min(start + ROW_GROUP, len(outcome.score)))
            score = outcome.score[part]
            undefined = np.isnan(score)
            columns = {
                "explainer": _repeat(e, len(score)),
                "metric": _repeat(m, len(score)),
                "family": _repeat(results.families[m], len(score)),
                "direction": _repeat(results.directions[m], len(score)),
                "sample": pa.array(results.index[part].tolist(), form.field("sample").type),
                "label": pa.array(results.y[part].astype(np.int64)),
                "score": pa.array(score.astype(dtype), mask=undefined),
                "status": pa.array(status(outcome)[part]),
                "curve": _lists(outcome.curve, part, dtype),
                "curve_std": _lists(outcome.curve_std, part, dtype),
                **{k: _numbers(getattr(outcome, k), part, dtype) for k in SURE[:2]},
                "asked": _numbers(outcome.asked, part, np.dtype(np.int64)),
            }
            arrays = [columns[f.name].cast(f.type) for f in form]
            blocks.append(pa.Table.from_arrays(arrays, schema=form))
    return pa.concat_tables(blocks)


def _repeat(text: str, n: int) -> pa.Array:
    return pa.repeat(pa.scalar(text, pa.string()), n)


def _numbers(values: np.ndarray | None, part: slice, dtype: np.dtype) -> pa.Array:
    if values is None:
        return pa.nulls(part.stop - part.start, pa.from_numpy_dtype(dtype))
    return pa.array(values[part].astype(dtype), mask=np.isnan(values[part]))


def _lengths(curve: np.ndarray | None) -> list[Any] | None:
    return None if curve is None else [curve.shape[1], str(curve.dtype)]


def _lists(curve: np.ndarray | None, part: slice, dtype: np.dtype) -> pa.Array:
    n = part.stop - part.start
    if curve is None:
        return pa.nulls(n, pa.list_(pa.from_numpy_dtype(dtype)))
    flat = curve[part].astype(dtype).ravel()
    offsets = pa.array(np.arange(n + 1, dtype=np.int32) * curve.shape[1])
    return pa.ListArray.from_arrays(offsets, pa.array(flat, mask=np.isnan(flat)))


def metadata(
    table: pa.Table, key: bytes, version: int, written_by: str, source: str
) -> dict[str, Any]:
    """The JSON under a key of the table's schema, of a layout up to `version`.

    Raises:
      ValueError: it is not there, or of a later version; the message says what to do.
    """
    found = (table.schema.metadata or {}).get(key)
    if found is None:
        raise ValueError(
            f"{source} was not written by {written_by}: its schema metadata has no key "
            f"{key.decode()!r}"
        )
    meta = json.loads(found)
    if meta["version"] > version:
        raise ValueError(
            f"{source} has version {meta['version']} of the layout, but this jaxeval reads only up "
            f"to {version}: upgrade jaxeval to read it"
        )
    return meta


def from_arrow(table: pa.Table, source: str = "the table") -> dict[str, Any]:
    """The arguments of `Results`, from a table made by `to_arrow`.

    Raises:
      ValueError: the table was not made by `to_arrow`; the message says what it lacks.
    """
    meta = metadata(table, KEY, VERSION, "Results.save", source)
    wanted = schema(np.dtype("int64"), np.dtype("float32")).names
    for late in ("curve_std", *SURE):
        if not any(cell.get(late) for cell in meta["cells"]):
            wanted.remove(late)  # older files lack this column
    if missing := [name for name in wanted if name not in table.schema.names]:
        raise ValueError(f"{source} lacks the columns {', '.join(missing)}")
    n_rows = sum(cell["n"] for cell in meta["cells"])
    if table.num_rows != n_rows:
        raise ValueError(f"{source} has {table.num_rows} rows, but its metadata says {n_rows}")

    outcomes: dict[tuple[str, str], Outcome] = {}
    longest = table.slice(0, 0)
    start = 0
    for cell in meta["cells"]:
        e, m, n = cell["explainer"], cell["metric"], cell["n"]
        rows = table.slice(start, n)
        start += n
        if any(
            rows[name].unique().to_pylist() not in ([], [v])
            for name, v in zip(("explainer", "metric"), (e, m), strict=True)
        ):
            raise ValueError(
                f"{source}: the rows of explainer {e!r}, metric {m!r} are not where its metadata "
                "says: its rows have been reordered"
            )
        curve, std = (_curves(rows, name, cell, n) for name in ("curve", "curve_std"))
        score = rows["score"].to_numpy().astype(cell["score"])
        sure = {k: rows[k].to_numpy().astype(t) for k in SURE if (t := cell.get(k)) is not None}
        if "effective" in sure:
            sure["heavy_tails"] = np.array([v == HEAVY for v in rows["status"].to_pylist()], bool)
        if "asked" in sure:
            sure["status"] = codes(rows["status"].to_pylist())
        outcomes[e, m] = Outcome(score=score, curve=curve, curve_std=std, **sure)
        longest = max(longest, rows, key=len)

    def whole(name: str) -> np.ndarray:
        values = longest[name].to_pylist() + meta["unscored"][name]
        return np.array(values, np.dtype(meta[name]))

    return {
        "outcomes": outcomes,
        "directions": meta["directions"],
        "families": meta["families"],
        "index": whole("sample"),
        "y": whole("label"),
        "asked": meta["asked"],
        "settings": meta["settings"],
    }


def _curves(rows: pa.Table, name: str, cell: dict[str, Any], n: int) -> np.ndarray | None:
    """The curves [n, S] of one cell, exactly as saved, or None."""
    if cell.get(name) is None:
        return None
    steps, dtype = cell[name]
    parts = [c.flatten().to_numpy(zero_copy_only=False) for c in rows[name].chunks]
    return np.concatenate(parts or [np.zeros(0)]).astype(dtype).reshape(n, steps)


def write(results: Results, path: Path) -> None:
    """Write the results to `path` atomically."""
    table = to_arrow(results)
    replace_whole(path, lambda file: write_table(table, file))


def write_table(table: pa.Table, file: IO[bytes]) -> None:
    pq.write_table(table, file, row_group_size=ROW_GROUP, compression="zstd")


def read(path: Path) -> dict[str, Any]:
    """The arguments of `Results`, from the file at `path`."""
    return from_arrow(read_table(path), str(path))


def read_table(path: Path) -> pa.Table:
    """The table in the file at `path`.

    Raises:
      ValueError: it is no Parquet file.
    """
    with open(path, "rb") as file:
        try:
            return pq.read_table(file)
        except pa.ArrowInvalid as e:
            raise ValueError(f"{path} is not a Parquet file, or is broken: {e}") from e
