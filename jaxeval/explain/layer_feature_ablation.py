"""Attribution to a layer by removing one feature of its output at a time."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from ..lifetime import Wrapper
from ..model import Model
from ..trace import Graph
from ..types import pytree, static
from .feature_ablation import FeatureAblation
from .hidden_layers import shown
from .layer import LayerExplainer, layer_axis
from .layer_activation import LayerActivation


@dataclasses.dataclass(frozen=True)
class FromLayer(Wrapper):
    """``((params, x), h) -> logits``: the model for x, where a layer has the output h."""

    fn: Callable[..., Any]
    layer: str

    def __call__(self, given: Any, h: Any, inputs: Any = None) -> Any:
        params, x = given
        if len(x) != len(h):  # only shapes are asked for
            x = x[jnp.arange(len(h)) % len(x)]
        model = Model(self.fn, params, inputs=inputs)
        graph = Graph(model, x, precise=False, rewritten=False)
        return graph.forward(params, x, {graph.layer(self.layer): h})[graph.out]


@pytree
class LayerFeatureAblation(LayerExplainer, FeatureAblation):
    """The drop of the score when a feature of a layer's output is set to a baseline.

    ``a_i = f_y(A) - f_y(A with A_i = b_i)`` for each feature i of the layer's output A, from which
    the rest of the model is evaluated again; all its entries get this value; signed, in the shape
    of the layer's output. Paths that bypass the layer keep their values. Equal to captum's
    `LayerFeatureAblation`.

    Args:
      layer: the name of the layer, as in `jaxeval.explain.layers(model, x)`.
      patch: side of the square patches of the layer's output that are the features, or one side
        per axis.
      features: the feature index of each entry of the layer's output; as for `FeatureAblation`.
        Without `patch` and `features`, every unit is a feature.
      n_features: the number of features; required if `features` is a function.
      baseline: of the layer's output: a number, an array that broadcasts to it for one sample, or
        a name as for `FeatureAblation`.
      layer_channel_axis: the channel axis of the layer's output; None: the same as in x.

    >>> import jax.numpy as jnp
    >>> from jaxeval import Model
    >>> net = Model(lambda p, x: (x @ p["w"]).sum(1), {"w": jnp.eye(2)}, channel_axis=None)
    >>> LayerFeatureAblation(layer="w")(net, jnp.array([[3.0, -1.0]]), jnp.array([0]))
    Array([[ 3., -1.]], dtype=float32)
    """

    on_tokens: ClassVar[str] = "embeddings"
    baseline_of_layer: ClassVar[bool] = True

    layer_channel_axis: int | None = static(default=None)

    def unchecked(self, model: Model, x: Any, y: Any, keys: Any) -> jax.Array:
        if model.tokens is not None:
            return super().unchecked(model, x, y, keys)
        model = shown(model, x, self.named_layers)
        h = LayerActivation(layer=self.layer).unchecked(model, x, y, None)
        rest = dataclasses.replace(
            model,
            apply=FromLayer(model.apply, str(self.layer)),
            params=(model.params, x),
            channel_axis=layer_axis(self, model, h.ndim),
            hidden=None,
            init=None,
            example=None,
        )
        return super(LayerExplainer, self).unchecked(rest, h, y, keys)
