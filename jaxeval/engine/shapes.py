"""Checks that attributions, masks and padding match the inputs."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from ..types import Sample, any_entry


def map_shapes(shape: tuple[int, ...], axis: int | None) -> list[tuple[int, ...]]:
    """The shapes of maps: of the input, or without its channel axis, or with size 1 along axes
    whose entries are one feature; never one feature for the whole input."""
    found = [shape]
    if axis is not None:
        found += [shape[:axis] + shape[axis + 1 :], (*shape[:axis], 1, *shape[axis + 1 :])]
    sides = ((n,) if n == 1 else (n, 1) for n in shape)
    found += [v for v in itertools.product(*sides) if any(n > 1 for n in v)]
    return list(dict.fromkeys(found))


def check_features(name: str, features: tuple[int, ...], spec: Sample) -> None:
    """Check that a map has one of the `map_shapes`."""
    shape, axis = tuple(spec.x.shape), spec.channel_axis
    wanted = map_shapes(shape, axis)
    if tuple(features) not in wanted:
        options = " or ".join(
            str(["N", *w]).replace("'", "") for w in wanted[: 1 if axis is None else 3]
        )
        raise ValueError(
            f"attributions of explainer {name!r} have the shape "
            f"{str(['N', *features]).replace(chr(39), '')} for inputs "
            f"{str(['N', *shape]).replace(chr(39), '')}: wanted {options}"
            + ("" if axis is None else f" (channel axis of the input: {axis + 1})")
            + _one_along(shape, axis)
        )


def _one_along(shape: tuple[int, ...], axis: int | None) -> str:
    """How to say that a feature is a channel, for errors."""
    if axis is None or len(shape) < 2:
        return ""
    channels = ["N", *(n if i == axis else 1 for i, n in enumerate(shape))]
    return (
        "; size 1 along an axis makes its entries one feature: "
        f"{str(channels).replace(chr(39), '')} is a map per channel"
    )


def check_unambiguous(
    what: str, features: tuple[int, ...], shape: tuple[int, ...], axis: int | None
) -> None:
    """Check that given maps [N, T] of series are not maps per channel [N, C], where C = T.

    Raises:
      ValueError: it cannot be told.
    """
    if axis is None or len(shape) != 2 or shape[0] != shape[1] or features != shape[:1]:
        return
    steps = ["N", *(1 if i == axis else n for i, n in enumerate(shape))]
    channels = ["N", *(n if i == axis else 1 for i, n in enumerate(shape))]
    shown = [str(v).replace("'", "") for v in (["N", *features], steps, channels)]
    raise ValueError(
        f"{what} have the shape {shown[0]}, and the inputs as many channels as time steps: give "
        f"{shown[1]} for a feature per time step, or {shown[2]} for one per channel"
    )


def fit_padding(padding: Any, spec: Sample) -> Any:
    """The padding [N, ...] with the axes of the inputs, if possible of size 1 along the channels.

    Padding without the channel axis holds for all channels.
    """
    given, shape, axis = tuple(padding.shape[1:]), tuple(spec.x.shape), spec.channel_axis
    if axis is not None and len(given) == len(shape) - 1:
        padding = padding.reshape(len(padding), *given[:axis], 1, *given[axis:])
    sizes = padding.shape[1:]
    fits = len(sizes) == len(shape) and all(
        g == n or (g == 1 and i == axis) for i, (g, n) in enumerate(zip(sizes, shape, strict=True))
    )
    if not fits:
        raise ValueError(
            f"padding of shape {[len(padding), *given]} does not fit inputs of shape "
            f"{[len(padding), *shape]}"
            + ("" if axis is None else f" (channel axis {axis + 1}, which padding may leave out)")
        )
    if axis is not None and isinstance(padding, np.ndarray):
        one = padding.take([0], axis + 1)
        return one if (padding == one).all() else padding
    return padding


def check_padded(name: str, spec: Sample) -> None:
    """Check that padding marks whole features."""
    axis, features = spec.channel_axis, tuple(spec.features)
    if spec.valid is None or axis is None or spec.valid.shape[axis] == 1:
        return
    if len(features) < len(spec.x.shape) or features[axis] != spec.x.shape[axis]:
        raise ValueError(
            "padding marks some channels of a position but not others, but the attributions of "
            f"explainer {name!r} have one feature for all channels, shape [N, "
            f"{', '.join(map(str, features))}]"
        )


def fit_mask(
    mask: np.ndarray | None, spec: Sample, name: str, valid: np.ndarray | None = None
) -> np.ndarray | None:
    """The mask [N, ...] in the shape of an explainer's maps [N, features]; False at padding.

    A mask without the channel axis, or of size 1 there, holds for all channels; a channel axis
    of size 1 is dropped for pixel maps.
    """
    if mask is None:
        return None
    given, features, axis = mask.shape[1:], tuple(spec.features), spec.channel_axis
    if axis is not None and len(given) != len(features):
        if len(given) == len(features) - 1:
            mask = np.expand_dims(mask, axis + 1)
        elif len(given) == len(features) + 1 and given[axis] == 1:
            mask = np.squeeze(mask, axis + 1)
    if mask.ndim == len(features) + 1 and all(
        g in (f, 1) for g, f in zip(mask.shape[1:], features, strict=True)
    ):
        fitted = np.broadcast_to(mask, (len(mask), *features))
        if mask.shape[1:] == features or (axis is not None and _differs_at(mask, features, axis)):
            return fitted if valid is None else fitted & features_of(valid, spec)
    raise ValueError(
        f"mask of shape {[len(mask), *given]} does not fit the attributions of explainer "
        f"{name!r}, which have the shape {[len(mask), *features]}"
    )


def features_of(valid: np.ndarray, spec: Sample) -> np.ndarray:
    """`valid` of the inputs in the shape of the maps [N, features]."""
    return any_entry(valid, spec.features, spec.channel_axis, 1)


def _differs_at(mask: np.ndarray, features: tuple[int, ...], axis: int) -> bool:
    """Whether only the channel axis is broadcast."""
    pairs = zip(mask.shape[1:], features, strict=True)
    return all(g == f for i, (g, f) in enumerate(pairs) if i != axis)
