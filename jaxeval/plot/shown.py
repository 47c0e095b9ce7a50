"""Inputs and maps brought to what is drawn: images, series, channels of a series, volumes."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import ops
from .draw import colour_scale, draw_input, draw_map, extent, unit_range
from .series import draw_channels, series_maps
from .volumes import sliced

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FEW = 4
"""The largest size of an axis that "auto" takes for the channels."""


class Shown:
    """Samples and their maps, ready to be drawn.

    Attributes:
      kind: "image", "series" (one channel), "channels" (a series with several), or "volume".
      x: [N, ..., C].
      maps: {name: maps without channels, or [N, C or 1, T or 1] of a series with channels}.
    """

    def __init__(
        self,
        x: np.ndarray,
        maps: Mapping[str, np.ndarray],
        channel_axis: Any,
        denormalise: tuple[Any, Any] | None = None,
        names: Sequence[str] | None = None,
    ):
        axis = channels(x, maps, channel_axis)
        if x.ndim == 3 and axis is not None and x.shape[axis] > 1:
            self.kind = "channels"
            self.maps = {name: series_maps(a, x, axis, name) for name, a in maps.items()}
        else:
            self.maps = {
                name: pixel_maps(a, x, axis, channel_axis, name) for name, a in maps.items()
            }
            ndim = x.ndim + (axis is None)
            self.kind = {3: "series", 4: "image", 5: "volume"}[ndim]
        if denormalise is not None:
            x = ops.denormalise(x, *denormalise, axis)
        self.x = x[..., None] if axis is None else np.moveaxis(x, axis, -1)
        self.reach = {name: [extent(v) for v in a] for name, a in self.maps.items()}
        self.names = names
        if self.kind == "channels" and names is not None and len(names) != self.x.shape[-1]:
            raise ValueError(f"names must name {self.x.shape[-1]} channels, got {len(names)}")

    def rows(self, at: Sequence[int] | range) -> Shown:
        """The samples at these positions."""
        new, at = copy.copy(self), list(at)
        new.x = self.x[at]
        new.maps = {name: a[at] for name, a in self.maps.items()}
        new.reach = {name: [reach[i] for i in at] for name, reach in self.reach.items()}
        return new

    def sliced(
        self, titles: Sequence[Any] | None, slices: int | Sequence[int]
    ) -> tuple[Shown, list[str]]:
        """Volumes as images, a row for each slice, and the titles of the rows."""
        new = copy.copy(self)
        whole = np.stack([unit_range(v) for v in self.x])
        new.x, new.maps, labels = sliced(whole, self.maps, titles, slices)
        each = len(labels) // len(self.x)
        new.reach = {k: [r for r in v for _ in range(each)] for k, v in self.reach.items()}
        new.kind = "image"
        return new, labels

    def draw_input(self, axes: Axes, row: int) -> None:
        if self.kind == "channels":
            draw_channels(axes, self.x[row], self.names)
        else:
            draw_input(axes, self.x[row])

    def draw_map(self, axes: Axes, name: str, row: int, signed: bool) -> Any:
        """Draw a map; return the image for a colour bar."""
        a, reach = self.maps[name][row], self.reach[name][row]
        if self.kind == "channels":
            style = colour_scale(signed)
            return draw_channels(axes, self.x[row], self.names, a / reach, **style)
        return draw_map(axes, a, self.x[row], signed, reach)


def channels(x: np.ndarray, maps: Mapping[str, Any], channel_axis: Any) -> int | None:
    """The channel axis of x, or None; "auto" infers it or raises ValueError."""
    if x.ndim not in (2, 3, 4, 5) or (x.ndim == 5 and channel_axis is None):
        raise ValueError(
            f"x must be images [N, C, H, W] or [N, H, W], series [N, T] or [N, C, T], or volumes "
            f"[N, C, D, H, W] or [N, D, H, W], got the shape {x.shape} with "
            f"channel_axis={channel_axis}"
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
    return axis


def _found(x: np.ndarray, maps: Mapping[str, Any]) -> int | None:
    """The channel axis inferred from the maps' shapes, else the axis with few entries."""
    last = x.ndim - 1
    options = [1, last] if x.ndim > 3 else [None, 1, last]
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
    options = [x, without, (*x[:axis], 1, *x[axis + 1 :])]
    if len(x) == 3:  # a number per channel of a series
        options.append((x[0], x[1], 1) if axis == 1 else (x[0], 1, x[2]))
    return a in options


def _per_channel(a: tuple[int, ...], x: tuple[int, ...], axis: int | None) -> str:
    """What to do with a map per channel of images or volumes, for errors."""
    if axis is None or a != tuple(n if i in (0, axis) else 1 for i, n in enumerate(x)):
        return ""
    return (
        f". A map per channel has no picture: plot.importance({{...: a.reshape{(a[0], a[axis])}}}, "
        "names=channels) draws it as bars"
    )


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
            f"channels, got {a.shape} with channel_axis={channel_axis}"
            + _per_channel(a.shape, x.shape, axis)
        )
    return pixels
