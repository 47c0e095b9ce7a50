"""Attribution to a layer by integrated gradients with respect to its output."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from ..model import Model
from ..trace import Graph
from ..types import pytree, static
from .layer_path import LayerPath


@pytree
class LayerIntegratedGradients(LayerPath):
    """Integrated gradients with a layer's output in place of the input.

    ``a = (A(x) - A(b)) · ∫_0^1 ∂f_y/∂A (A(b) + α (A(x) - A(b))) dα``, signed, in the shape of the
    layer's output; paths that bypass the layer keep their values at x. If f depends on x only
    through the layer, attributions sum to ``f_y(x) - f_y(b)``.

    Sundararajan et al. 2017, "Axiomatic Attribution for Deep Networks". Equal to captum's
    `LayerIntegratedGradients`, including its defaults.

    Args:
      layer: the name of the layer, as in `jaxeval.explain.layers(model, x)`.
      n_steps: number of quadrature nodes; each costs one gradient of the batch.
      method: quadrature rule; see `IntegratedGradients`.
      baseline: "zero", "black", "white", "mean", "channel_mean", "uniform", "uniform_value",
        "gaussian", "blur", "background mean", "background" (see `jaxeval.ops.baseline`), a number,
        or an array that broadcasts to one sample.
      multiply_by_inputs: False omits the factor ``A(x) - A(b)``.

    >>> import jax.numpy as jnp, numpy as np
    >>> from jaxeval import Model
    >>> net = Model(lambda p, x: (x @ p["w"]) ** 2, {"w": jnp.array([[3.0]])}, channel_axis=None)
    >>> a = LayerIntegratedGradients(layer="w")(net, jnp.ones((1, 1)), jnp.array([0]))
    >>> print(np.asarray(a).round(3))
    [[9.]]
    """

    multiply_by_inputs: bool = static(default=True)

    def prepare(self, model: Model, x: jax.Array, y: jax.Array, keys: Any) -> Any:
        graph = Graph(model, x)
        b = super().prepare(model, x, y, keys)
        return tuple(self.activation(graph, model, v) for v in (x, b))

    def zero(self, model: Model, x: jax.Array, y: jax.Array, keys: Any, state: Any) -> jax.Array:
        return jnp.zeros(state[0].shape, jnp.promote_types(state[0].dtype, jnp.float32))

    def step(
        self, model: Model, x: jax.Array, y: jax.Array, keys: Any, state: Any, i: Any
    ) -> jax.Array:
        end, start = state
        alphas, weights = self.nodes(end.dtype)
        at = start + alphas[i] * (end - start)
        return weights[i] * self.gradient(Graph(model, x), model, x, y, at)

    def finish(
        self, model: Model, x: jax.Array, y: jax.Array, keys: Any, state: Any, total: jax.Array
    ) -> jax.Array:
        return (state[0] - state[1]) * total if self.multiply_by_inputs else total
