"""What the demonstration prints."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from ..metric import Metric
from ..results import Results
from ..results.stats import ARROWS
from ..version import __version__


class Clock:
    """Times of the parts of the job, and how much of each was compilation."""

    _compiling = 0.0
    _listening = False

    def __init__(self) -> None:
        self.seconds: dict[str, tuple[float, float]] = {}
        if not Clock._listening:  # JAX never removes listeners: one per process
            jax.monitoring.register_event_duration_secs_listener(Clock._heard)
            Clock._listening = True

    @staticmethod
    def _heard(event: str, duration_secs: float, **_: Any) -> None:
        if event.endswith("/backend_compile_duration"):
            Clock._compiling += duration_secs

    @contextlib.contextmanager
    def __call__(self, part: str) -> Iterator[None]:
        began, compiled = time.perf_counter(), Clock._compiling
        yield
        self.seconds[part] = time.perf_counter() - began, Clock._compiling - compiled


def announce(
    console: Console,
    samples: int,
    accuracy: float,
    held_out: int,
    methods: dict[str, Any],
    asked: dict[str, Metric],
) -> None:
    families = list(dict.fromkeys(m.family for m in asked.values()))
    device = jax.devices()[0].device_kind
    console.print(
        f"[bold]jaxeval {__version__}[/]: which explanations of a digit classifier can you trust?",
        highlight=False,
    )
    grid = _grid()
    grid.add_row("data", f"{samples} digits of 8x8 pixels that the model was not trained on")
    grid.add_row(
        "model",
        f"a small convolutional network (Flax), right about {accuracy:.1%} of all {held_out} "
        "held-out digits; its predicted class is explained",
    )
    grid.add_row(
        "explainers", f"{len(methods)}; Sobel and Random are controls that do not use the model"
    )
    grid.add_row("metrics", f"{len(asked)}, of {len(families)} families: {', '.join(families)}")
    grid.add_row(
        "removal",
        "removed pixels become background (0), which is also the explainers' baseline",
    )
    grid.add_row("device", f"{device}, JAX {jax.__version__}")
    console.print(grid, highlight=False)
    console.print()


def _grid() -> Table:
    """A grid with rows of (name, text)."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True, min_width=10)
    grid.add_column(overflow="fold")
    return grid


def print_table(results: Results, console: Console) -> None:
    """Mean scores and ranks, metrics x explainers, the best explainer first.

    Columns that do not fit side by side are moved to tables below.
    """
    title = f"Mean score (rank) over {len(results.index)} samples, the best in bold"
    rows = _rows(results)
    label = max(len(row[0].plain) for row in rows) + 1
    room, parts = 0, [[]]
    for column in range(1, len(rows[0])):
        width = 1 + max(len(line) for row in rows for line in row[column].plain.split("\n"))
        if parts[-1] and room < width:
            parts.append([])
        room = (room if parts[-1] else console.width - label) - width
        parts[-1].append(column)
    for columns in parts:
        table = Table(
            box=None, padding=(0, 1, 0, 0), pad_edge=False, title=title, title_justify="left",
            title_style="bold", header_style="bold",
        )  # fmt: skip
        table.add_column("", no_wrap=True)
        for column in columns:
            table.add_column(rows[0][column], justify="right", vertical="bottom", no_wrap=True)
        for row in rows[1:]:
            table.add_row(row[0], *(row[column] for column in columns))
        console.print(table, highlight=False)
        console.print()
        title = None


def _rows(results: Results) -> list[list[Text]]:
    """The cells of the table: its header, then the metrics by family, then the mean ranks."""
    ranking, means = results.ranking(), results.means()
    names = list(ranking.index)
    blank = [Text("")] * len(names)
    rows = [[Text(""), *(Text(_broken(name)) for name in names)]]
    family = None
    for metric in results.metrics:
        if results.families[metric] != family:
            family = results.families[metric]
            rows.append([Text(family, style="dim italic"), *blank])
        ranks = ranking[metric].to_numpy(float)
        first = np.nanmin(ranks, initial=np.inf)
        cells = [
            Text(f"{_number(mean)} ({_rank(rank)})", style="bold green" if rank == first else "")
            for mean, rank in zip(means[metric].reindex(names).to_numpy(float), ranks, strict=True)
        ]
        rows.append([Text(f"{metric} {ARROWS[results.directions[metric]]}"), *cells])
    rows.append([Text(""), *blank])
    faithful = [m for m in results.metrics if results.families[m] == "faithfulness"]
    for what, ranks in (
        ("mean rank, faithfulness", ranking[faithful].mean(axis=1).to_numpy(float)),
        ("mean rank, all", ranking["mean rank"].to_numpy(float)),
    ):
        first = np.nanmin(ranks, initial=np.inf)
        cells = [
            Text(f"{rank:.2f}", style="bold green" if rank == first else "bold") for rank in ranks
        ]
        rows.append([Text(what, style="bold"), *cells])
    return rows


def _broken(name: str) -> str:
    """A long name over two lines, so that columns stay narrow."""
    cut = next((i for i in range(len(name) - 1, 5, -1) if name[i].isupper()), len(name))
    return f"{name[:cut]}\n{name[cut:]}" if len(name) > 10 and cut < len(name) else name


def _number(v: float) -> str:
    """Five characters."""
    if np.isnan(v):
        return "–"
    if 0 < abs(v) < 0.0005:
        return f"{v:.0e}"
    places = 3 if 0 <= v < 0.9995 else 2 if abs(v) < 9.995 else 1 if abs(v) < 99.95 else 0
    return f"{v:.{places}f}"


def _rank(v: float) -> str:
    return "–" if np.isnan(v) else f"{v:g}"


def beaten_by_random(results: Results) -> dict[str, list[str]]:
    """{faithfulness metric that does not rank Random last: the explainers ranked behind it}."""
    ranking = results.ranking()
    found = {}
    for metric in results.metrics:
        if results.families[metric] == "faithfulness":
            ranks = ranking[metric].to_dict()
            behind = [str(name) for name, rank in ranks.items() if rank > ranks["Random"]]
            if behind:
                found[metric] = behind
    return found


def remarks(results: Results, console: Console) -> None:
    """Notes on the ranks of the controls."""
    n = sum(f == "faithfulness" for f in results.families.values())
    behind = beaten_by_random(results)
    if not behind:
        console.print(f"Random is last under all {n} faithfulness metrics, as it should be.")
    else:
        what = "; ".join(f"{m} (worse: {', '.join(names)})" for m, names in behind.items())
        console.print(
            f"[yellow]Random is not last under {len(behind)} of {n} faithfulness metrics[/]: "
            f"{escape(what)}."
            + (" Means of few samples are noisy." if len(results.index) < 100 else ""),
            highlight=False,
        )
    ranks = results.ranking().loc["Random"].to_dict()
    if all(ranks[m] == 1 for m, family in results.families.items() if family == "robustness"):
        console.print(
            "Random is first in robustness: a map that ignores the input cannot change with it. "
            "No family of metrics tells the whole story.",
            highlight=False,
        )
    undefined = {cell: o.n_undefined for cell, o in results.outcomes.items() if o.n_undefined}
    total = sum(len(o.score) for o in results.outcomes.values())
    if undefined:
        console.print(f"Undefined, and left out of the means, of {total:,} scores:")
        for (explainer, metric), count in undefined.items():
            console.print(f"  {metric} of {explainer}: {count}", highlight=False)
    else:
        console.print(f"None of the {total:,} scores is undefined.", highlight=False)
    console.print()


def costs(results: Results, clock: Clock, console: Console) -> None:
    asked, naive = results.asked, results.asked["naive"]
    times = [
        f"{asked[kind]:,} {word} instead of {naive[kind]:,} ({naive[kind] / asked[kind]:.1f} x)"
        for kind, word in (("output", "outputs"), ("attribution", "explanations"))
    ]
    total = sum(seconds for seconds, _ in clock.seconds.values())
    parts = [
        f"{part} {seconds:.1f} s" + (f" ({compiling:.1f} s compiling)" if compiling > 0.1 else "")
        for part, (seconds, compiling) in clock.seconds.items()
    ]
    grid = _grid()
    grid.add_row("asked", ", ".join(times))
    grid.add_row("", "(instead of: one run per metric and explainer)")
    grid.add_row("time", f"{total:.1f} s: {', '.join(parts)}")
    console.print(grid, highlight=False)


def where(out: Path, files: Sequence[str], console: Console) -> None:
    grid = _grid()
    for i, name in enumerate(files):
        grid.add_row("" if i else "written", str(out / name))
    console.print(grid, highlight=False)
    # One line of any length, for copying.
    call = f"print(repr(jaxeval.Results.load({str(out / files[0])!r})))"
    line = Text.assemble(("load", "dim"), " " * 8, f'python -c "import jaxeval; {call}"')
    console.print(line, soft_wrap=True)
