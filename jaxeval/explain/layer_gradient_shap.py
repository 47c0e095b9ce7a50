"""Attribution to a layer by gradients between noisy copies of the input and random samples."""

from __future__ import annotations

from typing import Any

import jax

from ..model import Model
from ..trace import Graph
from ..types import pytree
from .gradient_shap import GradientShap
from .layer import LayerExplainer, layer_zeros


@pytree
class LayerGradientShap(LayerExplainer, GradientShap):
    """Expected gradients with respect to a layer's output.

    ``a = 1/S Σ_s (A(x_s) - A(b_s)) · ∂f_y/∂A (b_s + α_s (x_s - b_s))`` with x_s, b_s and α_s as for
    `GradientShap`: the gradient is taken at a point on the line between two inputs, not between two
    outputs of the layer. Signed, in the shape of the layer's output A. Attributions sum to
    ``f_y(x) - E f_y(b)`` in expectation if A is an affine function of x and f depends on x only
    through the layer.

    Lundberg & Lee 2017, "A Unified Approach to Interpreting Model Predictions". Equal to captum's
    `LayerGradientShap` for the same `draws`.

    Args:
      layer: the name of the layer, as in `jaxeval.explain.layers(model, x)`.
      background, n_samples, noise_level, stdevs, draws: as for `GradientShap`.

    >>> import jax, jax.numpy as jnp
    >>> from jaxeval import Model
    >>> net = Model(lambda p, x: (x @ p["w"]).sum(1), {"w": jnp.eye(2)}, channel_axis=None)
    >>> e = LayerGradientShap(layer="w", background=jnp.ones((3, 2)), noise_level=0.0)
    >>> e(net, jnp.array([[2.0, 3.0]]), jnp.array([0]), jax.random.split(jax.random.key(0), 1))
    Array([[1., 2.]], dtype=float32)
    """

    def zero(self, model: Model, x: jax.Array, y: jax.Array, keys: Any, state: Any) -> jax.Array:
        return layer_zeros(self, model, x)

    def ready(
        self, total: Any, model: Model, x: jax.Array, y: jax.Array, keys: Any, state: Any, i: Any
    ) -> Any:
        b, way, at = self.drawn(x, keys, state, i)
        return b, b + way, at

    def step(
        self, model: Model, x: jax.Array, y: jax.Array, keys: Any, state: Any, i: Any
    ) -> jax.Array:
        _, ready = state
        b, end, at = (v.reshape(x.shape) for v in ready)
        graph = Graph(model, x)
        g = self.gradient(graph, model, at, y, self.activation(graph, model, at))
        return (self.activation(graph, model, end) - self.activation(graph, model, b)) * g
