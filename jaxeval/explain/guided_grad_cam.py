"""Attribution by the product of guided backpropagation and Grad-CAM."""

from __future__ import annotations

from typing import Any, ClassVar

import jax

from .. import check
from ..model import Model
from ..types import pytree
from .cam import CamExplainer
from .grad_cam import GradCAM
from .guided_backprop import GuidedBackprop


@pytree
class GuidedGradCAM(CamExplainer):
    """Guided backpropagation times Grad-CAM, resized to the input.

    ``a = GuidedBackprop(x) · GradCAM(x)``, signed, in the shape of x.

    Selvaraju et al. 2017, "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based
    Localization". Equal to captum's `GuidedGradCam` with ``upsample="nearest"``.

    Args:
      layer: its name, of `jaxeval.explain.layers(model, x)`; None: the last convolution, before
        its activation function.
      upsample: "bilinear" or "nearest".
      layer_channel_axis: the channel axis of the layer's output; None: the same as in x.

    >>> import jax.numpy as jnp
    >>> from jaxeval import Model
    >>> def apply(p, x):
    ...     return jax.lax.conv(x, p["conv"], (1, 1), "SAME").sum((2, 3))
    >>> net = Model(apply, {"conv": 2 * jnp.ones((1, 1, 1, 1))})
    >>> GuidedGradCAM()(net, jnp.arange(4.0).reshape(1, 1, 2, 2), jnp.array([0]))
    Array([[[[ 0.,  4.],
             [ 8., 12.]]]], dtype=float32)
    """

    rectified: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check.one_of(self, "upsample", ("bilinear", "nearest"))

    def attribute(self, model: Model, x: jax.Array, y: jax.Array, keys: Any) -> jax.Array:
        guided = GuidedBackprop(output=self.output).attribute(model, x, y, keys)
        cam = GradCAM(
            output=self.output,
            layer=self.layer,
            upsample=self.upsample,
            layer_channel_axis=self.layer_channel_axis,
        )
        return guided * cam.attribute(model, x, y, keys)
