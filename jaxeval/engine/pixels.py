"""Maps of all explainers, reduced to pixels (`reduce_channels`) or to words (`features`)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from ..check import did_you_mean
from ..tokens import FIRST
from ..types import pytree, static
from ..words import summed
from .explainers import Attributor, Stored

REDUCTIONS = ("sum", "mean", "max")


@pytree
class Reduced:
    """An explainer whose maps are reduced to those of features."""

    explainer: Any

    @property
    def compiles_itself(self) -> bool:
        return getattr(self.explainer, "compiles_itself", False)

    def __call__(self, model: Any, x: Any, y: Any, keys: Any) -> Any:
        a = self.explainer(model, x, y, keys)
        return self.reduced(a if isinstance(a, jax.Array) else np.asarray(a), model.inputs)

    def reduced(self, a: Any, inputs: Any) -> Any:
        """The maps [N, ...] of features; `inputs` are those of their samples."""
        raise NotImplementedError

    def shape(self, features: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of a reduced map."""
        return features


@pytree
class Words(Reduced):
    """An explainer of tokens whose maps are summed over words."""

    def reduced(self, a: Any, inputs: Any) -> Any:
        # Maps of layers are not those of tokens.
        return summed(a, inputs[FIRST]) if a.shape == inputs[FIRST].shape else a


@pytree
class Pixels(Reduced):
    """An explainer whose maps are reduced along the channel axis `axis` (of a batch)."""

    how: str = static("sum")
    axis: int = static(1)
    ndim: int = static(4)

    def reduced(self, a: Any, inputs: Any) -> Any:
        return getattr(a, self.how)(self.axis) if a.ndim == self.ndim else a

    def shape(self, features: tuple[int, ...]) -> tuple[int, ...]:
        gone = self.axis - 1
        whole = len(features) == self.ndim - 1
        return (*features[:gone], *features[gone + 1 :]) if whole else features


def as_given(explainer: Any) -> Any:
    """The explainer that the caller gave."""
    return explainer.explainer if isinstance(explainer, Reduced) else explainer


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

    def pixels(explainer: Any) -> Pixels:
        return Pixels(explainer=explainer, how=how, axis=axis + 1, ndim=len(shape) + 1)

    return {name: _reduced(attributor, pixels, None) for name, attributor in attributors.items()}


def to_words(attributors: Mapping[str, Attributor], inputs: Any) -> dict[str, Attributor]:
    """The attributors, with maps summed over the words of texts with these `inputs`."""
    return {
        name: _reduced(attributor, lambda e: Words(explainer=e), inputs)
        for name, attributor in attributors.items()
    }


def _reduced(attributor: Attributor, by: Callable[[Any], Reduced], inputs: Any) -> Attributor:
    new = by(attributor.explainer)
    if isinstance(attributor, Stored):
        maps = np.asarray(new.reduced(attributor.maps, inputs))
        then = None if attributor.then is None else _reduced(attributor.then, by, inputs)
        return Stored(attributor.name, maps, then)
    features = None if attributor.features is None else new.shape(attributor.features)
    return dataclasses.replace(attributor, explainer=new, features=features)  # type: ignore
