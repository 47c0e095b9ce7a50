"""Attribution to a layer by DeepLIFT and by layer-wise relevance propagation."""

from __future__ import annotations

import dataclasses
from typing import Any

from ..model import Model
from ..trace import Graph, Value
from ..types import pytree
from .deep_lift import DeepLift
from .layer import LayerExplainer
from .lrp import LRP
from .lrp_rules import Epsilon


@pytree
class LayerDeepLift(LayerExplainer, DeepLift):
    """Differences of a layer's output from that for a baseline, by DeepLIFT's rescale rule.

    ``a = (A(x) - A(b)) · m``, signed, in the shape of the layer's output A, with the multipliers m
    of `DeepLift` from the score back to the layer. If f depends on x only through the layer,
    attributions sum to ``f_y(x) - f_y(b)``.

    Shrikumar et al. 2017, "Learning Important Features Through Propagating Activation
    Differences". Equal to captum's `LayerDeepLift` for models without max pooling after the layer;
    otherwise, with ``pooling="gradient"`` if there is a ReLU between the layer and the pooling, and
    with "cross_max" if there is none.

    Args:
      layer: the name of the layer, as in `jaxeval.explain.layers(model, x)`.
      baseline: of the input, from which A(b) is computed; as for `DeepLift`.
      pooling, multiply_by_inputs: as for `DeepLift`.

    >>> import jax, jax.numpy as jnp
    >>> from jaxeval import Model
    >>> w = jnp.array([[1.0, -1.0], [2.0, 1.0]])
    >>> net = Model(lambda p, x: jax.nn.relu(x @ p["w"] - 1).sum(1), {"w": w}, channel_axis=None)
    >>> LayerDeepLift(layer="w")(net, jnp.array([[1.0, 1.0]]), jnp.array([0]))
    Array([[2., 0.]], dtype=float32)
    """

    def graph(self, model: Model, x: Any) -> tuple[Graph, Value]:
        return self.split_graph(model, x)


@pytree
class LayerLRP(LayerExplainer, LRP):
    """Layer-wise relevance propagation, from the score back to a layer.

    The relevance of the layer's output, by the rules of `LRP`; signed, in the shape of the layer's
    output. For a network of ReLUs and the default rule, it is the layer's output times its
    gradient, up to ε = 1e-9.

    Bach et al. 2015, "On Pixel-Wise Explanations for Non-Linear Classifier Decisions by Layer-Wise
    Relevance Propagation". Equal to captum's `LayerLRP`, which distributes the relevance of max
    pooling in the same way, and refuses reused layers and layers without a rule of their own.

    Args:
      layer: the name of the layer, as in `jaxeval.explain.layers(model, x)`.
      rule: as for `LRP`, but captum's ``Epsilon(epsilon=1e-9)`` by default; "epsilon" is 1e-6.
      first, convolution, dense, layers, addition, attention: as for `LRP`.

    >>> import jax, jax.numpy as jnp, numpy as np
    >>> from jaxeval import Model
    >>> net = Model(lambda p, x: jax.nn.relu(x @ p["w"]).sum(1), {"w": jnp.eye(2)})
    >>> a = LayerLRP(layer="w")(net, jnp.array([[3.0, -1.0]]), jnp.array([0]))
    >>> print(np.asarray(a).round(3))
    [[3. 0.]]
    """

    rule: Any = dataclasses.field(default_factory=lambda: Epsilon(epsilon=1e-9))

    def graph(self, model: Model, x: Any) -> tuple[Graph, Value]:
        return self.split_graph(model, x)
