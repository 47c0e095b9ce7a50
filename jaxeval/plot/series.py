"""Series with several channels, drawn below each other, with the attribution behind them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST = 12
"""The most channels that get a line and a label each."""


def series_maps(a: np.ndarray, x: np.ndarray, axis: int, name: str) -> np.ndarray:
    """Attributions of x [N, C, T] (channels on `axis`) as [N, C or 1, T or 1].

    Raises:
      ValueError: they are not per entry, per time step or per channel.
    """
    if a.ndim == x.ndim - 1 and a.shape == x.shape[:axis] + x.shape[axis + 1 :]:
        a = np.expand_dims(a, axis)
    alike = a.ndim == x.ndim and len(a) == len(x)
    if alike and all(g in (1, w) for g, w in zip(a.shape[1:], x.shape[1:], strict=True)):
        return np.moveaxis(a, axis, 1)
    raise ValueError(
        f"attributions[{name!r}] must have the shape of x {x.shape}, with size 1 or nothing on the "
        f"channel axis {axis} for maps per time step, or size 1 in time for maps per channel, got "
        f"{a.shape}"
    )


def draw_channels(
    axes: Axes, sample: np.ndarray, names: Sequence[str] | None = None, a: Any = None, **style: Any
) -> Any:
    """Draw channels [T, C] below each other; return the image of the map, if one is given.

    Args:
      a: the map, scaled for colours, [C or 1, T or 1].
    """
    length, channels = sample.shape
    drawn = None
    if a is not None:
        drawn = axes.imshow(
            np.broadcast_to(a, (channels, length)),
            aspect="auto",
            extent=(-0.5, length - 0.5, channels, 0),
            interpolation="nearest",
            **style,
        )
    at = np.arange(length)
    for c in range(channels):
        line = sample[:, c].astype(float)
        low, high = np.nanmin(line), np.nanmax(line)
        scaled = (line - low) / ((high - low) or 1.0)
        axes.plot(at, c + 0.9 - 0.8 * scaled, color="#222222", linewidth=0.7)
    colour = "#d9d9d9" if a is None else "white"
    axes.hlines(range(1, channels), -0.5, length - 0.5, color=colour, linewidth=0.8)
    axes.set_ylim(channels, 0)
    axes.set_xlim(-0.5, length - 0.5)
    if channels <= MOST:
        labels = [str(c) for c in range(channels)] if names is None else list(map(str, names))
        axes.set_yticks(np.arange(channels) + 0.5, labels)
    else:
        axes.set_yticks([])
    axes.tick_params(labelsize="x-small", length=0)
    return drawn
