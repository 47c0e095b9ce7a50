"""Attribution of one unit of a layer to the input."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from ..lifetime import Wrapper
from ..model import Model
from ..shown import count
from ..trace import Graph
from ..types import pytree, static
from .hidden_layers import shown
from .layer import LayerExplainer, layer_shape
from .smoothed import check_explainer


@dataclasses.dataclass(frozen=True)
class LayerOutput(Wrapper):
    """``(params, x) ->`` the units of a layer [N, U]; or the sum of those in `units`, [N, 1]."""

    fn: Callable[..., Any]
    layer: str
    units: tuple[Any, ...] | None = None

    def __call__(self, params: Any, x: Any, inputs: Any = None) -> Any:
        model = Model(self.fn, params, inputs=inputs)
        graph = Graph(model, x, precise=False, rewritten=False)
        value = graph.layer(self.layer)
        h = graph.forward(params, x, until=value)[value]
        if self.units is None:
            return h.reshape(len(h), -1)
        part = h[(slice(None), *(slice(*u) if isinstance(u, tuple) else u for u in self.units))]
        return part.reshape(len(h), -1).sum(1, keepdims=True)


@pytree
class Slices:
    """Units given with slices, as hashable values."""

    units: tuple[Any, ...] = static()


def check_unit(owner: Any) -> None:
    """Check the field `unit`: a whole number, or a tuple of whole numbers and slices."""
    given = owner.unit
    if given is None or isinstance(given, (Slices, Tracer)):
        return
    parts = given if isinstance(given, (tuple, list)) else (given,)
    for part in parts:
        whole = isinstance(part, (int, np.integer)) and not isinstance(part, bool)
        whole |= isinstance(part, jax.Array) and part.dtype.kind == "i" and part.ndim == 0
        if not whole and not isinstance(part, (slice, Tracer)):
            raise TypeError(
                f"{type(owner).__name__}(unit={given!r}): must be the number of a unit, or a tuple "
                "with a number or slice for each axis of the layer"
            )
    if any(isinstance(part, slice) for part in parts):
        units = tuple((p.start, p.stop, p.step) if isinstance(p, slice) else int(p) for p in parts)
        object.__setattr__(owner, "unit", Slices(units=units))
    elif isinstance(given, list):
        object.__setattr__(owner, "unit", tuple(given))


def unit_model(owner: Any, model: Model, x: Any) -> tuple[Model, Any]:
    """A model whose outputs are the units of the owner's layer, and the number of the unit.

    Other units, without slices, are other numbers of the same model.
    """
    model = shown(model, x, owner.named_layers)
    name, shape = type(owner).__name__, layer_shape(owner, model, x)
    given = owner.unit
    units = given.units if isinstance(given, Slices) else given
    parts = units if isinstance(units, tuple) else (units,)
    if units is None or len(parts) != len(shape):
        example = "3" if len(shape) == 1 else str(tuple(n // 2 for n in shape))
        raise ValueError(
            f"{name}(unit=...) must name a unit of the layer {owner.layer!r}, whose output for a "
            f"sample has the shape {shape}: a number or slice for each axis, such as "
            f"unit={example}; got {None if units is None else _shown(parts)}"
        )
    for part, n in zip(parts, shape, strict=True):
        if isinstance(part, (int, np.integer)) and not -n <= part < n:
            raise ValueError(
                f"{name}(unit={_shown(parts)}): the layer {owner.layer!r} has an axis of "
                f"{count(n, 'unit')}, so there is no number {part}"
            )
        if isinstance(part, tuple) and not len(range(*slice(*part).indices(n))):
            raise ValueError(
                f"{name}(unit={_shown(parts)}): a slice is empty for the layer's shape {shape}"
            )
    chosen = units if isinstance(given, Slices) else None
    apply = LayerOutput(model.apply, owner.layer, chosen)
    made = dataclasses.replace(model, apply=apply, outputs="values", hidden=None, init=None)
    if chosen is not None:
        return made, jnp.zeros(len(x), jnp.int32)
    flat: Any = 0
    for part, n in zip(parts, shape, strict=True):
        flat = flat * n + part % n
    return made, jnp.full(len(x), flat, jnp.int32)


def of_ids(owner: Any, model: Model) -> bool:
    """Whether x are token ids and the explainer is still to be given their embeddings."""
    return model.tokens is not None and owner.on_tokens != "ids"


def unit_weights(owner: Any, shape: tuple[int, ...]) -> jax.Array:
    """1 for the owner's units of a layer with outputs of this shape, 0 elsewhere."""
    units = owner.unit.units if isinstance(owner.unit, Slices) else owner.unit
    parts = units if isinstance(units, tuple) else (units,)
    where = tuple(slice(*p) if isinstance(p, tuple) else p for p in parts)
    return jnp.zeros(shape, jnp.float32).at[where].set(1)


def _shown(parts: tuple[Any, ...]) -> str:
    words = [
        ":".join("" if v is None else str(v) for v in p) if isinstance(p, tuple) else str(p)
        for p in parts
    ]
    return words[0] if len(words) == 1 else f"({', '.join(words)})"


@pytree
class NeuronExplainer(LayerExplainer):
    """A method that explains a unit of a layer, in place of the score of a class.

    Combine it with any other method: ``class NeuronLRP(NeuronExplainer, LRP)``. The classes y have
    no effect.

    Args:
      layer: the name of the layer, as in `jaxeval.explain.layers(model, x)`.
      unit: its number, for a layer with one axis; else a tuple with a number for each axis, such
        as (channel, row, column). With slices in place of numbers, the sum of the units is
        explained.
    """

    unit: Any = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_unit(self)
        if self.output not in ("value", "logit") and not callable(self.output):
            raise ValueError(
                f"{type(self).__name__}(output={self.output!r}): a unit is explained as it is "
                '("value"), and not a probability'
            )

    def unchecked(self, model: Model, x: Any, y: Any, keys: Any) -> jax.Array:
        if not of_ids(self, model):
            model, y = unit_model(self, model, x)
        return super(LayerExplainer, self).unchecked(model, x, y, keys)


@pytree
class Neuron(LayerExplainer):
    """Any explainer's maps for a unit of a layer, in place of the score of a class.

    ``Neuron(explainer=LRP(), layer="fc_1", unit=3)`` explains the unit u as if the model ended
    with the layer; in the shape of the explainer's maps. The classes y have no effect, and u itself
    is explained ("value"), whatever `output` is.

    Args:
      explainer: an explainer, or a JAX function ``(model, x, y, keys) -> a``. It gets a model whose
        outputs are the layer's units, and the unit in place of the class.
      layer, unit: as for `NeuronGradient`.

    >>> import jax.numpy as jnp
    >>> from jaxeval import Model, explain
    >>> net = Model(lambda p, x: jnp.tanh(x @ p["w"]), {"w": jnp.eye(2)}, channel_axis=None)
    >>> e = Neuron(explainer=explain.InputXGradient(), layer="w", unit=1)
    >>> e(net, jnp.array([[2.0, 3.0]]), jnp.array([0]))
    Array([[0., 3.]], dtype=float32)
    """

    explainer: Any
    unit: Any = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_explainer(self)
        check_unit(self)

    @property
    def compiles_itself(self) -> bool:  # pyright: ignore
        return bool(getattr(self.explainer, "compiles_itself", False))

    @property
    def on_tokens(self) -> str:  # pyright: ignore
        return getattr(self.explainer, "on_tokens", "embeddings")

    @property
    def over_embedding(self) -> str:  # pyright: ignore
        return getattr(self.explainer, "over_embedding", "sum")

    def unchecked(self, model: Model, x: Any, y: Any, keys: Any) -> jax.Array:
        if of_ids(self, model):
            return super().unchecked(model, x, y, keys)
        model, unit = unit_model(self, model, x)
        explain = getattr(self.explainer, "unchecked", self.explainer)
        a = explain(model, x, unit, keys)
        return a if self.reduce_channels is None else self._pixels(model, a)

    def attribute(self, model: Model, x: jax.Array, y: jax.Array, keys: Any) -> jax.Array:
        return self.unchecked(model, x, y, keys)
