"""The command ``jaxeval report``: results from a file or a folder as an HTML page."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ..meta import MetaResults
from ..results import Results, Store
from ..sweep import MetaPlan, Sweep
from .maps import maps_of_extremes
from .page import write
from .sections import telling


def add(commands: Any, axis: Callable[[str], Any]) -> None:
    """Add the command to the parser's commands."""
    what = "Write a self-contained HTML report of results."
    parser = commands.add_parser("report", help=what, description=what, allow_abbrev=False)
    option = parser.add_argument
    option(
        "results", type=Path,
        help="a file written by Results.save, the folder of a sweep, or the sweep's configuration "
        "file (.toml, .yaml), which adds a gallery of best and worst samples",
    )  # fmt: skip
    option(
        "-o", "--out", type=Path, default=Path("report.html"),
        help="the file to write (default: %(default)s)",
    )  # fmt: skip
    option("--title", default="Evaluation of explanations", help="the page's title")
    option("--model", help="the model to report, of a sweep with several")
    option(
        "--maps", type=Path, metavar="FILE.npz",
        help="for the gallery without a configuration file: inputs x [n, ...], maps under the "
        "explainers' names, and, if they are not all samples in order, their ids as index",
    )  # fmt: skip
    option(
        "--meta", type=Path, metavar="FILE.parquet",
        help="a meta-evaluation, written by MetaResults.save, which adds sections on "
        "which metrics can be trusted (default: that of the sweep, if it has a single one)",
    )  # fmt: skip
    option(
        "--mixed-features", action="store_true",
        help="compare explainers whose maps have different features, too",
    )  # fmt: skip
    option("--metric", help="defines best and worst samples (default: the first of faithfulness)")
    option(
        "--channel-axis", type=axis, default="auto", metavar="AXIS",
        help="the channel axis of x (default: inferred from its shape)",
    )  # fmt: skip


def run(given: argparse.Namespace) -> str:
    """Write the page, and return a summary of it.

    Raises:
      ValueError, OSError: files that cannot be read, or inputs and maps that do not match.
    """
    described = given.results.suffix in (".toml", ".yaml", ".yml")
    sweep = Sweep.from_file(given.results) if described else None
    folder = given.results if sweep is None else Path(sweep.output)
    results = read(folder, given.model)
    if given.metric is not None and given.metric not in results.metrics:
        known = ", ".join(map(repr, results.metrics))
        raise ValueError(f"no metric {given.metric!r}; there are {known}")
    maps: dict[str, Any] = {}
    if sweep is not None and given.maps is None:
        metric = given.metric or telling(results)
        maps = maps_of_extremes(sweep, results, metric, given.model)
    elif given.maps is not None:
        with np.load(given.maps, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        if "x" not in arrays:
            raise ValueError(f"{given.maps} has no array x, the inputs of the maps")
        maps = {"x": arrays.pop("x"), "index": arrays.pop("index", None), "attributions": arrays}
    path = write(
        results, given.out, title=given.title, metric=given.metric,
        mixed_features=given.mixed_features, meta=meta_of(folder, given.meta),
        **{"channel_axis": given.channel_axis, **maps},
    )  # fmt: skip
    return f"{path}: {results.headline}, {path.stat().st_size / 1e6:.1f} MB"


def meta_of(folder: Path, file: Path | None = None) -> MetaResults | None:
    """The meta-evaluation in a file, or that of a sweep's folder, if it has a single one."""
    own = MetaPlan.file_of(folder)
    return MetaResults.load(file or own) if file is not None or own.exists() else None


def read(path: Path, model: str | None = None) -> Results:
    """The results in a file written by `Results.save`, or in the folder of a sweep.

    Scores of several seeds are averaged per sample.

    Raises:
      FileNotFoundError: no such file, or no scores in the folder.
      ValueError: not a Parquet file, or several models and none was given.
    """
    if not path.is_dir():
        return Results.load(path)
    store = Store(path)
    if not store.parts.is_dir():
        store.parts = path
    if not store.done():
        raise FileNotFoundError(f"{store.parts} holds no Parquet file")
    return store.mean(model)
