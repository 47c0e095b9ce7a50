"""Draws docs/architecture.svg: from cells to questions, evaluations and scores.

``python docs/draw_architecture.py`` writes it, ``python docs/draw_architecture.py FILE.png``
somewhere else.
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

FILE = Path(__file__).with_name("architecture.svg")

SALIENCY, IG, BOTH, INK = "#d95f02", "#1b6ca8", "#4d4d4d", "#222222"
COLUMNS = {"cells": 1.2, "questions": 4.6, "evaluations": 8.0, "scores": 10.9}
TITLES = {
    "cells": "cells\nmetric × explainer",
    "questions": "distinct questions\nequal ones are merged",
    "evaluations": "evaluations\ncompiled once each",
    "scores": "outcomes\none for each cell",
}
METRICS = ("PixelFlipping", "Deletion", "FaithfulnessCorrelation", "MaxSensitivity")
CELLS = [(metric, explainer) for metric in METRICS for explainer in ("Saliency", "IG")]
QUESTIONS = {
    "removal in the order\nof Saliency's map": (SALIENCY, 0.9),
    "removal in the order\nof IG's map": (IG, 2.3),
    "random subsets,\nread no map": (BOTH, 4.3),
    "noisy inputs,\nread no map": (BOTH, 6.3),
}
ASKED = {
    "PixelFlipping": (0, 1),
    "Deletion": (0, 1),
    "FaithfulnessCorrelation": (2, 2),
    "MaxSensitivity": (3, 3),
}
"""The question of each metric, for Saliency and for IG."""
EVALUATIONS = {"the model": (BOTH, 2.5), "Saliency": (SALIENCY, 5.6), "IG": (IG, 6.9)}
ANSWERED = [(0, 0), (1, 0), (2, 0), (3, 1), (3, 2)]
"""(question, evaluation)."""


def colour_of(explainer: str) -> str:
    return SALIENCY if explainer == "Saliency" else IG


def box(
    axes: Axes, x: float, y: float, text: str, colour: str, width: float, height: float
) -> None:
    corner = (x - width / 2, y - height / 2)
    style = "round,pad=0.02,rounding_size=0.12"
    patch = FancyBboxPatch(
        corner, width, height, boxstyle=style, facecolor="white", edgecolor=colour, linewidth=1.4
    )
    axes.add_patch(patch)
    axes.text(x, y, text, ha="center", va="center", fontsize=8.5, color=INK, linespacing=1.25)


def line(axes: Axes, start: tuple[float, float], end: tuple[float, float], colour: str) -> None:
    arrow = {"arrowstyle": "-|>", "color": colour, "linewidth": 1, "shrinkA": 0, "shrinkB": 1}
    axes.annotate("", end, start, arrowprops=arrow)


def draw(file: Path) -> None:
    """Write the picture."""
    figure = Figure(figsize=(11, 6.2))
    axes = figure.subplots()
    axes.set_xlim(-0.7, 12.1)
    axes.set_ylim(8.6, -0.9)
    axes.axis("off")
    for name, x in COLUMNS.items():
        first, _, second = TITLES[name].partition("\n")
        axes.text(x, -0.65, first, ha="center", fontsize=11, color=INK, weight="bold")
        axes.text(x, -0.25, second, ha="center", fontsize=8.5, color="#666666")

    def row(i: int) -> float:
        return 0.4 + i * 0.95

    for i, (metric, explainer) in enumerate(CELLS):
        y, colour = row(i), colour_of(explainer)
        box(axes, COLUMNS["cells"], y, f"{metric}\nof {explainer}", colour, 2.7, 0.72)
        asked = ASKED[metric][explainer == "IG"]
        _, end = list(QUESTIONS.values())[asked]
        line(axes, (COLUMNS["cells"] + 1.38, y), (COLUMNS["questions"] - 1.15, end), colour)
        box(axes, COLUMNS["scores"], y, "score", colour, 1.0, 0.5)
        for q, e in ANSWERED:
            if q == asked and list(EVALUATIONS)[e] in ("the model", explainer):
                _, start = list(EVALUATIONS.values())[e]
                ends = (COLUMNS["evaluations"] + 0.78, start), (COLUMNS["scores"] - 0.53, y)
                line(axes, *ends, colour)
    for text, (colour, y) in QUESTIONS.items():
        box(axes, COLUMNS["questions"], y, text, colour, 2.2, 0.85)
    for text, (colour, y) in EVALUATIONS.items():
        box(axes, COLUMNS["evaluations"], y, text, colour, 1.5, 0.75)
    for q, e in ANSWERED:
        (colour, start), (_, end) = list(QUESTIONS.values())[q], list(EVALUATIONS.values())[e]
        ends = (COLUMNS["questions"] + 1.13, start), (COLUMNS["evaluations"] - 0.78, end)
        line(axes, *ends, colour)
    axes.text(
        5.7, 8.35,
        "8 cells, 4 questions, 3 compiled programs. An answer is measured for every metric that "
        "asked, and dropped.",
        ha="center", fontsize=9, color=INK,
    )  # fmt: skip
    metadata = {"Date": None} if file.suffix == ".svg" else None
    with matplotlib.rc_context({"svg.hashsalt": "jaxeval"}):
        figure.savefig(file, bbox_inches="tight", dpi=150, facecolor="white", metadata=metadata)


if __name__ == "__main__":
    draw(Path(sys.argv[1]) if len(sys.argv) > 1 else FILE)
