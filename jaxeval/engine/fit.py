"""Whether attributions and masks fit the inputs."""

from __future__ import annotations

import numpy as np

from ..types import Sample


def check_features(name: str, features: tuple[int, ...], spec: Sample) -> None:
    """A map has the input's shape, or a pixel map's: without the channel axis, or 1 there."""
    shape, axis = tuple(spec.x.shape), spec.channel_axis
    wanted = [shape]
    if axis is not None:
        wanted += [shape[:axis] + shape[axis + 1 :], (*shape[:axis], 1, *shape[axis + 1 :])]
    if tuple(features) not in wanted:
        options = " or ".join(str(["N", *w]).replace("'", "") for w in dict.fromkeys(wanted))
        raise ValueError(
            f"attributions of explainer {name!r} have the shape "
            f"{str(['N', *features]).replace(chr(39), '')} for inputs "
            f"{str(['N', *shape]).replace(chr(39), '')}: wanted {options}"
            + ("" if axis is None else f" (channel axis of the input: {axis + 1})")
        )


def fit_mask(mask: np.ndarray | None, spec: Sample, name: str) -> np.ndarray | None:
    """The mask [N, ...] in the shape of an explainer's maps [N, features].

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
            return fitted
    raise ValueError(
        f"mask of shape {[len(mask), *given]} does not fit the attributions of explainer "
        f"{name!r}, which have the shape {[len(mask), *features]}"
    )


def _differs_at(mask: np.ndarray, features: tuple[int, ...], axis: int) -> bool:
    """Whether only the channel axis is broadcast."""
    pairs = zip(mask.shape[1:], features, strict=True)
    return all(g == f for i, (g, f) in enumerate(pairs) if i != axis)
