"""The samples that an explainer explains best and worst."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from ..results import Results
from .comparison import _known
from .shown import Shown
from .style import fitted, new_figure, wrap
from .tables import draw_bars, names_of, table_maps
from .volumes import chosen_slices

if TYPE_CHECKING:
    from matplotlib.figure import Figure


LETTERS = 15
"""Characters per line of a title."""


def extremes(
    results: Results, explainer: str, metric: str, n: int = 3, index: ArrayLike | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the n best samples (best first) and of the n worst (worst first).

    Ties are in the order of the samples; undefined scores are left out. No sample is in both: with
    fewer than 2n defined scores, each has half of them.

    Args:
      results: of an evaluation.
      explainer: its name in `results`.
      metric: the metric that defines best and worst.
      n: number of best and of worst samples.
      index: ids of the samples to choose from, which the rows refer to. Default: all.

    Raises:
      KeyError: an unknown explainer or metric.

    >>> from jaxeval.types import Outcome
    >>> scores = {("A", "m"): Outcome(score=np.float32([3, np.nan, 1, 2]))}
    >>> r = Results(scores, {"m": "lower"}, {"m": "f"}, np.arange(4), np.zeros(4, int))
    >>> [rows.tolist() for rows in extremes(r, "A", "m", 1)]
    [[2], [0]]
    """
    own = results[explainer, metric].score.astype(float)
    scores = np.full(len(results.index), np.nan)
    scores[: len(own)] = own
    if index is not None:
        place = {v: i for i, v in enumerate(results.index.tolist())}
        rows = [place.get(v, -1) for v in np.asarray(index).tolist()]
        scores = np.where(np.array(rows) < 0, np.nan, scores[rows])
    order = np.argsort(scores if results.directions[metric] == "lower" else -scores, kind="stable")
    order = order[: int((~np.isnan(scores)).sum())]
    n = min(n, len(order) // 2)
    return order[:n], order[len(order) - n :][::-1]


def best_and_worst(
    results: Results,
    explainer: str,
    metric: str,
    x: ArrayLike,
    attributions: ArrayLike,
    index: ArrayLike | None = None,
    channel_axis: int | Literal["auto"] | None = "auto",
    n: int = 3,
    titles: Sequence[Any] | None = None,
    names: Sequence[str] | None = None,
) -> Figure:
    """The inputs and maps of the samples with the best and the worst scores of an explainer.

    Args:
      results: of an evaluation.
      explainer: its name in `results`.
      metric: the metric that defines best and worst.
      x: inputs, as for `attributions`.
      attributions: the explainer's maps for these inputs.
      index: ids of the samples in x; default: those of the results.
      channel_axis: as for `attributions`.
      n: number of best and of worst samples.
      titles: one per sample in x, for example its class.
      names: names of the columns of a table or of the channels of a series; default: the columns
        of a data frame x, or the feature names of the results.

    Raises:
      ValueError: shapes that do not match, or fewer than two defined scores.

    >>> from jaxeval.types import Outcome
    >>> scores = {("A", "m"): Outcome(score=np.arange(4.0))}
    >>> r = Results(scores, {"m": "lower"}, {"m": "f"}, np.arange(4), np.zeros(4, int))
    >>> figure = best_and_worst(r, "A", "m", np.ones((4, 8, 8)), np.ones((4, 8, 8)), n=1)
    >>> [axes.get_title() for axes in figure.axes[:3:2]]
    ['best\\n0: 0.00', 'worst\\n3: 3.00']
    """
    _known(results, [metric])
    if names is None:
        names = getattr(x, "columns", results.settings.get("feature_names"))
    x, maps = np.asarray(x), np.asarray(attributions)
    ids = results.index if index is None else np.asarray(index)
    if len(x) != len(ids) or len(maps) != len(ids):
        raise ValueError(
            f"x and attributions must have the {len(ids)} samples in index, got {len(x)} and "
            f"{len(maps)}"
        )
    best, worst = extremes(results, explainer, metric, n, ids)
    if not len(best):
        raise ValueError(f"fewer than two scores of {explainer!r} under {metric!r} are defined")
    place = {v: i for i, v in enumerate(results.index.tolist())}
    scores = results[explainer, metric].score

    rows = [*best, *worst]

    def label(row: int) -> str:
        text = wrap(f"{ids[row]}: {scores[place[ids[row].item()]]:#.3g}", LETTERS)
        return text if titles is None else f"{wrap(str(titles[row]), LETTERS)}\n{text}"

    if x.ndim == 2 and names is not None:
        table_maps(x, {explainer: maps})
        return _bars(x, maps, names, best, worst, label)
    shown = Shown(x, {explainer: maps}, channel_axis, None, names).rows(rows)
    if shown.kind == "volume":
        shown, _ = shown.sliced(None, chosen_slices(shown.x.shape[1], 1))
    image = shown.kind == "image"
    width, height = (1.05, 1.05) if image else (1.7, 1.0)
    figure = new_figure(width * len(rows) + 0.5, 2 * height + 0.6, "constrained")
    grid = figure.subplots(
        2, len(rows) + 1, squeeze=False, sharex="col" if not image else False,
        gridspec_kw={"width_ratios": [1] * len(best) + [0.12] + [1] * len(worst)},
    )  # fmt: skip
    signed = bool((shown.maps[explainer] < 0).any())
    for axes in grid[:, len(best)]:
        axes.set_axis_off()
    columns = [c for c in range(len(rows) + 1) if c != len(best)]
    for i, (column, row) in enumerate(zip(columns, rows, strict=True)):
        shown.draw_input(grid[0, column], i)
        shown.draw_map(grid[1, column], explainer, i, signed)
        heading = {0: "best\n", len(best) + 1: "worst\n"}.get(column, "\n")
        grid[0, column].set_title(heading + label(row), fontsize="small", parse_math=False)
    return fitted(figure)


def _bars(x: np.ndarray, maps: np.ndarray, names: Any, best: Any, worst: Any, label: Any) -> Figure:
    """Tabular samples: the best on the left, the worst on the right."""
    features, top = names_of(x, names, x.shape[1]), min(6, x.shape[1])
    figure = new_figure(6.4, (0.24 * (top + 1) + 0.7) * len(best))
    grid = figure.subplots(len(best), 2, squeeze=False)
    for column, (heading, rows) in enumerate((("best\n", best), ("worst\n", worst))):
        for i, row in enumerate(rows):
            values = [f"{f} = {v:.3g}" for f, v in zip(features, x[row], strict=True)]
            draw_bars(grid[i, column], maps[row], values, top)
            title = ("" if i else heading) + label(row)
            grid[i, column].set_title(title, fontsize="small", parse_math=False)
    return fitted(figure)
