"""Reference results: ten explainers under every metric, with intervals and cost.

    python benchmarks/reference.py                       # both networks: some twenty minutes
    python benchmarks/reference.py --network digits      # one

Writes docs/reference-results.md from docs/reference-results/NETWORK.csv, a row for each metric and
explainer, which it writes first, so that a change of any number is seen in review. ``--table`` only
writes the page from the files that are there.
"""

from __future__ import annotations

import argparse
import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from reference_cases import CASES, Case, Part
from rich.progress import track

import jaxeval as je

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/reference-results.md"
FOLDER = ROOT / "docs/reference-results"
KEY = 0
ARROWS = {"higher": "↑", "lower": "↓"}
TITLES = {"digits": "Digits", "imagenet": "ImageNet"}
ROUNDING = 1e-5
"""Smaller numbers are written as 0: what float32 leaves of it differs between processors."""
COLUMNS = (
    *("metric", "family", "direction", "explainer", "mean", "ci_low", "ci_high", "mc_error"),
    *("n", "n_undefined", "outputs", "explanations", "settings"),
)


def table(case: Case) -> pd.DataFrame:
    """The rows of the file of one network."""
    every = case.metrics()
    rows = []
    # One pass, if the inputs are the same: each explainer is compiled once.
    for part in (case.plain,) if case.plain is case.masked else (case.plain, case.masked):
        its = {name: metric for name, metric in every.items() if case.part(metric) is part}
        found = asked(case, part, its, case.explainers)
        summary = found.summary()
        summary["family"] = [found.families[m] for m in summary["metric"]]
        described = found.settings["metrics"]
        summary["settings"] = [str(described[m]) for m in summary["metric"]]
        rows.append(summary)
    frame: Any = pd.concat(rows)
    costs = {m: cost(case, v) for m, v in track(every.items(), "Counting evaluations")}
    frame["outputs"] = [costs[m][0] for m in frame["metric"]]
    frame["explanations"] = [costs[m][1] for m in frame["metric"]]
    order = {m: i for i, m in enumerate(every)}
    frame = frame.sort_values("metric", key=lambda c: c.map(order), kind="stable")
    return frame[list(COLUMNS)]


def asked(case: Case, part: Part, metrics: Any, explainers: Any, **given: Any) -> je.Results:
    return je.evaluate(
        part.model, part.x, part.y, mask=part.mask, metrics=metrics, explainers=explainers,
        key=KEY, **case.given, **given,
    )  # fmt: skip


def cost(case: Case, metric: je.Metric) -> tuple[int, int]:
    """(outputs, explanations) that the metric alone asks for a sample and an explainer."""
    few, part = 2, case.part(metric)
    part = Part(case.counted or part.model, *(v if v is None else v[:few] for v in part[1:]))
    explainers = {"e": je.explain.InputXGradient()}
    found = asked(case, part, {"it": metric}, explainers, progress=False).asked
    return -(-found["output"] // few), -(-found["attribution"] // few)


def written(case: Case, frame: pd.DataFrame, name: str) -> None:
    """The files of a network, with three digits of every number."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    numbers = frame.select_dtypes("float")
    frame = frame.assign(**numbers.where(~(numbers.abs() < ROUNDING), 0.0))
    frame.to_csv(FOLDER / f"{name}.csv", index=False, float_format="%.3g", lineterminator="\n")
    about = [case.about, *(f"{m} is left out: {why}." for m, why in case.left_out.items())]
    (FOLDER / f"{name}.txt").write_text(" ".join(about) + "\n", encoding="utf-8")
    if case.draw:
        case.draw(FOLDER / f"{name}.png")


INTRO = """\
# Reference results

<!-- Written by benchmarks/reference.py: do not edit by hand. -->

Ten explainers under every metric, rebuilt by `make reference`, so that a change of any number is
seen in review. Means over samples, ± half the width of a 95 % bootstrap interval;
"undefined" counts samples without a score. **Bold** is the best of a metric among those that are
defined for most samples, which may be so by chance. Read [Choosing](choosing.md) first: the best
under a metric of robustness may be a control, as `Random` and `Sobel` do not look at the model.

"Outputs" and "explanations" are what a metric alone asks of the model for each sample and
explainer, with the settings that were used; asked together, most of it is shared. The files have
the ends of the intervals, the errors of random draws (`mc_error`) and the settings; their columns
are those of [`summary`](numbers.md#summary). Numbers have three digits, and
those below 0.00001 are written as 0: what remains differs between processors.
"""


def page() -> str:
    """The page, of the files that are there."""
    parts = [INTRO]
    for name in CASES:
        file = FOLDER / f"{name}.csv"
        if file.exists():
            parts.append(section(name, pd.read_csv(file)))
    return "\n".join(parts)


def section(name: str, frame: pd.DataFrame) -> str:
    """The tables of one network, a family each."""
    about = (FOLDER / f"{name}.txt").read_text(encoding="utf-8").strip()
    link = f"[reference-results/{name}.csv](reference-results/{name}.csv)"
    lines = [f"## {TITLES[name]}", "", f"{about} All numbers: {link}.", ""]
    if (picture := FOLDER / f"{name}.png").exists():
        lines += [f"![What is explained, and the maps](reference-results/{picture.name})", ""]
    for family in dict.fromkeys(frame["family"]):
        rows = frame[frame["family"] == family]
        explainers = list(dict.fromkeys(rows["explainer"]))
        lines += [f"### {TITLES[name]}: {family}", ""]
        lines.append("| metric | " + " | ".join(explainers) + " | outputs | explanations |")
        lines.append("|---" * (len(explainers) + 3) + "|")
        for metric, own in rows.groupby("metric", sort=False):
            lines.append(line(str(metric), own.set_index("explainer"), explainers))
        lines.append("")
    return "\n".join(lines)


def rounded(number: float, digits: int) -> str:
    """Significant digits, without an exponent for numbers of a readable length."""
    return f"{float(f'{number:.{digits}g}'):g}"


def line(metric: str, own: pd.DataFrame, explainers: list[str]) -> str:
    """One metric."""
    means, first = own["mean"], own.iloc[0]
    most = means[own["n"] >= own["n_undefined"]]
    best = most.max() if first["direction"] == "higher" else most.min()
    cells = [f"[{metric}](metrics.md#{metric.lower()}) {ARROWS[str(first['direction'])]}"]
    for e in explainers:
        mean, missing = means[e], int(own.loc[e, "n_undefined"])
        text = "–" if np.isnan(mean) else rounded(mean, 3)
        text = f"**{text}**" if e in most and mean == best else text
        width = (own.loc[e, "ci_high"] - own.loc[e, "ci_low"]) / 2
        text += "" if np.isnan(width) else f" ± {rounded(width, 1)}"
        cells.append(text + (f" ({missing} undefined)" if missing else ""))
    cells += [f"{first['outputs']:,}", f"{first['explanations']:,}"]
    return "| " + " | ".join(cells) + " |"


@contextlib.contextmanager
def timed(what: str) -> Iterator[None]:
    began = time.perf_counter()
    yield
    print(f"{what}: {time.perf_counter() - began:.0f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--network", choices=list(CASES), help="default: all")
    parser.add_argument("--samples", type=int, help="default: 40 digits, 5 photographs")
    parser.add_argument("--table", action="store_true", help="only write the page")
    given = parser.parse_args()
    je.use_compilation_cache()
    for name in () if given.table else [given.network] if given.network else CASES:
        with timed(name):
            make, samples = CASES[name]
            case = make(given.samples or samples)
            written(case, table(case), name)
    PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
