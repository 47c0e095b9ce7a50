"""Similarity curves of parameter randomisation tests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..ops import SIMILARITIES
from ..results import Results, mean_and_std
from .comparison import _known, _named, _worst_last
from .style import breadth, clean, fitted, legend, line_style, new_figure, wrap

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ORDERS = {
    "top_down": "layers randomised one after the other, from the output",
    "bottom_up": "layers randomised one after the other, from the input",
    "independent": "layer randomised, the others as trained",
}


def randomisation(results: Results, metric: str, ylabel: str | None = None) -> Figure:
    """The similarity of each explainer's maps to the clean ones, layer by layer.

    The line is the mean over samples (and seeds), the band one standard deviation to either side,
    over all values of all samples and seeds. For built-in similarities the band is clipped to
    [-1, 1]. Layers are in the order of randomisation, from left to right. The legend is ordered by
    mean score, the best first.

    Args:
      results: of an evaluation with `MPRT` or `SmoothMPRT`.
      metric: its name in `results`.
      ylabel: label of the y axis; default: the kind of similarity.

    Raises:
      ValueError: an unknown metric, or one without a curve over named layers.

    >>> from jaxeval.types import Outcome
    >>> scores = {("A", "m"): Outcome(score=np.ones(3), curve=np.ones((3, 2)))}
    >>> given = {"points": {"m": ["dense", "conv"]}}
    >>> lower, ids = {"m": "lower"}, np.arange(3)
    >>> r = Results(scores, lower, {"m": "randomisation"}, ids, ids, settings=given)
    >>> [t.get_text() for t in randomisation(r, "m").axes[0].get_xticklabels()]
    ['dense', 'conv']
    """
    _known(results, [metric])
    layers = results.points.get(metric)
    found = {e: o for (e, m), o in results.outcomes.items() if m == metric and o.curve is not None}
    if not layers or not found:
        having = ", ".join(map(repr, results.points))
        raise ValueError(
            f"metric {metric!r} has no curve over layers; "
            + (f"those that have one: {having}" if having else "none has one")
        )
    direction, settings = results.directions[metric], _settings(results, metric)
    means = {e: float(mean_and_std(o.score)[0]) for e, o in found.items()}
    order = sorted(found, key=lambda e: _worst_last(means[e], direction))

    upright = max(map(len, layers)) <= 8 and len(layers) <= 8
    below = 0.2 if upright else 0.6 * breadth(layers)
    figure = new_figure(
        max(6.4, 2.6 + 0.42 * len(layers)), max(3.3, 0.9 + 0.19 * len(order)) + below
    )
    axes = figure.add_subplot()
    handles, n_samples = {}, 0
    # Lines are shifted slightly, so that overlapping ones do not hide each other.
    apart = np.linspace(-0.12, 0.12, len(results.explainers)) if len(found) > 1 else [0.0]
    for place, explainer in enumerate(results.explainers):
        if explainer not in found:
            continue
        mean, deviation = _spread(found[explainer])
        low, high = mean - deviation, mean + deviation
        bounded = settings.get("similarity") in SIMILARITIES
        if bounded and not (np.abs(found[explainer].curve) > 1).any():
            low, high = np.maximum(low, -1), np.minimum(high, 1)
        at = np.arange(len(layers)) + apart[place % len(apart)]
        style = line_style(place)
        axes.fill_between(
            at,
            low,
            high,
            color=style["color"],
            alpha=0.14,
            linewidth=0,
        )
        (handles[explainer],) = axes.plot(at, mean, label=explainer, **style)
        n_samples = max(n_samples, len(found[explainer].score))
    clean(axes)
    axes.margins(x=0.03)
    axes.axhline(0, color="#888888", linewidth=0.8, zorder=0.9)
    turned: Any = {} if upright else {"rotation": 40, "ha": "right", "rotation_mode": "anchor"}
    axes.set_xticks(
        range(len(layers)), layers, fontsize="small" if upright else "x-small", parse_math=False,
        **turned,
    )  # fmt: skip
    axes.set_xlabel(ORDERS.get(str(settings.get("order")), "layer"))
    kind = settings.get("similarity")
    kind = f"{kind} similarity" if isinstance(kind, str) else "similarity"
    axes.set_ylabel(ylabel or f"{kind} to the clean map", parse_math=False)
    seeds = settings.get("n_seeds")
    several = f", {seeds} seeds" if isinstance(seeds, int) and seeds > 1 else ""
    axes.set_title(
        wrap(f"{metric} ({n_samples:,} samples{several}; band: ± 1 standard deviation)", 64),
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


def _settings(results: Results, metric: str) -> dict[str, Any]:
    metrics = results.settings.get("metrics")
    fields = metrics.get(metric) if isinstance(metrics, dict) else None
    return fields if isinstance(fields, dict) else {}


def _spread(outcome: Any) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation [S] of all values, over samples and seeds; NaN left out."""
    curve = np.asarray(outcome.curve, float)
    mean = mean_and_std(curve)[0]
    square = (curve - mean) ** 2
    if outcome.curve_std is not None:  # add the variance within each sample
        square = square + np.asarray(outcome.curve_std, float) ** 2
    return mean, np.sqrt(mean_and_std(square)[0])
