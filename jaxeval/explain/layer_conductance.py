"""Attribution to a layer by the flow of integrated gradients through it."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from .. import check
from ..model import Model
from ..trace import Graph
from ..types import pytree, static
from .layer_path import LayerPath

DERIVATIVES = ("exact", "differences")


@pytree
class LayerConductance(LayerPath):
    """The flow of integrated gradients through each unit of a layer.

    ``a = ∫_0^1 ∂f_y/∂A · dA/dα dα`` with the layer's output A at ``b + α (x - b)``; signed, in the
    shape of the layer's output. If f depends on x only through the layer, attributions sum to
    ``f_y(x) - f_y(b)``.

    Dhamdhere et al. 2019, "How Important Is a Neuron?". Equal to captum's `LayerConductance` with
    ``derivative="differences"``.

    Args:
      layer: the name of the layer, as in `jaxeval.explain.layers(model, x)`.
      n_steps: number of quadrature nodes; each costs one gradient of the batch.
      method: quadrature rule; see `IntegratedGradients`.
      baseline: "zero", "black", "white", "mean", "channel_mean", "uniform", "uniform_value",
        "gaussian", "blur", "background mean", "background" (see `jaxeval.ops.baseline`), a number,
        or an array that broadcasts to one sample.
      derivative: "exact" differentiates A with respect to α; "differences" multiplies the change
        of A between n_steps + 1 nodes by the gradient at the earlier one, as in captum, with an
        error of the order of the step size.

    >>> import jax.numpy as jnp, numpy as np
    >>> from jaxeval import Model
    >>> net = Model(lambda p, x: (x @ p["w"]) ** 2, {"w": jnp.array([[3.0]])}, channel_axis=None)
    >>> a = LayerConductance(layer="w")(net, jnp.ones((1, 1)), jnp.array([0]))
    >>> print(np.asarray(a).round(3))
    [[9.]]
    """

    derivative: str = static(default="exact")

    def __post_init__(self) -> None:
        super().__post_init__()
        check.one_of(self, "derivative", DERIVATIVES)

    def prepare(self, model: Model, x: jax.Array, y: jax.Array, keys: Any) -> Any:
        b = super().prepare(model, x, y, keys)
        if self.derivative == "exact":
            return b
        return b, self.activation(Graph(model, x), model, self._node(x, b, 0))

    def zero(self, model: Model, x: jax.Array, y: jax.Array, keys: Any, state: Any) -> Any:
        total = super().zero(model, x, y, keys, state)
        return total if self.derivative == "exact" else (jnp.array(state[1]), total)

    def add(
        self, total: Any, model: Model, x: jax.Array, y: jax.Array, keys: Any, state: Any, i: Any
    ) -> Any:
        if self.derivative == "exact":
            return super().add(total, model, x, y, keys, state, i)
        graph, (b, _), (a, total) = Graph(model, x), state, total
        after = self.activation(graph, model, self._node(x, b, i + 1))
        g = self.gradient(graph, model, self._node(x, b, i), y, a)
        return after, total + (after - a) * g

    def _node(self, x: jax.Array, b: jax.Array, i: Any) -> jax.Array:
        """The i-th of the points between which differences are taken."""
        return b + self.nodes(x.dtype, self.n_steps + 1)[0][i] * (x - b)

    def step(
        self, model: Model, x: jax.Array, y: jax.Array, keys: Any, state: Any, i: Any
    ) -> jax.Array:
        graph = Graph(model, x)
        way = x - state
        alphas, weights = self.nodes(x.dtype)
        at = state + alphas[i] * way
        a, change = jax.jvp(lambda v: self.activation(graph, model, v), (at,), (way,))
        return weights[i] * change * self.gradient(graph, model, at, y, a)

    def finish(
        self, model: Model, x: jax.Array, y: jax.Array, keys: Any, state: Any, total: Any
    ) -> jax.Array:
        return total if self.derivative == "exact" else total[1]
