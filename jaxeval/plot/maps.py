"""Attribution maps beside the inputs that they explain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from .style import fitted, new_figure, wrap

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = "RdBu_r"  # white is zero, red is positive
FEW = 4
"""The largest size of an axis that "auto" takes for the channels."""
REACH = 99.5  # percentile of a map's magnitude where its colour scale ends; robust to outliers


def attributions(
    x: ArrayLike,
    attributions: Mapping[str, ArrayLike],
    titles: Sequence[Any] | None = None,
    channel_axis: int | Literal["auto"] | None = "auto",
    n: int = 6,
) -> Figure:
    """A grid of maps: one row per sample; the input, then one column per explainer.

    The colour scale of each map ends at the 99.5th percentile of its magnitude, as maps of
    different explainers have different units. An explainer with negative values has a diverging
    scale, symmetric around 0; the others have a sequential one that starts at 0.

    Args:
      x: inputs [N, C, H, W], [N, H, W, C], grey images [N, H, W], series [N, T] or with
        channels [N, C, T] or [N, T, C]. Values outside [0, 1] are rescaled for
        display, each image by its own range (integers by 255).
      attributions: explainer -> array [N, ...] in the shape of x, or without its channel axis, or
        with size 1 there. Channels are summed.
      titles: titles of the rows, one per sample (for example its class).
      channel_axis: the channel axis of x, or None. "auto" infers it from the maps, which may lack
        it, else takes the first or the last axis of a sample, whichever has at most 4 entries; x
        with three axes and no such axis holds grey images. Ambiguous shapes raise an error. Also
        if the axis is given, x with three axes holds grey images if that axis has more than 4
        entries and the attributions have it, too.
      n: the number of samples to show, from the first.

    Raises:
      ValueError: shapes that do not match, or no attributions.

    >>> maps = {"A": np.ones((2, 8, 8)), "B": np.ones((2, 3, 8, 8))}
    >>> figure = attributions(np.zeros((2, 3, 8, 8)), maps)
    >>> [axes.get_title() for axes in figure.axes[:3]]
    ['input', 'A', 'B']
    """
    x = np.asarray(x)
    maps = {name: np.asarray(a) for name, a in attributions.items()}
    if not maps:
        raise ValueError("attributions is empty: give at least one, by the explainer's name")
    if n < 1 or len(x) < 1:
        raise ValueError(f"there is no sample to show: n={n}, x has the shape {x.shape}")
    if titles is not None and len(titles) < min(n, len(x)):
        raise ValueError(f"titles must name {min(n, len(x))} samples, got {len(titles)}")
    axis = channels(x, maps, channel_axis)
    maps = {name: pixel_maps(a, x, axis, channel_axis, name)[:n] for name, a in maps.items()}
    x = (x[..., None] if axis is None else np.moveaxis(x, axis, -1))[:n]
    image = x.ndim == 4

    width, height = (1.25, 1.25) if image else (1.9, 1.1)
    figure = new_figure(
        width * (len(maps) + 1) + 0.3,
        height * len(x) + 0.9,
        "compressed" if image else "constrained",
    )
    grid = figure.subplots(len(x), len(maps) + 1, squeeze=False, sharex=True, sharey="row")
    for row, sample in enumerate(x):
        draw_input(grid[row, 0], sample)
        if titles is not None:
            label = wrap(str(titles[row]), 16 if image else 13)
            upright = {"rotation": 0, "ha": "right", "va": "center"} if len(label) < 4 else {}
            grid[row, 0].set_ylabel(label, fontsize="small", parse_math=False, **upright)
    signed = {name: bool((a < 0).any()) for name, a in maps.items()}
    drawn = None
    for column, (name, a) in enumerate(maps.items(), start=1):
        for row, sample in enumerate(x):
            picture = draw_map(grid[row, column], a[row], sample, signed[name])
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


def channels(x: np.ndarray, maps: Mapping[str, Any], channel_axis: Any) -> int | None:
    """The channel axis of x, or None; "auto" infers it or raises ValueError."""
    if x.ndim not in (2, 3, 4) or (x.ndim == 4 and channel_axis is None):
        raise ValueError(
            f"x must be images [N, C, H, W] or [N, H, W], or series [N, T] or [N, C, T], got the "
            f"shape {x.shape} with channel_axis={channel_axis}"
        )
    if x.ndim == 2 or channel_axis is None:
        return None
    if channel_axis == "auto":
        return _found(x, maps)
    axis = channel_axis % x.ndim if -x.ndim <= channel_axis < x.ndim else 0
    if axis == 0:
        raise ValueError(
            f"channel_axis={channel_axis} is no axis of x {x.shape} (axis 0 is the samples)"
        )
    if x.ndim == 3 and x.shape[axis] > FEW and any(a.ndim != 2 for a in maps.values()):
        return None
    return axis


def _found(x: np.ndarray, maps: Mapping[str, Any]) -> int | None:
    """The channel axis inferred from the maps' shapes, else the axis with few entries."""
    last = x.ndim - 1
    options = [1, last] if x.ndim == 4 else [None, 1, last]
    told = [o for o in options if all(_fits(a.shape, x.shape, o) for a in maps.values())]
    if len(told) == 1:
        return told[0]
    few = [axis for axis in (1, last) if x.shape[axis] <= FEW]
    if len(few) == 1 and (few[0] in told or not told):
        return few[0]
    if not few and None in (told or options):
        return None
    ways = ", ".join(f"channel_axis={-1 if o == last else o}" for o in told or options)
    raise ValueError(
        f"the channel axis of x cannot be inferred from its shape {x.shape}: give one of {ways}"
    )


def _fits(a: tuple[int, ...], x: tuple[int, ...], axis: int | None) -> bool:
    """Whether maps of this shape fit x with its channels on `axis`."""
    if axis is None:
        return a == x or any(
            len(a) == len(x) + 1 and a[i] == 1 and a[:i] + a[i + 1 :] == x for i in range(1, len(a))
        )
    without = x[:axis] + x[axis + 1 :]
    return a in (x, without, (*x[:axis], 1, *x[axis + 1 :]))


def pixel_maps(
    a: np.ndarray, x: np.ndarray, axis: int | None, channel_axis: Any, name: str
) -> np.ndarray:
    """The attribution with its channels summed: [N, H, W] or [N, T]."""
    wanted = x.shape if axis is None else x.shape[:axis] + x.shape[axis + 1 :]
    pixels = a
    if a.ndim == len(wanted) + 1 and channel_axis is not None:
        if axis is None and channel_axis == "auto":  # grey images, and maps with one channel
            axis = next((i for i in range(1, a.ndim) if a.shape[i] == 1), 1)
        pixels = a.sum(axis=int(channel_axis if axis is None else axis))
    if pixels.shape != wanted:
        raise ValueError(
            f"attributions[{name!r}] must have the shape of x {x.shape}, with or without its "
            f"channels, got {a.shape}"
        )
    return pixels


def draw_input(axes: Axes, sample: np.ndarray) -> None:
    """Draw an image [H, W, C] or a series [T, C]."""
    if sample.ndim == 2:
        axes.plot(sample, color="#222222", linewidth=0.9)
        axes.tick_params(labelsize="x-small", length=2)
        return
    image = sample / 255 if sample.dtype.kind in "iu" else sample.astype(float)
    if image.min() < 0 or image.max() > 1:
        image = image - image.min()
        image = image / (image.max() or 1)
    if image.shape[-1] == 3:
        axes.imshow(image)
    else:
        axes.imshow(image.mean(axis=-1), cmap="gray", vmin=0, vmax=1)
    bare(axes)


def draw_map(axes: Axes, a: np.ndarray, sample: np.ndarray, signed: bool) -> Any:
    """Draw a map [H, W], or a band [T] behind its series; return the image for a colour bar."""
    magnitude = np.abs(a[np.isfinite(a)])
    # The percentile of a sparse map may be 0: use its maximum.
    reach = (np.percentile(magnitude, REACH) or magnitude.max()) if magnitude.size else 1.0
    scaled = a / (reach or 1.0)
    style: Any = {"cmap": _colours(signed), "vmin": -1 if signed else 0, "vmax": 1}
    if a.ndim == 2:
        drawn = axes.imshow(scaled, interpolation="nearest", **style)
        bare(axes)
        return drawn
    low, high = float(np.nanmin(sample)), float(np.nanmax(sample))
    margin = 0.05 * ((high - low) or 1.0)
    drawn = axes.imshow(
        scaled[None],
        aspect="auto",
        extent=(-0.5, len(a) - 0.5, low - margin, high + margin),
        interpolation="nearest",
        **style,
    )
    axes.plot(sample, color="#222222", linewidth=0.9)
    axes.tick_params(labelsize="x-small", length=2)
    return drawn


def _colours(signed: bool) -> Any:
    from matplotlib import colormaps
    from matplotlib.colors import ListedColormap

    diverging = colormaps[COLOURS]
    if signed:
        return diverging
    return ListedColormap(diverging(np.linspace(0.5, 1, 256)), name=f"{COLOURS}_positive")


def bare(axes: Axes) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
