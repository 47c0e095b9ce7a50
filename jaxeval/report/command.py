"""``jaxeval report``: results in a file or a folder, as one HTML page."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from ..results import Results, Store
from ..sweep import Sweep
from .maps import maps_of_extremes
from .page import write
from .sections import telling


def add(commands: Any) -> None:
    """Add the command to the parser's commands."""
    what = "Write one self-contained HTML page of results."
    parser = commands.add_parser("report", help=what, description=what, allow_abbrev=False)
    option = parser.add_argument
    option(
        "results", type=Path,
        help="a file of Results.save, the folder of a sweep, or the sweep's description (.toml, "
        ".yaml), which has what a gallery of best and worst samples takes",
    )  # fmt: skip
    option(
        "-o", "--out", type=Path, default=Path("report.html"),
        help="the page (default: %(default)s)",
    )  # fmt: skip
    option("--title", default="Evaluation of explanations", help="of the page")
    option("--model", help="of a sweep with several")
    option(
        "--maps", type=Path, metavar="FILE.npz",
        help="for the gallery where there is no description: inputs x [n, ...], maps by the "
        "explainers' names, and, if they are not all samples in order, their ids as index",
    )  # fmt: skip
    option(
        "--mixed-features", action="store_true",
        help="compare explainers whose maps have different features, too",
    )  # fmt: skip
    option("--metric", help="by which samples are best and worst (default: one of faithfulness)")
    option(
        "--channel-axis", type=lambda text: text if text == "auto" else int(text), default="auto",
        help="of x (default: found by its shape)",
    )  # fmt: skip


def run(given: argparse.Namespace) -> str:
    """Write the page, and return what there is to say.

    Raises:
      ValueError, OSError: what cannot be read, or does not fit.
    """
    described = given.results.suffix in (".toml", ".yaml", ".yml")
    sweep = Sweep.from_file(given.results) if described else None
    results = read(given.results if sweep is None else Path(sweep.output), given.model)
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
        mixed_features=given.mixed_features,
        **{"channel_axis": given.channel_axis, **maps},
    )  # fmt: skip
    return f"{path}: {results.headline}, {path.stat().st_size / 1e6:.1f} MB"


def read(path: Path, model: str | None = None) -> Results:
    """The results in a file of `Results.save`, or in the parts of a folder of them.

    Scores of several seeds are averaged, sample by sample.

    Raises:
      FileNotFoundError: there is no such file, or no part in the folder.
      ValueError: it is no Parquet, or has several models and none was named.
    """
    if not path.is_dir():
        return Results.load(path)
    store = Store(path)
    if not store.parts.is_dir():
        store.parts = path
    if not store.done():
        raise FileNotFoundError(f"{store.parts} holds no Parquet file")
    return store.mean(model)
