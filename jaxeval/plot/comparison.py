"""Comparisons of explainers: curves, radar, table of ranks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from ..results import Results, bootstrap_mean_ci, explainer_ranks, mean_and_std
from ..results.compare import ROUNDING
from ..results.stats import ARROWS
from .style import (
    FAINT,
    breadth,
    clean,
    fitted,
    legend,
    line_style,
    new_figure,
    wrap,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LUMINANCE = (0.2126, 0.7152, 0.0722)


def curves(
    results: Results,
    metric: str,
    x: ArrayLike | None = None,
    xlabel: str | None = None,
    ylabel: str | None = None,
) -> Figure:
    """The mean curve of each explainer under one metric, with a 95 % band.

    The band is the bootstrap interval of the mean over samples, as in `Results.summary`; for a
    share it stays between 0 and 1. The legend is ordered by mean score, the best first.

    Args:
      results: of an evaluation.
      metric: the name of a metric with curves.
      x: the S points of a curve on the x axis. Default: the fraction of features changed, if it
        follows from ``results.settings["metrics"][metric]``, else the step number from 1.
      xlabel: label of the x axis.
      ylabel: label of the y axis.

    Raises:
      ValueError: an unknown metric or one without curves, or an `x` whose shape is not [S].

    >>> from jaxeval.types import Outcome
    >>> scores = {("A", "m"): Outcome(score=np.ones(3), curve=np.ones((3, 5)))}
    >>> r = Results(scores, {"m": "lower"}, {"m": "f"}, np.arange(3), np.zeros(3, int))
    >>> curves(r, "m", xlabel="layer").axes[0].get_xlabel()
    'layer'
    """
    _known(results, [metric])
    found = {e: c for (e, m), c in results.curves.items() if m == metric}
    if not found:
        having = sorted({m for _, m in results.curves})
        raise ValueError(
            f"metric {metric!r} has no curve; "
            + (f"those that have one: {', '.join(map(repr, having))}" if having else "none has one")
        )
    direction = results.directions[metric]
    means = {e: float(mean_and_std(results[e, metric].score)[0]) for e in found}
    order = sorted(found, key=lambda e: _worst_last(means[e], direction))

    figure = new_figure(6.4, max(3.3, 0.9 + 0.19 * len(order)))
    axes = figure.add_subplot()
    handles, n_samples = {}, 0
    known_label = "step"
    for place, explainer in enumerate(results.explainers):
        if explainer not in found:
            continue
        curve = found[explainer]
        steps = curve.shape[1]
        if x is None:
            at, known_label = _steps(results, metric, steps)
        else:
            at = np.asarray(x, float)
        if at.shape != (steps,):
            raise ValueError(f"x must have the shape [{steps}] of the curves, got {at.shape}")
        mean, (low, high) = mean_and_std(curve)[0], bootstrap_mean_ci(curve)
        n_samples = max(n_samples, len(curve))
        style = line_style(place)
        axes.fill_between(at, low, high, color=style["color"], alpha=0.18, linewidth=0)
        apart = max(1, steps // 8)
        (handles[explainer],) = axes.plot(
            at,
            mean,
            label=explainer,
            # Staggered, so that markers of overlapping lines do not hide each other.
            markevery=(place * apart // max(1, len(results.explainers)), apart),
            **style,
        )
    clean(axes)
    axes.margins(x=0.02)
    if x is None and known_label == "step":
        axes.locator_params(axis="x", integer=True)
    axes.set_xlabel(xlabel or known_label, parse_math=False)
    axes.set_ylabel(ylabel or "mean curve, 95 % band", parse_math=False)
    axes.set_title(
        wrap(f"{metric} ({n_samples:,} samples)", 60),
        fontsize="medium",
        loc="left",
        parse_math=False,
    )
    legend(
        figure,
        [handles[e] for e in order],
        [f"{wrap(_named(results, e), 26)}  {means[e]:#.3g}" for e in order],
        f"mean score, {direction} is better",
    )
    return fitted(figure)


def _steps(results: Results, metric: str, steps: int) -> tuple[np.ndarray, str]:
    """The x positions of a curve's points and their label, from the metric's settings."""
    metrics = results.settings.get("metrics")
    fields = metrics.get(metric) if isinstance(metrics, dict) else None
    fields = fields if isinstance(fields, dict) else {}
    label = "fraction of features changed"
    if results.families[metric] == "faithfulness":
        n_steps, percentages = fields.get("n_steps"), fields.get("percentages")
        if isinstance(percentages, list) and len(percentages) == steps:
            return np.asarray(percentages, float) / 100, label
        if steps == n_steps:
            return np.arange(1, steps + 1) / steps, label
        if isinstance(n_steps, int) and steps == n_steps + 1:  # the clean sample comes first
            return np.arange(steps) / n_steps, label
    return np.arange(1.0, steps + 1), "step"


def _named(results: Results, explainer: str) -> str:
    """The explainer's name, with the shape of its maps if explainers have different features."""
    if len(results.feature_groups()) == 1:
        return explainer
    return f"{explainer} ({results._shape_text(explainer)})"


def _worst_last(mean: float, direction: str) -> tuple[bool, float]:
    return bool(np.isnan(mean)), -mean if direction == "higher" else mean


def _known(results: Results, metrics: Sequence[str]) -> None:
    if not results.outcomes:
        raise ValueError("the results hold no scores yet, so there is nothing to draw")
    if missing := [m for m in metrics if m not in results.metrics]:
        raise ValueError(
            f"no metric {missing[0]!r}; there are {', '.join(map(repr, results.metrics))}"
        )


def radar(
    results: Results,
    metrics: Sequence[str] | None = None,
    scale: Literal["rank", "mean"] = "rank",
    overlay: bool | None = None,
    mixed_features: bool = False,
) -> Figure:
    """Radar chart with one axis per metric; outward is better on every axis.

    Args:
      results: of an evaluation.
      metrics: the axes, at least three, in this order; default: all.
      scale: "rank" places an explainer by its rank (1 outermost, ties share), "mean" by its mean
        score between the worst (innermost) and the best mean of the metric.
      overlay: True: all explainers on one radar; False: one radar each, ordered by mean rank over
        the metrics shown. Default: one radar for up to four explainers.
      mixed_features: whether to compare explainers whose maps have different features. If not,
        each is placed only among those with the same features, with a warning, and an explainer
        without any such is not drawn.

    An undefined or infinite mean leaves a gap. If all explainers are equal, they lie halfway.

    Raises:
      ValueError: an unknown metric or scale, or fewer than three metrics.

    >>> from jaxeval.types import Outcome
    >>> scores = {("A", m): Outcome(score=np.ones(3)) for m in "xyz"}
    >>> higher = dict.fromkeys("xyz", "higher")
    >>> r = Results(scores, higher, higher, np.arange(3), np.zeros(3, int))
    >>> [text.get_text() for text in radar(r).axes[0].texts]
    ['x ↑', 'y ↑', 'z ↑']
    """
    metrics = list(results.metrics if metrics is None else metrics)
    _known(results, metrics)
    if len(metrics) < 3:
        raise ValueError(f"a radar needs at least 3 metrics, got {len(metrics)}")
    if scale not in ("rank", "mean"):
        raise ValueError(f'scale must be "rank" or "mean", got {scale!r}')
    explainers = results.explainers
    values = results.means()[metrics].to_numpy()
    directions = [results.directions[m] for m in metrics]
    groups = [explainers] if mixed_features else results.feature_groups()
    if len(groups) > 1:
        results._warn_of_mixture("each is placed among those with the same features only")
    outward, overall = np.full(values.shape, np.nan), np.full(len(values), np.nan)
    for group in groups:
        own = [explainers.index(e) for e in group]
        if len(own) > 1 or len(groups) == 1:
            outward[own] = _outward(values[own], directions, scale)
            overall[own] = mean_and_std(explainer_ranks(values[own], directions, ROUNDING).T)[0]
    place = {explainers.index(e): k for k, group in enumerate(groups) for e in group}
    order = sorted(place, key=lambda i: (place[i], *_worst_last(overall[i], "lower"), i))
    arrows = [ARROWS[d] for d in directions]
    named = [_named(results, explainers[i]) for i in order]
    ranked = [
        f"{wrap(name, 26)}  {'–' if np.isnan(overall[i]) else f'{overall[i]:.2f}'}"
        for name, i in zip(named, order, strict=True)
    ]

    if overlay is None:
        overlay = len(explainers) <= 4
    if overlay:
        names = [f"{wrap(m, 18)} {arrow}" for m, arrow in zip(metrics, arrows, strict=True)]
        title = "mean rank of these metrics"
        figure = new_figure(4.2 + 2 * breadth(names) + breadth([*ranked, title]), 4.6)
        axes = _spokes(figure.add_subplot(projection="polar"), names, "small")
        lines = [_polygon(axes, outward[i], i, explainers[i]) for i in order]
        legend(figure, lines, ranked, title)
    else:
        names = [f"{wrap(m, 48)} {arrow}" for m, arrow in zip(metrics, arrows, strict=True)]
        columns = min(4, len(explainers))
        rows = -(-len(explainers) // columns)
        figure = new_figure(
            2.2 * columns + breadth(names) + 0.5, max(2.4 * rows, 0.19 * len(names) + 0.6) + 0.3
        )
        figure.get_layout_engine().set(w_pad=0.12)  # pyright: ignore
        grid = figure.subplots(rows, columns, squeeze=False, subplot_kw={"projection": "polar"})
        for axes, i, title in zip(grid.flat, order, ranked, strict=False):
            _spokes(axes, [str(k + 1) for k in range(len(names))], "x-small")
            line = _polygon(axes, outward[i], i, explainers[i])
            axes.fill(*line.get_data(), color=line.get_color(), alpha=0.25, linewidth=0)
            axes.set_title(title, fontsize="small", pad=16, parse_math=False)
        for axes in grid.flat[len(order) :]:
            axes.remove()
        numbered = [f"{k + 1}  {name}" for k, name in enumerate(names)]
        unseen = [grid.flat[0].plot([], [], linestyle="none")[0] for _ in names]
        legend(figure, unseen, numbered, "metrics", length=0)
    alike = "" if len(groups) == 1 else ", among maps with the same features"
    caption = (
        "outward is better: "
        + (
            f"rank by mean score, from {max(map(len, groups))} (innermost) to 1 (outermost)"
            if scale == "rank"
            else "mean score, from the worst explainer (innermost) to the best (outermost)"
        )
        + alike
        + ("" if overlay else "; numbers above: mean rank")
    )
    figure.supxlabel(wrap(caption, int(11 * figure.get_figwidth())), fontsize="small")
    return fitted(figure)


def _spokes(axes: Any, names: Sequence[str], size: str) -> Any:
    """Polar axes with one named spoke per metric, the first upwards, then clockwise."""
    axes.set_theta_zero_location("N")
    axes.set_theta_direction(-1)
    axes.set_ylim(0, 1)
    axes.set_rorigin(-0.18)  # the worst lie on a ring, not in one point, so that they stay apart
    angles = np.linspace(0, 2 * np.pi, len(names), endpoint=False)
    axes.set_xticks(angles, [""] * len(names))
    axes.set_yticks([0, 0.5, 1], [""] * 3)
    axes.grid(color=FAINT, linewidth=0.7)
    axes.spines[:].set(edgecolor=FAINT, linewidth=0.7)
    for angle, name in zip(angles, names, strict=True):
        side, up = np.sin(angle), np.cos(angle)
        axes.text(
            angle,
            1.12,
            name,
            ha="center" if abs(side) < 0.1 else "left" if side > 0 else "right",
            va="center" if abs(up) < 0.9 else "bottom" if up > 0 else "top",
            fontsize=size,
            parse_math=False,
        )
    return axes


def _polygon(axes: Any, outward: np.ndarray, place: int, name: str) -> Any:
    angles = np.linspace(0, 2 * np.pi, len(outward) + 1)
    (line,) = axes.plot(angles, np.append(outward, outward[0]), label=name, **line_style(place))
    line.set_clip_on(False)
    return line


def _outward(values: np.ndarray, directions: Sequence[str], scale: str) -> np.ndarray:
    """Mean scores [E, M] as radii from 0 (worst) to 1 (best); NaN where undefined."""
    if scale == "rank":
        last = max(len(values), 2)
        return (last - explainer_ranks(values, directions, ROUNDING)) / (last - 1)
    good = values * [1 if d == "higher" else -1 for d in directions]
    good = np.where(np.isfinite(good), good, np.nan)
    worst, best = np.fmin.reduce(good), np.fmax.reduce(good)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(best > worst, (good - worst) / (best - worst), good - worst + 0.5)


def ranks(results: Results, mixed_features: bool = False) -> Figure:
    """A table of ranks, explainers x metrics, 1 for the best, and the mean rank.

    Rows are sorted by mean rank, the best first; ties share their average rank; a dash marks an
    undefined mean. The arrow of a metric shows which direction is better.

    Args:
      results: of an evaluation.
      mixed_features: as for `Results.ranking`.

    Raises:
      ValueError: no scores yet.

    >>> from jaxeval.types import Outcome
    >>> scores = {("A", "m"): Outcome(score=np.ones(3)), ("B", "m"): Outcome(score=np.zeros(3))}
    >>> r = Results(scores, {"m": "lower"}, {"m": "f"}, np.arange(3), np.zeros(3, int))
    >>> [label.get_text() for label in ranks(r).axes[0].get_yticklabels()]
    ['B', 'A']
    """
    _known(results, results.metrics)
    table = results.ranking(mixed_features)
    n_rows, n_columns = len(table), len(results.metrics)
    last = max(n_rows, 2)

    names = [f"{wrap(m, 60)} {ARROWS[results.directions[m]]}" for m in results.metrics]
    explainers = [wrap(_named(results, e), 26) for e in table.index]
    lines = max(1 + name.count("\n") for name in explainers)
    figure = new_figure(
        breadth(explainers) + 0.46 * (n_columns + 2) + 0.7 * breadth(names[-1:]),
        0.7 * breadth(names) + max(0.34, 0.19 * lines) * n_rows + 0.6,
    )
    axes = figure.add_subplot()
    axes.set_facecolor("white")
    places = [*range(n_columns), n_columns + 0.6]
    for columns, left, right in (
        (table[list(results.metrics)], -0.5, n_columns - 0.5),
        (table[["mean rank"]], n_columns - 0.1, n_columns + 1.3),
    ):
        values = np.ma.masked_invalid(columns.to_numpy())
        drawn = axes.imshow(
            values,
            cmap="Blues_r",
            vmin=1,
            vmax=1.35 * last,  # keeps the lightest colour darker than the page
            aspect="auto",
            extent=(left, right, n_rows - 0.5, -0.5),
        )
        mean = columns.shape[1] == 1 and left > 0
        for (row, column), value in np.ndenumerate(columns.to_numpy()):
            undefined = np.isnan(value)
            shade = np.dot(drawn.to_rgba(value)[:3], LUMINANCE)  # pyright: ignore
            axes.text(
                places[-1] if mean else column,
                row,
                "–" if undefined else f"{value:.2f}" if mean else f"{value:g}",
                ha="center",
                va="center",
                fontsize="small",
                color="white" if not undefined and shade < 0.55 else "#222222",
                fontweight="bold" if mean else "normal",
            )
    axes.set_xlim(-0.5, n_columns + 1.3)
    axes.set_xticks(
        places,
        [*names, "mean rank"],
        rotation=40,
        ha="left",
        rotation_mode="anchor",
        fontsize="small",
        parse_math=False,
    )
    axes.xaxis.tick_top()
    axes.set_yticks(range(n_rows), explainers, parse_math=False)
    axes.vlines(np.arange(n_columns + 1) - 0.5, -0.5, n_rows - 0.5, color="white", linewidth=2)
    axes.hlines(np.arange(n_rows + 1) - 0.5, -0.5, n_columns + 1.3, color="white", linewidth=2)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    alike = ", among maps with the same features" if "features" in table else ""
    caption = f"rank by mean score over {len(results.index):,} samples, 1 is best{alike}"
    figure.supxlabel(wrap(caption, int(11 * figure.get_figwidth())), fontsize="small")
    return fitted(figure)
