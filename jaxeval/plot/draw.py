"""Drawing of inputs and maps: images, and series of one channel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = "RdBu_r"  # white is zero, red is positive
REACH = 99.5  # percentile of a map's magnitude where its colour scale ends; robust to outliers


def unit_range(sample: np.ndarray) -> np.ndarray:
    """An image with values in [0, 1]: bytes by 255, others outside of it by their own range."""
    image = sample / 255 if sample.dtype.kind in "iu" else sample.astype(float)
    if image.min() < 0 or image.max() > 1:
        image = image - image.min()
        image = image / (image.max() or 1)
    return image


def draw_input(axes: Axes, sample: np.ndarray) -> None:
    """Draw an image [H, W, C] or a series [T, C]."""
    if sample.ndim == 2:
        axes.plot(sample, color="#222222", linewidth=0.9)
        axes.tick_params(labelsize="x-small", length=2)
        return
    image = unit_range(sample)
    if image.shape[-1] == 3:
        axes.imshow(image)
    else:
        axes.imshow(image.mean(axis=-1), cmap="gray", vmin=0, vmax=1)
    bare(axes)


def extent(a: np.ndarray) -> float:
    """Where the colour scale of a map ends: the percentile `REACH` of its magnitude."""
    magnitude = np.abs(a[np.isfinite(a)])
    # The percentile of a sparse map may be 0: use its maximum.
    return (
        float(np.percentile(magnitude, REACH) or magnitude.max() or 1.0) if magnitude.size else 1.0
    )


def colour_scale(signed: bool) -> dict[str, Any]:
    """What `imshow` needs to draw maps that are divided by their extent."""
    return {"cmap": _colours(signed), "vmin": -1 if signed else 0, "vmax": 1}


def draw_map(
    axes: Axes, a: np.ndarray, sample: np.ndarray, signed: bool, reach: float | None = None
) -> Any:
    """Draw a map [H, W], or a band [T] behind its series; return the image for a colour bar."""
    scaled, style = a / (extent(a) if reach is None else reach), colour_scale(signed)
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
