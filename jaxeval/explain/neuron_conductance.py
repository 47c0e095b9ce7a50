"""Attribution to the input by the flow of integrated gradients through one unit of a layer."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from ..model import Model
from ..trace import Graph
from ..types import pytree
from .layer_path import LayerPath
from .neuron import check_unit, of_ids, unit_model, unit_weights


@pytree
class NeuronConductance(LayerPath):
    """The part of integrated gradients that flows through a unit u of a layer.

    ``a = (x - b) · ∫_0^1 ∂f_y/∂u · ∂u/∂x dα`` at ``b + α (x - b)``; signed, in the shape of x. If f
    depends on x only through the layer, the sum over all its units is integrated gradients, and the
    sum over x is the unit's `LayerConductance`.

    Dhamdhere et al. 2019, "How Important Is a Neuron?"; Shrikumar et al. 2018, "Computationally
    Efficient Measures of Internal Neuron Importance". Equal to captum's `NeuronConductance` for the
    same `method`; captum's default is "riemann_trapezoid", whose weights sum to 1 - 1/n_steps.

    Args:
      layer, unit: as for `NeuronGradient`; of several units, the sum.
      n_steps: number of quadrature nodes; each costs one gradient of the batch.
      method: quadrature rule; see `IntegratedGradients`.
      baseline: "zero", "black", "white", "mean", "channel_mean", "uniform", "uniform_value",
        "gaussian", "blur", "background mean", "background" (see `jaxeval.ops.baseline`), a number,
        or an array that broadcasts to one sample.

    >>> import jax.numpy as jnp, numpy as np
    >>> from jaxeval import Model
    >>> w = jnp.array([[3.0, 1.0]])
    >>> net = Model(lambda p, x: ((x @ p["w"]) ** 2).sum(1), {"w": w}, channel_axis=None)
    >>> a = NeuronConductance(layer="w", unit=0)(net, jnp.ones((1, 1)), jnp.array([0]))
    >>> print(np.asarray(a).round(3))
    [[9.]]
    """

    unit: Any = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_unit(self)

    def unchecked(self, model: Model, x: Any, y: Any, keys: Any) -> jax.Array:
        if not of_ids(self, model):
            unit_model(self, model, x)  # raises an error if there is no such unit
        return super().unchecked(model, x, y, keys)

    def zero(self, model: Model, x: jax.Array, y: jax.Array, keys: Any, state: Any) -> jax.Array:
        return jnp.zeros(x.shape, jnp.promote_types(x.dtype, jnp.float32))

    def step(
        self, model: Model, x: jax.Array, y: jax.Array, keys: Any, state: Any, i: Any
    ) -> jax.Array:
        graph = Graph(model, x)
        alphas, weights = self.nodes(x.dtype)
        at = state + alphas[i] * (x - state)
        h, back = jax.vjp(lambda v: self.activation(graph, model, v), at)
        g = self.gradient(graph, model, at, y, h) * unit_weights(self, h.shape[1:]).astype(h.dtype)
        return weights[i] * back(g)[0]

    def finish(
        self, model: Model, x: jax.Array, y: jax.Array, keys: Any, state: Any, total: jax.Array
    ) -> jax.Array:
        return (x - state) * total
