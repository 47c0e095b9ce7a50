"""Galleries: the maps of many explainers for a few inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from .draw import draw_input, draw_map
from .shown import channels
from .style import fitted, new_figure, wrap

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SIDE = 0.92
"""Side length of a map in inches."""
LETTERS = 16
"""Characters per line of a title."""


def gallery(
    x: ArrayLike,
    attributions: Mapping[str, ArrayLike],
    titles: Sequence[Any] | None = None,
    channel_axis: int | Literal["auto"] | None = "auto",
    columns: int = 12,
) -> Figure:
    """A gallery of many maps: bands with one row per sample and the inputs on the left.

    Unlike in `attributions`, maps may have any size, such as that of a layer. Each has its own
    colour scale: white is 0, red is positive, blue is negative.

    Args:
      x: images [N, C, H, W], [N, H, W, C], or grey ones [N, H, W].
      attributions: explainer -> maps [N, ...], images of any size, with the channel axis of x
        (any number of channels, which are summed) or without.
      titles: titles of the rows, one per sample.
      channel_axis: the channel axis of x, or None; "auto": the first or the last axis of a
        sample, whichever has at most 4 entries.
      columns: number of maps side by side.

    Raises:
      ValueError: maps that are not images, or no maps.

    >>> figure = gallery(np.zeros((2, 8, 8)), {"A": np.ones((2, 8, 8))})
    >>> [axes.get_title() for axes in figure.axes[:2]]
    ['input', 'A']
    """
    x = np.asarray(x)
    if channel_axis == "auto":
        channel_axis = None if x.ndim == 3 else channels(x, {}, "auto")
    maps = {name: _image(np.asarray(a), x, channel_axis, name) for name, a in attributions.items()}
    if not maps:
        raise ValueError("attributions is empty: give at least one, by the explainer's name")
    images = x[..., None] if channel_axis is None else np.moveaxis(x, channel_axis, -1)
    names = list(maps)
    bands = [names[i : i + columns] for i in range(0, len(names), columns)]
    wide = max(map(len, bands)) + 1
    # Room for two lines of a title above each band.
    figure = new_figure(SIDE * wide + 0.4, len(bands) * (SIDE * len(x) + 0.45) + 0.1, "compressed")
    parts: Any = figure.subfigures(len(bands), 1, squeeze=False)[:, 0]
    for part, band in zip(parts, bands, strict=True):
        grid = part.subplots(len(x), wide, squeeze=False)
        for row, image in enumerate(images):
            draw_input(grid[row, 0], image)
            if titles is not None:
                grid[row, 0].set_ylabel(
                    wrap(str(titles[row]), LETTERS), fontsize="small", parse_math=False
                )
            for axes, name in zip(grid[row, 1:], band, strict=False):
                draw_map(axes, maps[name][row], image, bool((maps[name] < 0).any()))
            for axes in grid[row, 1 + len(band) :]:
                axes.set_axis_off()
        for axes, name in zip(grid[0], ["input", *band], strict=False):
            axes.set_title(wrap(name, LETTERS), fontsize=6.5, parse_math=False)
    return fitted(figure)


def _image(a: np.ndarray, x: np.ndarray, channel_axis: int | None, name: str) -> np.ndarray:
    """The maps with their channels summed, [N, H, W]."""
    if a.ndim == x.ndim and channel_axis is not None:
        a = a.sum(channel_axis)
    if a.ndim != 3 or len(a) != len(x):
        raise ValueError(
            f"attributions[{name!r}] must be maps [{len(x)}, ...] of images, got the shape "
            f"{list(a.shape)}"
        )
    return a
