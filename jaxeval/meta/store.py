"""`MetaResults` as one Parquet file: one row per score, everything else as metadata."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..results.atomic import replace_whole

if TYPE_CHECKING:
    from .results import MetaResults

KEY = b"jaxeval.meta"
VERSION = 1
PLAIN = ("directions", "families", "tests", "groups", "asked", "settings")


def _arrays(meta: MetaResults) -> Iterator[tuple[tuple[str, str, str], np.ndarray]]:
    """((metric, test, kind), scores [P, T, L, N])."""
    for m, v in meta.clean.items():
        yield (m, "", "clean"), v[None, None]
    for key, v in meta.scores.items():
        yield key, v if v.ndim == 4 else v[:, None]


def write(meta: MetaResults, path: Path) -> Path:
    """Write the file atomically, and return its path."""
    import pyarrow as pa

    from ..results.parquet import write_table

    blocks, shapes = [], []
    explainers = np.array(meta.explainers, dtype=object)
    for (m, t, kind), v in _arrays(meta):
        p, level, e, n = (i.ravel() for i in np.indices(v.shape))
        columns = {name: pa.repeat(pa.scalar(one), v.size) for name, one in
                   (("metric", m), ("test", t), ("kind", kind))}  # fmt: skip
        known = meta.levels(t) if t and kind == "levels" else None
        columns |= {
            "perturbation": pa.array(p.astype(np.int32)),
            "level": pa.array(np.array(known)[level] if known else np.full(v.size, np.nan)),
            "explainer": pa.array(explainers[e].tolist(), pa.string()),
            "sample": pa.array(np.asarray(meta.index)[n].tolist()),
            "score": pa.array(v.ravel().astype(np.float64)),
        }
        blocks.append(pa.table(columns))
        shapes.append([m, t, kind, list(v.shape), str(v.dtype)])
    about = {
        "version": VERSION,
        **{name: getattr(meta, name) for name in PLAIN},
        "explainers": list(meta.explainers),
        "arrays": shapes,
        "index": [np.asarray(meta.index).dtype.str, np.asarray(meta.index).tolist()],
        "y": np.asarray(meta.y).tolist(),
        "predicted": [
            [*key, [[None if np.isnan(c) else c for c in row] for row in v.tolist()]]
            for key, v in meta.predicted.items()
        ],
        "reasons": [[*key, why] for key, why in meta.reasons.items()],
    }
    text = json.dumps(about, ensure_ascii=False, allow_nan=False).encode()
    table = pa.concat_tables(blocks).replace_schema_metadata({KEY: text})
    replace_whole(path, lambda file: write_table(table, file))
    return path


def read(path: Path) -> dict[str, Any]:
    """The arguments of `MetaResults`.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: it was not written by `MetaResults.save`.
    """
    from ..results.parquet import metadata, read_table

    table = read_table(path)
    about = metadata(table, KEY, VERSION, "MetaResults.save", str(path))
    scores = table["score"].to_numpy()
    sizes = [int(np.prod(shape)) for *_, shape, _ in about["arrays"]]
    if sum(sizes) != len(scores):
        raise ValueError(f"{path} has {len(scores)} rows, but its metadata says {sum(sizes)}")
    clean, perturbed, start = {}, {}, 0
    for (m, t, kind, shape, dtype), size in zip(about["arrays"], sizes, strict=True):
        v = scores[start : start + size].astype(dtype).reshape(shape)
        start += size
        if kind == "clean":
            clean[m] = v[0, 0]
        else:
            perturbed[m, t, kind] = v if kind == "levels" else v[:, 0]
    kind, ids = about["index"]
    return {
        **{name: about[name] for name in PLAIN},
        "explainers": tuple(about["explainers"]),
        "clean": clean,
        "scores": perturbed,
        "predicted": {(t, k): np.array(v, np.float64) for t, k, v in about["predicted"]},
        "index": np.array(ids, np.dtype(kind)),
        "y": np.array(about["y"], np.int64),
        "reasons": {(m, t): why for m, t, why in about["reasons"]},
    }
