"""Attribution to a layer by its mean gradient along the path from a baseline."""

from __future__ import annotations

from typing import Any

import jax

from ..model import Model
from ..trace import Graph
from ..types import pytree
from .layer_path import LayerPath


@pytree
class InternalInfluence(LayerPath):
    """The mean gradient with respect to a layer's output, along the line from the baseline b to x.

    ``a = ∫_0^1 ∂f_y/∂A (b + α (x - b)) dα``, signed, in the shape of the layer's output.

    Leino et al. 2018, "Influence-Directed Explanations for Deep Convolutional Networks". Equal to
    captum's `InternalInfluence`, including its defaults.

    Args:
      layer: the name of the layer, as in `jaxeval.explain.layers(model, x)`.
      n_steps: number of quadrature nodes; each costs one gradient of the batch.
      method: quadrature rule; see `IntegratedGradients`.
      baseline: "zero", "black", "white", "mean", "channel_mean", "uniform", "uniform_value",
        "gaussian", "blur", "background mean", "background" (see `jaxeval.ops.baseline`), a number,
        or an array that broadcasts to one sample.

    >>> import jax.numpy as jnp, numpy as np
    >>> from jaxeval import Model
    >>> net = Model(lambda p, x: (x @ p["w"]) ** 2, {"w": jnp.array([[3.0]])}, channel_axis=None)
    >>> a = InternalInfluence(layer="w")(net, jnp.ones((1, 1)), jnp.array([0]))
    >>> print(np.asarray(a).round(3))
    [[3.]]
    """

    def step(
        self, model: Model, x: jax.Array, y: jax.Array, keys: Any, state: Any, i: Any
    ) -> jax.Array:
        graph = Graph(model, x)
        alphas, weights = self.nodes(x.dtype)
        at = state + alphas[i] * (x - state)
        a = self.activation(graph, model, at)
        return weights[i] * self.gradient(graph, model, at, y, a)
