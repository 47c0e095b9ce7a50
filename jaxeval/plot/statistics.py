"""Plots of statistics: which explainers differ, which metrics agree, how stable rankings are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..results import Friedman, Results
from ..results.stats import ARROWS
from ..shown import count
from .comparison import LUMINANCE, _known
from .style import breadth, fitted, legend, new_figure, wrap

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

DARK = "#222222"


def critical_difference(
    results: Results | Friedman,
    metric: str | None = None,
    alpha: float = 0.05,
    width: float = 6.4,
    mixed_features: bool = False,
) -> Figure:
    """Critical-difference diagram: explainers on an axis of mean ranks, 1 is best.

    A bar joins explainers whose mean ranks do not differ significantly (Nemenyi's test); the
    length of the bar above the axis is the critical difference.

    Args:
      results: of an evaluation, or the result of `Results.friedman`.
      metric: the metric whose samples rank the explainers; None: the metrics rank them.
      alpha: familywise error rate.
      width: minimum width of the figure in inches; long names make it wider.
      mixed_features: as for `Results.friedman`.

    Raises:
      ValueError: an unknown metric, fewer than two explainers, or no block that ranks them all.

    Reference: Demšar 2006, "Statistical comparisons of classifiers over multiple data sets".

    >>> from jaxeval.types import Outcome
    >>> scores = {(e, "m"): Outcome(score=np.full(30, i)) for i, e in enumerate("AB")}
    >>> r = Results(scores, {"m": "lower"}, {"m": "f"}, np.arange(30), np.zeros(30, int))
    >>> [text.get_text() for text in critical_difference(r, "m").axes[0].texts][-2:]
    ['A  1.00', 'B  2.00']
    """
    if isinstance(results, Friedman):
        found = results
    else:
        _known(results, [] if metric is None else [metric])
        found = results.friedman(metric, alpha, mixed_features)
    if not found.n:
        raise ValueError(f"none of the {found.blocks} ranks every explainer")
    ranks, k = found.ranks.to_numpy(), len(found.ranks)
    half = (k + 1) // 2  # the best ones are named on the left
    letters = 26 if width >= 5 else 13
    labels = [f"{wrap(str(e), letters)}  {r:.2f}" for e, r in found.ranks.items()]
    place = dict(zip(found.ranks.index, ranks.tolist(), strict=True))
    groups = _levels([(place[g[0]], place[g[-1]]) for g in found.groups()])
    n_levels = 1 + max((level for *_, level in groups), default=-1)

    lines = max(1 + label.count("\n") for label in labels)
    step, gap = 0.1 + 0.14 * lines, 0.13  # inches between names, and between bars
    below = 0.2 + gap * n_levels
    room = breadth(labels) + 0.25
    figure = new_figure(
        max(width, 2 * room + (1.6 if width >= 5 else 1.0)),
        1.4 + below + step * half,
        layout="constrained",
    )
    axes = figure.add_subplot()
    axes.set_axis_off()
    inner = figure.get_figwidth() - 2 * room
    per_inch = (k - 1) / inner
    left, right = 1 - room * per_inch, k + room * per_inch
    axes.set_xlim(left, right)
    axes.set_ylim(below + step * half, -0.75)  # inches downwards from the axis

    line: Any = {"color": DARK, "linewidth": 1.0, "solid_capstyle": "butt", "clip_on": False}
    axes.plot([1, k], [0, 0], **line)
    apart = max(1, int(np.ceil(0.22 * per_inch)))
    for tick in range(1, k + 1):
        named = (tick - 1) % apart == 0
        axes.plot([tick, tick], [0, -0.09 if named else -0.05], **line)
        if named:
            axes.text(tick, -0.12, f"{tick}", ha="center", va="bottom", fontsize="small")
    if found.critical_difference < k - 1:
        cd = found.critical_difference
        axes.plot([1, 1 + cd], [-0.42, -0.42], **line)
        for end in (1, 1 + cd):
            axes.plot([end, end], [-0.46, -0.38], **line)
        axes.text(
            1, -0.5, f"critical difference {cd:.2f}", ha="left", va="bottom", fontsize="small"
        )
    else:
        axes.text(
            1,
            -0.42,
            f"critical difference {found.critical_difference:.2f}: wider than the axis",
            ha="left",
            va="bottom",
            fontsize="small",
        )
    for low, high, level in groups:
        y, over = 0.12 + gap * level, 0.06 * per_inch
        axes.plot([low - over, high + over], [y, y], **{**line, "linewidth": 4.0})
    for place, (rank, label) in enumerate(zip(ranks, labels, strict=True)):
        first = place < half
        row = place if first else k - 1 - place
        y = below + step * (row + 0.5)
        end = 1 - 0.12 * per_inch if first else k + 0.12 * per_inch
        axes.plot([rank, rank, end], [0, y, y], **{**line, "linewidth": 0.8})
        axes.text(
            end - 0.05 * per_inch if first else end + 0.05 * per_inch,
            y,
            label,
            ha="right" if first else "left",
            va="center",
            fontsize="small",
            parse_math=False,
        )
    over = count(found.n, found.blocks[:-1]) + ("" if found.metric is None else f", {found.metric}")
    out = found.left_out_text()
    lines = [
        f"mean rank over {over}; 1 is best",
        f"bars: no significant difference (Nemenyi, α = {found.alpha:g})",
        *([f"left out: {out}"] if out else []),
    ]
    letters = int(11 * figure.get_figwidth())
    caption = "\n".join(wrap(line, letters) for line in lines)
    figure.set_figheight(figure.get_figheight() + 0.16 * (caption.count("\n") - 1))
    figure.supxlabel(caption, fontsize="small", parse_math=False)
    return fitted(figure)


def _levels(spans: Sequence[tuple[float, float]]) -> list[tuple[float, float, int]]:
    """Assign each span the first level without overlap; spans are sorted by their start."""
    ends: list[float] = []
    placed = []
    for low, high in spans:
        level = next((i for i, end in enumerate(ends) if end < low), len(ends))
        ends[level : level + 1] = [high]
        placed.append((low, high, level))
    return placed


def correlation(
    results: Results | pd.DataFrame,
    metrics: Sequence[str] | None = None,
    over: str = "explainers",
    width: float | None = None,
) -> Figure:
    """A heat map of the rank correlations between metrics: red is positive, blue negative.

    Args:
      results: of an evaluation, or the data frame from `Results.correlations`.
      metrics: names, in this order; default: all.
      over: as for `Results.correlations`.
      width: approximate width in inches; default: fitted to the numbers. If given, names are
        wrapped, and a cell is at least as high as its name.

    Raises:
      ValueError: unknown metrics, or no scores yet.

    >>> from jaxeval.types import Outcome
    >>> scores = {(e, m): Outcome(score=np.full(3, i)) for i, e in enumerate("AB") for m in "xy"}
    >>> both = dict.fromkeys("xy", "lower")
    >>> r = Results(scores, both, both, np.arange(3), np.zeros(3, int))
    >>> correlation(r).axes[0].images[0].get_array().tolist()
    [[1.0, 1.0], [1.0, 1.0]]
    """
    if isinstance(results, Results):
        _known(results, metrics or [])
        table = results.correlations(metrics, over)
        names = [f"{m} {ARROWS[results.directions[m]]}" for m in table.index]
    else:
        table = results if metrics is None else results.loc[list(metrics), list(metrics)]
        names = [str(m) for m in table.index]
    n = len(names)
    # Columns are numbered: names above them would take more space than the map itself.
    rows = [
        f"{wrap(name, 99 if width is None else 20)}  {i}" for i, name in enumerate(names, start=1)
    ]
    lines = max(row.count("\n") + 1 for row in rows)
    cell = 0.44 if width is None else max(0.15 * lines, (width - breadth(rows) - 1.0) / n)
    figure = new_figure(breadth(rows) + cell * n + 1.0, cell * n + 0.45)
    axes = figure.add_subplot()
    drawn = axes.imshow(
        np.ma.masked_invalid(table.to_numpy()), cmap="RdBu_r", vmin=-1, vmax=1, aspect="equal"
    )
    axes.set_facecolor("#eeeeee")
    if cell >= 0.34:
        for (row, column), value in np.ndenumerate(table.to_numpy()):
            undefined = np.isnan(value)
            shade = np.dot(drawn.to_rgba(value)[:3], LUMINANCE)  # pyright: ignore
            axes.text(
                column,
                row,
                "–" if undefined else f"{value:.2f}".replace("-", "−").replace("−0.00", "0.00"),
                ha="center",
                va="center",
                fontsize="x-small",
                color="white" if not undefined and shade < 0.45 else DARK,
            )
    axes.set_xticks(range(n), [f"{i + 1}" for i in range(n)], fontsize="small")
    axes.xaxis.tick_top()
    axes.set_yticks(range(n), rows, fontsize="small", parse_math=False)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    bar = figure.colorbar(drawn, ax=axes, shrink=0.8, aspect=18, ticks=[-1, 0, 1], pad=0.02)
    bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]
    bar.ax.tick_params(labelsize="x-small", length=2)
    bar.set_label("Spearman's ρ", fontsize="x-small")
    return fitted(figure)


def rank_stability(
    results: Results | pd.DataFrame,
    group: str | None = None,
    level: str = "mean",
    width: float = 6.4,
) -> Figure:
    """Stacked bars: how often each explainer holds each rank over the settings of a metric.

    If settings do not matter, each bar has a single colour, that of the square before it
    ("expected"); other colours ("reality") show how much the ranking depends on the settings.
    Explainers are in the order of their mean rank.

    Args:
      results: of an evaluation, or the data frame from `Results.rank_stability`.
      group: the metric; required if several have settings.
      level: as for `Results.rank_stability`.
      width: width of the figure in inches.

    Raises:
      ValueError: no metric with several settings, or an unknown or missing group.

    >>> from jaxeval.types import Outcome
    >>> scores = {(e, m): Outcome(score=np.full(3, i)) for i, e in enumerate("AB") for m in "xy"}
    >>> both = dict.fromkeys("xy", "lower")
    >>> r = Results(scores, both, both, np.arange(3), np.zeros(3, int))
    >>> figure = rank_stability(r.rank_stability({"flipping": ["x", "y"]}))
    >>> [text.get_text() for text in figure.axes[0].get_yticklabels()]
    ['A', 'B']
    """
    table = results.rank_stability(level=level) if isinstance(results, Results) else results
    groups = list(dict.fromkeys(table.index.get_level_values(0)))
    if group is None and len(groups) == 1:
        group = groups[0]
    if group not in groups:
        said = "say which group" if group is None else f"no group {group!r}"
        raise ValueError(f"{said}; there are {', '.join(map(repr, groups))}")
    own = table.loc[group].sort_values("mean rank", kind="stable")
    n = len(own)
    shares = own[list(range(1, n + 1))].to_numpy(float)
    names = [wrap(str(e), 26) for e in own.index]

    row = max(0.34, 0.16 * max(1 + name.count("\n") for name in names))
    figure = new_figure(max(width, 2.6 + breadth(names)), max(1.9, 1.1 + row * n))
    axes = figure.add_subplot()
    from matplotlib import colormaps

    palette = colormaps["viridis"](np.linspace(0.02, 0.98, n))
    left = np.zeros(n)
    handles = []
    style: Any = {"height": 0.78, "edgecolor": "white", "linewidth": 0.6}
    for place in range(n):
        axes.barh(place, 0.07, left=-0.1, color=palette[place], **style)
        share = np.nan_to_num(shares[:, place])
        bars = axes.barh(
            range(n),
            share,
            left=left,
            color=palette[place],
            **style,
        )
        handles.append(bars)
        dark = np.dot(palette[place][:3], LUMINANCE) < 0.45
        for row in np.flatnonzero(share >= 0.09).tolist():
            axes.text(
                left[row] + share[row] / 2, row, f"{place + 1}",
                ha="center", va="center", fontsize="x-small", color="white" if dark else DARK,
            )  # fmt: skip
        left += share
    for row in np.flatnonzero(np.isnan(shares).all(axis=1)).tolist():
        axes.text(0.01, row, "–", va="center", fontsize="small")
    axes.set_yticks(range(n), names, fontsize="small", parse_math=False)
    axes.invert_yaxis()
    axes.set_xlim(-0.1, 1)
    axes.set_xticks([0, 0.5, 1], ["0", "50 %", "100 %"])
    axes.text(-0.1, -0.62, "expected", fontsize="x-small", va="bottom")
    axes.text(0.5, -0.62, "reality", fontsize="x-small", ha="center", va="bottom")
    axes.tick_params(labelsize="small", length=0)
    axes.spines[:].set_visible(False)
    axes.set_xlabel(f"share of {int(own['n'].max()):,} rankings", fontsize="small")
    axes.set_title(wrap(str(group), 60), fontsize="medium", loc="left", pad=14, parse_math=False)
    legend(figure, handles, [str(i + 1) for i in range(n)], "rank", length=1.0)
    return fitted(figure)
