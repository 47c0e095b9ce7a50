"""`reduce_channels`: reduction of all explainers' maps to one feature per pixel."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from ..check import did_you_mean
from ..types import pytree, static
from .explainers import Attributor, Stored

REDUCTIONS = ("sum", "mean", "max")


@pytree
class Pixels:
    """An explainer whose maps are reduced along the channel axis `axis` (of a batch)."""

    explainer: Any
    how: str = static("sum")
    axis: int = static(1)
    ndim: int = static(4)

    @property
    def compiles_itself(self) -> bool:
        return getattr(self.explainer, "compiles_itself", False)

    def __call__(self, model: Any, x: Any, y: Any, keys: Any) -> Any:
        a = self.explainer(model, x, y, keys)
        return self.reduced(a if isinstance(a, jax.Array) else np.asarray(a))

    def reduced(self, a: Any) -> Any:
        """The maps [N, ...] without their channel axis, where they have one."""
        return getattr(a, self.how)(self.axis) if a.ndim == self.ndim else a


def as_given(explainer: Any) -> Any:
    """The explainer that the caller gave."""
    return explainer.explainer if isinstance(explainer, Pixels) else explainer


def to_pixels(
    attributors: Mapping[str, Attributor], how: str, axis: int | None, shape: tuple[int, ...]
) -> dict[str, Attributor]:
    """The attributors, with maps reduced to one feature per pixel.

    Args:
      axis: the channel axis of one input, whose shape is `shape`.

    Raises:
      ValueError: an unknown way, or inputs without a channel axis.
    """
    if how not in REDUCTIONS:
        raise ValueError(
            f"reduce_channels={how!r}: must be one of {', '.join(map(repr, REDUCTIONS))} or None"
            f"{did_you_mean(how, REDUCTIONS)}"
        )
    if axis is None:
        raise ValueError(
            f"reduce_channels={how!r}: this model's input [N, {', '.join(map(str, shape))}] has "
            "no channel axis"
        )

    def reduced(attributor: Attributor) -> Attributor:
        explainer = attributor.explainer
        pixels = Pixels(explainer=explainer, how=how, axis=axis + 1, ndim=len(shape) + 1)
        if isinstance(attributor, Stored):
            maps = np.asarray(pixels.reduced(attributor.maps))
            then = None if attributor.then is None else reduced(attributor.then)
            return Stored(attributor.name, maps, then)
        features = attributor.features
        if features is not None and len(features) == len(shape):
            features = (*features[:axis], *features[axis + 1 :])
        return dataclasses.replace(attributor, explainer=pixels, features=features)  # type: ignore

    return {name: reduced(attributor) for name, attributor in attributors.items()}
