"""Attribution maps beside the inputs that they explain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from .draw import REACH
from .shown import Shown
from .style import fitted, new_figure, wrap
from .tables import bars

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def attributions(
    x: ArrayLike,
    attributions: Mapping[str, ArrayLike],
    titles: Sequence[Any] | None = None,
    channel_axis: int | Literal["auto"] | None = "auto",
    n: int = 6,
    names: Sequence[str] | None = None,
    slices: int | Sequence[int] = 3,
    denormalise: tuple[Any, Any] | None = None,
) -> Figure:
    """A grid of maps: one row per sample; the input, then one column per explainer.

    Data frames, and x [N, F] with `names`, are drawn by `bars`; channels of a series below each
    other; volumes as slices, a row each.

    The colour scale of each map ends at the 99.5th percentile of its magnitude, as maps of
    different explainers have different units. An explainer with negative values has a diverging
    scale, symmetric around 0; the others have a sequential one that starts at 0.

    Args:
      x: inputs [N, C, H, W], [N, H, W, C], grey images [N, H, W], series [N, T] or with
        channels [N, C, T] or [N, T, C], volumes [N, C, D, H, W] or [N, D, H, W, C], or without
        channels [N, D, H, W]. Values outside [0, 1] are rescaled for
        display, each image by its own range (integers by 255).
      attributions: explainer -> array [N, ...] in the shape of x, or without its channel axis, or
        with size 1 there. Channels of images and volumes are summed. Maps of a series with channels
        may have size 1 in time, too (a number per channel).
      titles: titles of the rows, one per sample (for example its class).
      channel_axis: the channel axis of x, or None. "auto" infers it from the maps, which may lack
        it, else takes the first or the last axis of a sample, whichever has at most 4 entries; x
        with three axes and no such axis holds grey images. Ambiguous shapes raise an error. Also
        if the axis is given, x with three axes holds grey images if that axis has more than 4
        entries and the attributions have it, too.
      n: the number of samples to show, from the first.
      names: names of the columns of a table or of the channels of a series.
      slices: of volumes: how many to show, at even distances, or their indices.
      denormalise: (mean, std) per channel of images that were normalised as ``(x - mean) / std``.

    Raises:
      ValueError: shapes that do not match, or no attributions.

    >>> maps = {"A": np.ones((2, 8, 8)), "B": np.ones((2, 3, 8, 8))}
    >>> figure = attributions(np.zeros((2, 3, 8, 8)), maps)
    >>> [axes.get_title() for axes in figure.axes[:3]]
    ['input', 'A', 'B']
    """
    if hasattr(x, "columns") or (names is not None and np.ndim(x) == 2):
        return bars(x, attributions, names, titles, n)
    x = np.asarray(x)
    maps = {name: np.asarray(a) for name, a in attributions.items()}
    if not maps:
        raise ValueError("attributions is empty: give at least one, by the explainer's name")
    if n < 1 or len(x) < 1:
        raise ValueError(f"there is no sample to show: n={n}, x has the shape {x.shape}")
    if titles is not None and len(titles) < min(n, len(x)):
        raise ValueError(f"titles must name {min(n, len(x))} samples, got {len(titles)}")
    shown = Shown(x, maps, channel_axis, denormalise, names).rows(range(min(n, len(x))))
    if shown.kind == "volume":
        shown, titles = shown.sliced(titles, slices)
    x, maps, image = shown.x, shown.maps, shown.kind == "image"

    width, height = (1.25, 1.25) if image else (1.9, 1.1)
    if shown.kind == "channels":
        height = max(height, 0.3 * min(x.shape[-1], 12))
    figure = new_figure(
        width * (len(maps) + 1) + 0.3,
        height * len(x) + 0.9,
        "compressed" if image else "constrained",
    )
    grid = figure.subplots(len(x), len(maps) + 1, squeeze=False, sharex=True, sharey="row")
    for row in range(len(x)):
        shown.draw_input(grid[row, 0], row)
        if titles is not None:
            label = wrap(str(titles[row]), 16 if image else 13)
            upright = {"rotation": 0, "ha": "right", "va": "center"} if len(label) < 4 else {}
            grid[row, 0].set_ylabel(label, fontsize="small", parse_math=False, **upright)
    signed = {name: bool((a < 0).any()) for name, a in maps.items()}
    drawn = None
    for column, name in enumerate(maps, start=1):
        for row in range(len(x)):
            picture = shown.draw_map(grid[row, column], name, row, signed[name])
            if drawn is None or signed[name]:
                drawn = picture
    for axes, name in zip(grid[0], ["input", *maps], strict=True):
        axes.set_title(wrap(name, 15 if image else 22), fontsize="small", parse_math=False)
    # The sequential scale is half of the diverging one, so that one bar explains both.
    bar = figure.colorbar(
        drawn,  # pyright: ignore[reportArgumentType]
        ax=grid,
        location="bottom",
        aspect=30,
        shrink=min(1.0, 3.0 / (width * (len(maps) + 1))),
        extend="both" if any(signed.values()) else "max",
        pad=0.02,
    )
    bar.set_ticks([-1, 0, 1] if any(signed.values()) else [0, 1])
    bar.ax.tick_params(labelsize="x-small", length=2)
    bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]
    bar.set_label(
        wrap(
            f"attribution, 1 = {REACH:g}th percentile of the map's magnitude", 24 + 16 * len(maps)
        ),
        fontsize="x-small",
    )
    return fitted(figure)
