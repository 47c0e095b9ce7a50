"""Attribution to a layer by its output times the gradient with respect to it."""

from __future__ import annotations

from typing import Any

import jax

from ..model import Model
from ..trace import Graph
from ..types import pytree, static
from .layer import LayerExplainer


@pytree
class LayerGradientXActivation(LayerExplainer):
    """A layer's output times the gradient with respect to it: ``a = A · ∂f_y/∂A``.

    Signed, in the shape of the layer's output. Equal to captum's `LayerGradientXActivation`.

    Args:
      layer: the name of the layer, as in `jaxeval.explain.layers(model, x)`.
      multiply_by_inputs: False omits the factor A and returns the gradient.

    >>> import jax.numpy as jnp
    >>> from jaxeval import Model
    >>> net = Model(lambda p, x: (x @ p["w"]) ** 2, {"w": jnp.array([[1.0, -2.0]])})
    >>> LayerGradientXActivation(layer="w")(net, jnp.ones((1, 1)), jnp.array([1]))
    Array([[0., 8.]], dtype=float32)
    """

    multiply_by_inputs: bool = static(default=True)

    def attribute(self, model: Model, x: jax.Array, y: jax.Array, keys: Any) -> jax.Array:
        graph = Graph(model, x)
        a = self.activation(graph, model, x)
        g = self.gradient(graph, model, x, y, a)
        return a * g if self.multiply_by_inputs else g
