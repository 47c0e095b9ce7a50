"""Attribution by a layer's activations, weighted by the mean gradients of its channels."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .. import check
from ..model import Model
from ..trace import Graph, Value
from ..types import pytree, static
from .layer import LayerExplainer

UPSAMPLE = ("bilinear", "nearest", None)


@pytree
class CamExplainer(LayerExplainer):
    """Base of Grad-CAM methods: a layer, and a map resized to the input."""

    upsample: str | None = static(default="bilinear")
    layer_channel_axis: int | None = static(default=None)

    def __post_init__(self) -> None:
        super().__post_init__()
        check.one_of(self, "upsample", UPSAMPLE)

    def value(self, graph: Graph) -> Value:
        if self.layer is not None:
            return graph.layer(self.layer)
        if not graph.convolutions:
            raise ValueError(
                f"{type(self).__name__}(layer=...) must name a layer of the model, which has no "
                f"convolutions: one of {', '.join(graph.layers)}"
            )
        return graph.layer(graph.convolutions[-1])

    def cam(self, model: Model, x: jax.Array, y: jax.Array, rectify: bool) -> jax.Array:
        """The map, with a channel axis of size 1."""
        graph = Graph(model, x)
        a = self.activation(graph, model, x)
        g = self.gradient(graph, model, x, y, a)
        axis = self.layer_channel_axis
        axis = model.channel_axis if axis is None else axis
        if axis is None or a.ndim < 3:
            raise ValueError(
                f"{type(self).__name__} needs a layer with channels and spatial axes, and "
                f"{self.layer!r} of this model is [N, {', '.join(map(str, a.shape[1:]))}]"
            )
        axis %= a.ndim
        spatial = tuple(i for i in range(1, a.ndim) if i != axis)
        cam = (g.mean(spatial, keepdims=True) * a).sum(axis, keepdims=True)
        cam = jax.nn.relu(cam) if rectify else cam
        return cam if self.upsample is None else self._resized(model, x, cam, axis)

    def _resized(self, model: Model, x: jax.Array, cam: jax.Array, axis: int) -> jax.Array:
        channel = model.sample_channel_axis(x.ndim - 1)
        if channel is None or cam.ndim != x.ndim:
            raise ValueError(
                f"{type(self).__name__}: a map {list(cam.shape)} of the layer cannot be resized to "
                f"inputs {list(x.shape)}; upsample=None keeps the size of the layer"
            )
        cam = jnp.moveaxis(cam, axis, channel + 1)
        shape = tuple(1 if i == channel + 1 else n for i, n in enumerate(x.shape))
        if self.upsample == "bilinear":
            return jax.image.resize(cam, shape, "bilinear", antialias=False)
        for axis, n in enumerate(shape):
            cam = jnp.take(cam, np.arange(n) * cam.shape[axis] // n, axis)
        return cam


@pytree
class GradCAM(CamExplainer):
    """Grad-CAM: a layer's channels, weighted by the mean of their gradients.

    ``a = max(Σ_k w_k A_k, 0)`` with the channels A_k of a layer and ``w_k`` the spatial mean of
    ``∂f_y/∂A_k``; non-negative, a pixel map [N, 1, H, W] (the channel axis is kept, with size 1)
    resized to the input.

    Selvaraju et al. 2017, "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based
    Localization". Equal to captum's `LayerGradCam` with ``rectify=False, upsample=None``.

    Args:
      layer: its name, of `jaxeval.explain.layers(model, x)`; None: the last convolution, before
        its activation function ("conv_2/relu" is after that of "conv_2").
      upsample: "bilinear" or "nearest" to the size of the input; None keeps the layer's size.
      layer_channel_axis: the channel axis of the layer's output; None: the same as in x.
      rectify: False keeps negative values, as in captum.

    >>> import jax.numpy as jnp
    >>> from jaxeval import Model
    >>> def apply(p, x):
    ...     return jax.lax.conv(x, p["conv"], (1, 1), "SAME").sum((2, 3))
    >>> net = Model(apply, {"conv": 2 * jnp.ones((1, 1, 1, 1))})
    >>> GradCAM()(net, jnp.arange(4.0).reshape(1, 1, 2, 2), jnp.array([0]))
    Array([[[[0., 2.],
             [4., 6.]]]], dtype=float32)
    """

    rectify: bool = static(default=True)

    def attribute(self, model: Model, x: jax.Array, y: jax.Array, keys: Any) -> jax.Array:
        return self.cam(model, x, y, self.rectify)
