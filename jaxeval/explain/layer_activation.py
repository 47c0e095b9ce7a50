"""The output of a layer."""

from __future__ import annotations

from typing import Any

import jax

from ..model import Model
from ..trace import Graph
from ..types import pytree
from .layer import LayerExplainer


@pytree
class LayerActivation(LayerExplainer):
    """The output of a layer: ``a = A(x)``, in the shape of the layer's output.

    Equal to captum's `LayerActivation`.

    Args:
      layer: the name of the layer, as in `jaxeval.explain.layers(model, x)`.

    >>> import jax.numpy as jnp
    >>> from jaxeval import Model
    >>> net = Model(lambda p, x: jnp.abs(x @ p["w"]), {"w": jnp.array([[1.0, -2.0]])})
    >>> LayerActivation(layer="w")(net, jnp.ones((1, 1)), jnp.array([0]))
    Array([[ 1., -2.]], dtype=float32)
    """

    def attribute(self, model: Model, x: jax.Array, y: jax.Array, keys: Any) -> jax.Array:
        return self.activation(Graph(model, x), model, x)
