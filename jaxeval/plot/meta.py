"""Plots of meta-evaluations: which metrics withstand and react to perturbations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..results import bootstrap_mean_ci, row_ranks
from ..results.stats import ARROWS
from .comparison import LUMINANCE
from .statistics import DARK
from .style import FAINT, breadth, clean, fitted, legend, line_style, new_figure, wrap

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from ..meta import MetaResults

CORNERS = {"IAC_AR": (-1, 0), "IAC_NR": (0, 1), "IEC_AR": (1, 0), "IEC_NR": (0, -1)}
"""The direction of each criterion in the area plot: left, up, right, down."""
CHANCE = ("tau", "agree", "react", "abs_react", "recovery", "alpha")
"""Measures between -1 and 1 that are 0 by chance."""
SHOWN = ("IAC_NR", "IAC_AR", "IEC_NR", "IEC_AR", "MC", *CHANCE)
LEAST = 0.35
"""Inches of a cell of the heat map."""


def meta_area(meta: MetaResults, metric: str, tests: Sequence[str] | None = None) -> Figure:
    """The four criteria of MetaQuantus as a rhombus: one for each test, larger is better.

    IAC_AR is left, IAC_NR up, IEC_AR right and IEC_NR down, from 0 in the middle to 1 at the edge.
    The dashed rhombus is that of a metric with constant scores, which has MC 0.5 without measuring
    anything.

    Args:
      meta: from `meta_evaluate`.
      metric: its name; controls have one, too.
      tests: names of `ModelNoise` and `InputNoise` tests; default: all.

    Raises:
      ValueError: an unknown metric or test, or no test with these criteria.
    """
    _known(meta, [metric])
    table: Any = meta.table()
    table = table[(table["metric"] == metric) & table["IAC_NR"].notna()]
    if tests is not None:
        if unknown := [t for t in tests if t not in meta.tests]:
            raise ValueError(
                f"no test {unknown[0]!r}; there are {', '.join(map(repr, meta.tests))}"
            )
        table = table[table["test"].isin(tests)]
    if not len(table):
        why = "; ".join(sorted({v for (m, _), v in meta.reasons.items() if m == metric}))
        raise ValueError(
            f"metric {metric!r} has no criteria of noise resilience and adversary reactivity"
            + (f": {why}" if why else ": they need ModelNoise or InputNoise among the tests")
        )
    figure = new_figure(3.7 * len(table) + 0.1, 3.9)
    grid = figure.subplots(1, len(table), squeeze=False)[0]
    for place, (axes, row) in enumerate(zip(grid, table.itertuples(), strict=True)):
        for size in (0.25, 0.5, 0.75, 1.0):
            axes.plot(*_rhombus(dict.fromkeys(CORNERS, size)), color=FAINT, linewidth=0.7)
        constant = {"IAC_AR": 0.0, "IAC_NR": 1.0, "IEC_AR": 0.0, "IEC_NR": 1.0}
        axes.plot(*_rhombus(constant), color="#888888", linewidth=1.0, linestyle="--")
        colour = line_style(place)["color"]
        own = {name: getattr(row, name) for name in CORNERS}
        shape = _rhombus(own)
        axes.fill(*shape, color=colour, alpha=0.3, linewidth=0)
        axes.plot(*shape, color=colour, linewidth=1.5, marker="o", markersize=3.5)
        for name, (x, y) in CORNERS.items():
            axes.text(
                1.06 * x, 1.06 * y, f"{name}  {own[name]:.2f}\n{_corner(name)}", fontsize="x-small",
                ha={-1: "right", 0: "center", 1: "left"}[x],
                va={-1: "top", 0: "center", 1: "bottom"}[y],
            )  # fmt: skip
        axes.set_title(
            f"{wrap(str(row.test), 24)}\nMC {row.MC:.2f} ± {row.MC_std:.2f}", fontsize="small",
            parse_math=False,
        )  # fmt: skip
        axes.set_aspect("equal")
        axes.set_axis_off()
        axes.set_xlim(-1.85, 1.85)
        axes.set_ylim(-1.4, 1.4)
    figure.suptitle(wrap(_arrowed(meta, metric), 50), fontsize="medium", parse_math=False)
    figure.supxlabel("dashed: a metric with constant scores, MC 0.50", fontsize="x-small")
    return fitted(figure)


def _rhombus(values: dict[str, float]) -> tuple[list[float], list[float]]:
    points = [(values[n] * x, values[n] * y) for n, (x, y) in CORNERS.items()]
    points.append(points[0])
    x, y = zip(*points, strict=True)
    return list(x), list(y)


def _corner(name: str) -> str:
    """What a criterion says, in two words."""
    if name.endswith("NR"):
        return {"IAC": "scores stay", "IEC": "ranking stays"}[name[:3]]
    return {"IAC": "scores move", "IEC": "scores worsen"}[name[:3]]


def meta_heat(
    meta: MetaResults, measures: Sequence[str] = SHOWN, metrics: Sequence[str] | None = None
) -> Figure:
    """A heat map of metrics and measures, each averaged over the tests that define it.

    The criteria of MetaQuantus are green from 0.5, what a constant metric has, to 1; the other
    measures are red above and blue below 0, which is chance. Controls are below the line. A dash is
    a measure that no test defines.

    Args:
      meta: from `meta_evaluate`.
      measures: columns of `MetaResults.means`.
      metrics: names, in this order; default: all, the controls last.

    Raises:
      ValueError: an unknown metric or measure.
    """
    _known(meta, metrics or [])
    means = meta.means()
    if unknown := [m for m in measures if m not in means.columns]:
        raise ValueError(
            f"no measure {unknown[0]!r}; there are {', '.join(map(repr, means.columns))}"
        )
    chosen = list(meta.metrics if metrics is None else metrics)
    values = means.loc[chosen, list(measures)].to_numpy(float)
    rows = [wrap(_arrowed(meta, m), 30) for m in chosen]
    lines = max(1 + r.count("\n") for r in rows)
    height = max(LEAST, 0.17 * lines)
    figure = new_figure(breadth(rows) + 0.62 * len(measures) + 0.5, height * len(rows) + 1.0)
    axes = figure.add_subplot()
    from matplotlib import colormaps

    around, above = colormaps["RdBu_r"], colormaps["Greens"]
    for (i, j), value in np.ndenumerate(values):
        if np.isnan(value):
            shade: Any = "#eeeeee"
        elif measures[j] in CHANCE or measures[j] == "noise":
            shade = around((value + 1) / 2)
        elif measures[j] in ("MC_std", "effect"):
            shade = "white"
        else:
            shade = above(0.85 * max(0.0, 2 * value - 1))
        axes.fill_between([j - 0.5, j + 0.5], i - 0.5, i + 0.5, color=shade, linewidth=0)
        light = not isinstance(shade, str) and np.dot(shade[:3], LUMINANCE) < 0.45
        text = "–" if np.isnan(value) else f"{value:.2f}".replace("-", "−").replace("−0.00", "0.00")
        axes.text(
            j, i, text, ha="center", va="center", fontsize="x-small",
            color="white" if light else DARK,
        )  # fmt: skip
    first = next((i for i, m in enumerate(chosen) if m in meta.controls), None)
    if first:
        axes.axhline(first - 0.5, color=DARK, linewidth=1.0)
    axes.set_xlim(-0.5, len(measures) - 0.5)
    axes.set_ylim(len(chosen) - 0.5, -0.5)
    axes.set_xticks(range(len(measures)), list(measures), fontsize="small")
    axes.xaxis.tick_top()
    axes.set_yticks(range(len(rows)), rows, fontsize="small", parse_math=False)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    figure.supxlabel(
        "left: criteria of MetaQuantus, a constant metric has MC 0.50; right: 0 is chance",
        fontsize="x-small",
    )
    return fitted(figure)


def meta_recovery(
    meta: MetaResults, test: str | None = None, metrics: Sequence[str] | None = None
) -> Figure:
    """How the quality that each metric sees falls as its maps are permuted.

    For each sample, explainer and perturbation, the scores at all levels of noise are ranked, from
    0 for the worst to 1 for the best. The line is the mean, the band its 95 % bootstrap interval
    over samples. A metric that sees the noise falls from 1 to 0; one that does not lies at 0.5.

    Args:
      meta: from `meta_evaluate`, with a `MapNoise`.
      test: its name, if there are several.
      metrics: names; default: all that the test can move.

    Raises:
      ValueError: no `MapNoise`, an unknown name, or a metric that the test cannot move.
    """
    _known(meta, metrics or [])
    having = [t for t in meta.tests if meta.levels(t) is not None]
    if test is None and having:
        test = having[0]
    if test not in having:
        raise ValueError(
            "recovery curves need a MapNoise: "
            + (f"there are {', '.join(map(repr, having))}" if having else "no test is one")
        )
    found = {m: meta.tested(m, test) for m in meta.metrics if (m, test, "levels") in meta.scores}
    if left := [m for m in metrics or () if m not in found]:
        raise ValueError(f"metric {left[0]!r} and {test!r}: {meta.reasons[left[0], test]}")
    chosen = list(found if metrics is None else metrics)
    figure = new_figure(6.4, max(3.3, 0.9 + 0.19 * len(chosen)))
    axes = figure.add_subplot()
    recovery = meta.table().set_index(["metric", "test"])["recovery"]
    handles = {}
    for place, m in enumerate(chosen):
        own = found[m]
        assert own.noisy is not None
        assert own.levels is not None
        quality = np.moveaxis(own.noisy, 1, -1) * (1 if own.direction == "higher" else -1)
        shares = (row_ranks(quality) - 1) / (len(own.levels) - 1)  # [P, L, N, T]
        by_sample = shares.mean((0, 1))
        low, high = bootstrap_mean_ci(by_sample)
        style = line_style(place)
        if m in meta.controls:
            style |= {"color": "#888888", "linestyle": (0, (4, 2))}
        axes.fill_between(own.levels, low, high, color=style["color"], alpha=0.15, linewidth=0)
        (handles[m],) = axes.plot(own.levels, np.nanmean(by_sample, 0), **style)
    clean(axes)
    axes.set_ylim(-0.03, 1.03)
    axes.set_xlabel("share of the map that is permuted")
    axes.set_ylabel("rank of the score among all levels, 1 is best")
    order = sorted(chosen, key=lambda m: -np.nan_to_num(recovery[m, test], nan=-2))
    legend(
        figure,
        [handles[m] for m in order],
        [f"{wrap(m, 26)}  {recovery[m, test]:.2f}".replace(" -", " −") for m in order],
        "recovery",
    )
    return fitted(figure)


def meta_retest(table: pd.DataFrame, reliability: float = 0.9) -> Figure:
    """The reliability of each metric by its number of random draws.

    Args:
      table: from `MetaResults.retest`.
      reliability: where to draw the line of what is enough.
    """
    if not len(table):
        raise ValueError("the table is empty: none of the metrics has a number of random draws")
    metrics = list(dict.fromkeys(table["metric"]))
    figure = new_figure(6.4, max(3.3, 0.9 + 0.19 * len(metrics)))
    axes = figure.add_subplot()
    handles, labels = [], []
    for place, m in enumerate(metrics):
        own: Any = table[table["metric"] == m]
        handles += axes.plot(own["draws"], own["reliability"], **line_style(place))
        needed = own["enough"].iloc[0]
        labels.append(f"{wrap(m, 26)}  " + ("–" if np.isnan(needed) else f"{needed:,.0f}"))
    axes.axhline(reliability, color="#888888", linewidth=0.8, linestyle="--")
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter("{x:.0f}")
    clean(axes)
    axes.set_ylim(top=1.02)
    axes.set_xlabel("random draws per score")
    axes.set_ylabel("reliability (ICC of repetitions)")
    legend(figure, handles, labels, f"draws for {reliability:g}")
    return fitted(figure)


def _arrowed(meta: MetaResults, metric: str) -> str:
    return metric if metric in meta.controls else f"{metric} {ARROWS[meta.directions[metric]]}"


def _known(meta: MetaResults, metrics: Sequence[str]) -> None:
    if missing := [m for m in metrics if m not in meta.metrics]:
        raise ValueError(
            f"no metric {missing[0]!r}; there are {', '.join(map(repr, meta.metrics))}"
        )
