"""Attributions of tabular data as bars, with the names of the features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from ..shown import count
from .style import PALETTE, breadth, clean, colours, fitted, new_figure, wrap

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

POSITIVE, NEGATIVE = PALETTE[1], PALETTE[0]
LETTERS = 24
"""Characters per line of a feature's name."""


def names_of(x: Any, names: Sequence[Any] | None, n: int) -> list[str]:
    """The names of n features: those given, else the columns of x, else "feature 0", ...

    Raises:
      ValueError: not n names.
    """
    if names is None and hasattr(x, "columns"):
        names = list(x.columns)
    if names is None:
        return [f"feature {i}" for i in range(n)]
    if len(names) != n:
        raise ValueError(f"names must name {n} features, got {len(names)}")
    return list(map(str, names))


def table_maps(x: Any, attributions: Mapping[str, ArrayLike]) -> dict[str, np.ndarray]:
    """{explainer: attributions [N, F]}, checked to have the shape of x."""
    if not attributions:
        raise ValueError("attributions is empty: give at least one, by the explainer's name")
    found = {name: np.asarray(a, float) for name, a in attributions.items()}
    shape = np.shape(x) if x is not None else next(iter(found.values())).shape
    for name, a in found.items():
        if a.ndim != 2 or a.shape != shape:
            raise ValueError(
                f"attributions[{name!r}] must have the shape [N, F] = {list(shape)}, got "
                f"{list(a.shape)}"
            )
    return found


def bars(
    x: Any,
    attributions: Mapping[str, ArrayLike],
    names: Sequence[str] | None = None,
    titles: Sequence[Any] | None = None,
    n: int = 3,
    top: int = 8,
) -> Figure:
    """Attributions of tabular samples: one row per sample, one column of bars per explainer.

    Each panel shows the features with the largest magnitudes, the largest first, with the sample's
    value of each. Units differ between explainers, so each panel has its own scale; all features
    that are left out are summed in one grey bar.

    Args:
      x: inputs [N, F], an array or a data frame.
      attributions: explainer -> array [N, F].
      names: names of the features; default: the columns of x.
      titles: titles of the rows, one per sample (for example its class).
      n: the number of samples to show, from the first.
      top: the number of features to show.

    Raises:
      ValueError: shapes that do not match, or no attributions.

    >>> figure = bars(np.ones((2, 3)), {"A": np.eye(3)[:2]}, names=["age", "size", "price"])
    >>> [label.get_text() for label in figure.axes[0].get_yticklabels()]
    ['age = 1', 'size = 1', 'price = 1']
    """
    maps = table_maps(x, attributions)
    values = np.asarray(x)
    names = names_of(x, names, values.shape[1])
    n, top = min(n, len(values)), min(top, values.shape[1])
    if n < 1 or top < 1:
        raise ValueError(f"there is nothing to show: n={n}, top={top}, x has {values.shape}")
    if titles is not None and len(titles) < n:
        raise ValueError(f"titles must name {n} samples, got {len(titles)}")
    width = 1.9 + min(2.2, breadth(wrap(name, LETTERS) for name in names))
    height = 0.24 * (top + (top < len(names))) + 0.5
    figure = new_figure(width * len(maps) + 0.3, height * n + 0.3)
    grid = figure.subplots(n, len(maps), squeeze=False)
    for row in range(n):
        for column, (name, a) in enumerate(maps.items()):
            axes = grid[row, column]
            labels = [f"{f} = {v:.3g}" for f, v in zip(names, values[row], strict=True)]
            draw_bars(axes, a[row], labels, top)
            if row == 0:
                axes.set_title(wrap(name, 28), fontsize="small", parse_math=False)
        if titles is not None:
            grid[row, 0].set_ylabel(wrap(str(titles[row]), 16), fontsize="small", parse_math=False)
    return fitted(figure)


def importance(
    attributions: Mapping[str, ArrayLike], names: Sequence[str] | None = None, top: int = 12
) -> Figure:
    """The share of each feature in an explainer's attributions, over all samples.

    ``share_i = sum_n |a_ni| / sum_n,j |a_nj|``, so that explainers with different units can be
    compared. Features are sorted by their mean share; NaN where an attribution is not finite.

    Args:
      attributions: explainer -> array [N, F], or a data frame.
      names: names of the features; default: the columns of a data frame.
      top: the number of features to show.

    >>> figure = importance({"A": np.array([[1.0, -3.0]])}, names=["age", "price"])
    >>> [label.get_text() for label in figure.axes[0].get_yticklabels()]
    ['price', 'age']
    """
    maps = table_maps(None, attributions)
    first = next(iter(attributions.values()))
    share = {}
    for name, a in maps.items():
        total = np.abs(a).sum()
        share[name] = np.abs(a).sum(0) / total if total != 0 else np.zeros(a.shape[1])
    known = names_of(first, names, len(next(iter(share.values()))))
    mean = np.mean(list(share.values()), axis=0)
    order = np.argsort(-mean, kind="stable")[:top]
    figure = new_figure(6.0, (0.14 * len(maps) + 0.16) * len(order) + 0.9)
    axes = figure.subplots()
    colour, thick = colours(list(maps)), 0.8 / len(maps)
    for i, (name, values) in enumerate(share.items()):
        at = np.arange(len(order)) + (i - (len(maps) - 1) / 2) * thick
        axes.barh(at, values[order], thick * 0.92, color=colour[name], label=f"{i}")
    texts = [wrap(known[j], LETTERS) for j in order]
    axes.set_yticks(np.arange(len(order)), texts)
    axes.invert_yaxis()
    axes.set_xlabel("share of all attribution (sum of magnitudes)", fontsize="small")
    axes.tick_params(labelsize="small", length=0)
    clean(axes)
    axes.grid(visible=False, axis="y")
    box = axes.legend(frameon=False, fontsize="small", loc="lower right")
    for text, name in zip(box.get_texts(), maps, strict=True):
        text.set(text=name, parse_math=False)
    return fitted(figure)


def draw_bars(axes: Axes, a: np.ndarray, labels: list[str], top: int) -> None:
    """The largest attributions [F] of one sample, and the sum of the others."""
    order = np.argsort(-np.abs(np.nan_to_num(a)), kind="stable")
    shown, rest = order[:top], order[top:]
    values = list(a[shown])
    colour = [POSITIVE if v >= 0 else NEGATIVE for v in values]
    texts = [wrap(labels[i], LETTERS) for i in shown]
    if len(rest):
        values.append(float(a[rest].sum()))
        colour.append("#999999")
        texts.append(count(len(rest), "other"))
    axes.barh(np.arange(len(values)), values, 0.72, color=colour)
    axes.axvline(0, color="#222222", linewidth=0.8)
    axes.set_yticks(np.arange(len(values)), texts)
    for label in axes.get_yticklabels():
        label.set_parse_math(False)
    axes.invert_yaxis()
    axes.tick_params(labelsize="x-small", length=0)
    axes.locator_params(axis="x", nbins=4)
    clean(axes)
    axes.grid(visible=False, axis="y")
