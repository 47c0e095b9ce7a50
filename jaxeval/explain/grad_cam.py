"""Attribution by a layer's activations, weighted by the mean gradients of its channels."""

from __future__ import annotations

from typing import ClassVar

import jax

from ..types import pytree
from .cam import GradientCam


@pytree
class GradCAM(GradientCam):
    """A layer's activations, weighted by the mean gradients of their channels.

    ``a_p = ReLU(Σ_k w_k A_kp)`` with ``w_k = 1/P Σ_p ∂f_y/∂A_kp``, for a layer's output A with
    channels k and places p, resized to the input. The map has one channel.

    Selvaraju et al. 2017, "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based
    Localization". Equal to captum's `LayerGradCam`, up to the resizing, and to grad-cam's `GradCAM`
    with ``normalise="minmax"``.

    Args:
      layer: its name, of `jaxeval.explain.layers(model, x)`; None: the last convolution, before
        its activation function.
      upsample: "bilinear" or "nearest", as torch.nn.functional.interpolate does by default; None
        keeps the size of the layer.
      layer_channel_axis: the channel axis of the layer's output; None: the same as in x.
      rectify: False keeps negative values, as in captum.
      normalise: "minmax" scales each map to [0, 1], before and after resizing, as grad-cam does:
        ``max(a, 0)``, minus its minimum, divided by its maximum + 1e-7. A constant map becomes 0.

    >>> import jax.numpy as jnp
    >>> from jaxeval import Model
    >>> def apply(p, x):
    ...     return jax.lax.conv(x, p["conv"], (1, 1), "SAME").sum((2, 3))
    >>> net = Model(apply, {"conv": 2 * jnp.ones((1, 1, 1, 1))})
    >>> GradCAM()(net, jnp.arange(4.0).reshape(1, 1, 2, 2), jnp.array([0]))
    Array([[[[0., 2.],
             [4., 6.]]]], dtype=float32)
    """

    rectified: ClassVar[bool] = False

    def weights(self, a: jax.Array, g: jax.Array, spatial: tuple[int, ...]) -> jax.Array:
        return g.mean(spatial, keepdims=True)
