"""Attribution to a layer by what flows through it on the way from a baseline."""

from __future__ import annotations

from typing import Any

import jax

from .. import check
from ..types import Model, pytree, static
from .graph import Graph
from .layer_path import LayerPath

DERIVATIVES = ("exact", "differences")


@pytree
class LayerConductance(LayerPath):
    """The flow of integrated gradients through each unit of a layer.

    ``a = ∫_0^1 ∂f_y/∂A · dA/dα dα`` with the layer's output A at ``b + α (x - b)``; signed, in the
    shape of the layer's output. Where all of f goes through the layer, attributions sum to
    ``f_y(x) - f_y(b)``.

    Dhamdhere et al. 2019, "How Important Is a Neuron?". captum's `LayerConductance` is the one with
    ``derivative="differences"``.

    Args:
      layer: its name, of `jaxeval.explain.layers(model, x)`.
      n_steps: the nodes of the quadrature, each a gradient of the whole batch.
      method: of the quadrature; see `IntegratedGradients`.
      baseline: "zero", "black", "white", "mean", "channel_mean", "uniform", "gaussian", "blur",
        a number, or an array that broadcasts to one sample.
      derivative: "exact" takes dA/dα by differentiation; "differences" takes the change of A
        between n_steps + 1 nodes times the gradient at the earlier one, as captum does, which
        is off by the size of a step.

    >>> import jax.numpy as jnp, numpy as np
    >>> from jaxeval.types import Model
    >>> net = Model(lambda p, x: (x @ p["w"]) ** 2, {"w": jnp.array([[3.0]])}, channel_axis=None)
    >>> a = LayerConductance(layer="w")(net, jnp.ones((1, 1)), jnp.array([0]))
    >>> print(np.asarray(a).round(3))
    [[9.]]
    """

    derivative: str = static(default="exact")

    def __post_init__(self) -> None:
        super().__post_init__()
        check.one_of(self, "derivative", DERIVATIVES)

    def step(
        self, model: Model, x: jax.Array, y: jax.Array, keys: Any, state: Any, i: Any
    ) -> jax.Array:
        graph = Graph(model, x)
        way = x - state

        def activation(at: jax.Array) -> jax.Array:
            return self.activation(graph, model, at)

        if self.derivative == "exact":
            alphas, weights = self.nodes(x.dtype)
            at = state + alphas[i] * way
            a, change = jax.jvp(activation, (at,), (way,))
            change = weights[i] * change
        else:
            alphas, _ = self.nodes(x.dtype, self.n_steps + 1)
            at = state + alphas[i] * way
            a = activation(at)
            change = activation(state + alphas[i + 1] * way) - a
        return change * self.gradient(graph, model, at, y, a)
