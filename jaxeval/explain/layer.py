"""The layers of a model by name, and the base class of methods that explain a layer."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from .. import check, ops
from ..identity import shapes_of
from ..lifetime import Wrapper, jit, remembered
from ..model import Model
from ..trace import Graph, Value
from ..trace.hidden_layers import hidden_layers
from ..types import pytree, static
from .base import Explainer
from .hidden_layers import ROWS, of_rows, own_hidden, shown


def layers(model: Model, x: Any) -> dict[str, tuple[int, ...]]:
    """The model's layers in the order of the forward pass, with the shapes of their outputs.

    Layers with parameters are named by the path of their parameters ("Conv_0", "block/dense"; the
    second call of a layer is "Conv_0@2"); layers without parameters by the preceding layer and
    their kind ("Conv_0/relu", "Conv_0/reduce_window_max"). Any other value can be named in the
    model's code with `jax.ad_checkpoint.checkpoint_name(value, "name")`. Those that only
    `Model.hidden` names come last.

    Args:
      x: inputs [N, ...], or their shape and dtype.

    >>> import jax.numpy as jnp
    >>> params = {"first": {"w": jnp.ones((2, 3))}, "second": {"w": jnp.ones((3, 4))}}
    >>> net = Model(lambda p, x: jnp.tanh(x @ p["first"]["w"]) @ p["second"]["w"], params)
    >>> layers(net, jnp.ones((5, 2)))
    {'first': (5, 3), 'first/activation': (5, 3), 'second': (5, 4)}
    """
    spec = jax.ShapeDtypeStruct(jnp.shape(x), jnp.result_type(x))
    found = {name: value.shape for name, value in Graph(model, spec).layers.items()}
    if model.tokens is None and (hidden := own_hidden(model)) is not None:
        more = hidden_layers(hidden, *model.given(spec))[1]
        found |= {k: v.aval.shape for k, v in more.items() if v is not None and k not in found}
    return found


def with_hidden(model: Model, layers: Any = None) -> Model:
    """The model with `Model.hidden` set to its layers, for metrics that use hidden activations.

    Args:
      layers: names as in `jaxeval.explain.layers`; None: all layers with parameters.

    >>> params = {"first": {"w": jnp.ones((2, 3))}, "second": {"w": jnp.ones((3, 4))}}
    >>> net = Model(lambda p, x: jnp.tanh(x @ p["first"]["w"]) @ p["second"]["w"], params)
    >>> seen = with_hidden(net, ["first/activation"])
    >>> {name: v.shape for name, v in seen.hidden(seen.params, jnp.ones((5, 2)))[1].items()}
    {'first/activation': (5, 3)}
    """
    chosen = None if layers is None else tuple(layers)
    return dataclasses.replace(model, hidden=Hidden(model.apply, chosen))


@dataclasses.dataclass(frozen=True)
class Hidden(Wrapper):
    """``(params, x) -> (logits, {layer: activations})``; equal ones share compiled programs."""

    HOLDS: ClassVar[str] = "apply"
    of_graph: ClassVar[bool] = True
    """Its names are those of the traced model."""

    apply: Callable[..., Any]
    layers: tuple[str, ...] | None

    def __call__(self, params: Any, x: Any, inputs: Any = None) -> tuple[Any, dict[str, Any]]:
        graph = Graph(Model(self.apply, params, inputs=inputs), x, precise=False)
        values = graph.forward(params, x)
        names = graph.weighted if self.layers is None else self.layers
        return values[graph.out], {name: values[graph.layer(name)] for name in names}


@pytree
class LayerExplainer(Explainer):
    """A method that explains a layer.

    Args:
      layer: the name of the layer, as in `jaxeval.explain.layers(model, x)`.
    """

    layer: str | None = static(default=None)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.layer is not None and not isinstance(self.layer, str):
            raise TypeError(
                f"{type(self).__name__}(layer=...) must be the name of a layer, got {self.layer!r}"
            )

    @property
    def named_layers(self) -> tuple[str, ...]:
        return (*(() if self.layer is None else (self.layer,)), *super().named_layers)

    def unchecked(self, model: Model, x: Any, y: Any, keys: Any) -> jax.Array:
        model = shown(model, x, self.named_layers)
        if model.tokens is None and not model.host:
            layer_shape(self, model, x)  # raises an error if the layer does not hold samples
        return super().unchecked(model, x, y, keys)

    def value(self, graph: Graph) -> Value:
        """The value of the layer in the graph."""
        if self.layer is None:
            raise ValueError(
                f"{type(self).__name__}(layer=...) must name a layer of the model: one of "
                f"{check.among(graph.layers, check.LAYERS)}"
            )
        return graph.layer(self.layer)

    def split_graph(self, model: Model, x: Any) -> tuple[Graph, Value]:
        """The model's graph, whose backward pass can stop at the layer, and the layer's value."""
        graph = Graph(model, x)
        value = self.value(graph)
        graph.split(value)
        return graph, value

    def activation(self, graph: Graph, model: Model, x: jax.Array) -> jax.Array:
        """The layer's output for x."""
        value = self.value(graph)
        return graph.forward(model.params, x, until=value)[value]

    def gradient(
        self, graph: Graph, model: Model, x: jax.Array, y: jax.Array, activation: jax.Array
    ) -> jax.Array:
        """The gradient of each row's score with respect to the layer's output, at `activation`."""
        value = self.value(graph)

        def score(a: jax.Array) -> jax.Array:
            z = graph.forward(model.params, x, {value: a})[graph.out]
            return jax.vmap(lambda z, y: ops.value(z, y, self.output))(z, y).sum()

        return jax.grad(score)(activation)


def layer_axis(explainer: Any, model: Model, ndim: int) -> int | None:
    """The channel axis of a layer's output with the axis of samples, as given or as in x."""
    given = explainer.layer_channel_axis
    if given is None:
        axis = model.channel_axis
        return None if axis is None or axis >= ndim else axis % ndim
    whole = isinstance(given, (int, np.integer)) and not isinstance(given, bool)
    if not whole or not -ndim < given < ndim or given == 0:
        raise ValueError(
            f"{type(explainer).__name__}(layer_channel_axis={given!r}): the layer "
            f"{explainer.layer!r} has the axes 1 to {ndim - 1} after that of the samples (or "
            f"{1 - ndim} to -1)"
        )
    return int(given) % ndim


def layer_shape(explainer: LayerExplainer, model: Model, x: Any) -> tuple[int, ...]:
    """The shape of the layer's output for a sample of x, found by tracing the model once.

    Raises:
      ValueError: its first axis is not that of the samples.
    """
    if model.host:
        Graph(model, x)  # raises the error
    traced, spec = of_rows(model, x)
    known, rows = remembered(model.apply), (model.params, model.inputs, spec)
    given = ("layer", type(explainer), explainer.layer, *shapes_of(rows))
    if given not in known:
        known[given] = explainer.value(Graph(traced, spec)).shape
    shape = known[given]
    if shape[:1] != (ROWS,):
        sizes = ["N" if n == ROWS else str(n) for n in shape]
        raise ValueError(
            f"{type(explainer).__name__}: the layer {explainer.layer!r} has the shape "
            f"[{', '.join(sizes)}], whose first axis is not that of the samples: explain another "
            "layer, or name a value [N, ...] in the model's code with "
            'jax.ad_checkpoint.checkpoint_name(value, "name")'
        )
    return shape[1:]


@jit()
def layer_zeros(explainer: LayerExplainer, model: Model, x: jax.Array) -> jax.Array:
    """Zeros in the shape of the layer's output: the initial sum."""
    value = explainer.value(Graph(model, x))
    return jnp.zeros(value.shape, jnp.promote_types(value.dtype, jnp.float32))
