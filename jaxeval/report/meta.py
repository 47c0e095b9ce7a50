"""The part of a page on which metrics can be trusted, as plain data for the template."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .. import plot
from ..results.stats import ARROWS
from . import tables
from .pictures import picture
from .sections import section
from .tables import Cell, TableOf, number

if TYPE_CHECKING:
    from ..meta import MetaResults

COLUMNS = (
    *("MC", "MC_std", "IAC_NR", "IAC_AR", "IEC_NR", "IEC_AR", "tau", "agree", "effect", "react"),
    *("abs_react", "noise", "recovery", "alpha"),
)
RANKED = ("recovery", "tau", "react", "MC")
"""The measures by which metrics are ranked, those that are 0 by chance first."""


def lead(meta: MetaResults) -> str:
    """The introduction: what was tested."""
    return (
        meta.headline.removeprefix("MetaResults: ")
        + ". Metrics that are not better than scores drawn at random or constant ones have shown "
        "nothing here."
    )


def sections(meta: MetaResults) -> list[dict[str, Any]]:
    """Its sections, in the form of `sections.sections`."""
    found = [trust(meta), measured(meta), cost(meta)]
    return [s for s in found if s is not None]


def trust(meta: MetaResults) -> dict[str, Any]:
    """The pictures, and the rankings of metrics."""
    means: Any = meta.means()
    pictures = [
        picture(
            lambda: plot.meta_heat(meta),
            f"Heat map of {len(means)} metrics and controls: means of the measures over tests.",
            "Criteria of MetaQuantus (a constant metric has MC 0.50), and measures that are 0 by "
            "chance, averaged over tests.",
        )
    ]
    if any(meta.levels(t) is not None for t in meta.tests):
        pictures.append(
            picture(
                lambda: plot.meta_recovery(meta),
                "Curves: the rank of each metric's score falls as maps are permuted.",
                "Maps are blended with their own permuted entries. A metric that sees it falls.",
            )
        )
    having: Any = meta.table().dropna(subset=["IAC_NR"])
    areas = [
        picture(
            lambda m=m: plot.meta_area(meta, m),
            f"Rhombus of the four criteria of {m}: MC {number(means.loc[m, 'MC'], 2)}.",
        )
        for m in dict.fromkeys(having["metric"])
        if m not in meta.controls
    ]
    more = [{"heading": f"criteria by metric ({len(areas)})", "pictures": areas, "tables": ()}]
    defined = [m for m in RANKED if means[m].notna().any()]
    return section(
        "trust",
        "Which metrics can be trusted",
        "Scores should stay under minor perturbations of the model or the input, and get worse "
        "under disruptive ones and as maps are permuted. Intervals are over samples.",
        pictures=pictures,
        tables=[_ranking(meta, m) for m in defined],
        more=more if areas else (),
    )


def _ranking(meta: MetaResults, by: str) -> TableOf:
    rows = []
    for v in tables.each(meta.ranking(by).reset_index()):
        arrow = "" if v.control else f" {ARROWS[meta.directions[v.metric]]}"
        note = f"not better than {v.not_better_than}" if v.not_better_than else ""
        rows.append(
            [
                Cell(f"{v.metric}{arrow}", v.metric),
                tables.value(v.value),
                Cell(
                    f"{number(v.ci_low)} … {number(v.ci_high)}",
                    None if np.isnan(v.ci_low) else float(v.ci_low),
                    "number",
                ),
                Cell("control") if v.control else Cell(note, kind="warn" if note else ""),
            ]
        )
    chance = "a constant metric has 0.5" if by == "MC" else "0 is chance"
    return TableOf(f"Metrics by {by} ({chance})", ["metric", by, "95 % interval", ""], rows)


def measured(meta: MetaResults) -> dict[str, Any]:
    """All measures by metric and test."""
    rows = [
        [
            tables.name(v.metric),
            tables.name(v.test),
            *(tables.value(getattr(v, c)) for c in (*COLUMNS, "n_minor", "n_disruptive")),
            tables.value(v.n_undefined, kind="number warn" if v.n_undefined else "number"),
            Cell(v.reason),
        ]
        for v in tables.each(meta.table())
    ]
    columns = ["metric", "test", *COLUMNS, "kept", "changed", "undefined", "reason"]
    return section(
        "measures",
        "All measures",
        "Samples count under minor perturbations that keep their predicted class, and under "
        "disruptive ones that change it.",
        tables=[TableOf("Measures of each metric under each test", columns, rows)],
    )


def cost(meta: MetaResults) -> dict[str, Any] | None:
    """What was asked, against MetaQuantus' procedure."""
    ours, theirs = meta.asked.get("noise tests", {}), meta.asked.get("metaquantus", {})
    rows = [
        [
            tables.name(tables.KINDS[kind]),
            tables.value(meta.asked[kind]),
            tables.value(n),
            tables.value(theirs[kind]),
            Cell(f"{theirs[kind] / n:.1f} ×", theirs[kind] / n, "number"),
        ]
        for kind, n in ours.items()
        if n and theirs.get(kind) and kind in tables.KINDS
    ]
    if not rows:
        return None
    columns = ["question", "asked", "of noise tests", "MetaQuantus' procedure for these", "saved"]
    return section(
        "meta-cost",
        "Cost of the tests",
        "Each distinct question is asked once for all metrics and explainers.",
        tables=[TableOf("Evaluations, in samples × steps", columns, rows)],
    )
