"""Maps of all explainers brought to one feature a pixel, wherever they come in."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from ..check import did_you_mean
from ..types import pytree, static
from .ask import Source

REDUCTIONS = ("sum", "mean", "max")


@pytree
class Pixels:
    """An explainer whose maps lose their channel axis `axis` (of a batch)."""

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
    sources: Mapping[str, Source], how: str, axis: int | None, shape: tuple[int, ...]
) -> dict[str, Source]:
    """The sources with maps of one feature a pixel; `axis` is that of the channels of one input.

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
    found = {}
    for name, source in sources.items():
        pixels = Pixels(explainer=source.explainer, how=how, axis=axis + 1, ndim=len(shape) + 1)
        features, stored = source.features, source.stored
        if features is not None and len(features) == len(shape):
            features = (*features[:axis], *features[axis + 1 :])
        found[name] = dataclasses.replace(
            source,
            explainer=None if source.explainer is None else pixels,
            stored=None if stored is None else np.asarray(pixels.reduced(stored)),
            features=features,
        )
    return found
