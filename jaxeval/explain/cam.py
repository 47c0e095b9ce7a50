"""Base class of class activation maps: a layer's channels, combined and resized to the input."""

from __future__ import annotations

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from .. import check
from ..model import Model
from ..trace import Graph, Value
from ..types import pytree, static
from .layer import LayerExplainer, layer_axis

UPSAMPLE = ("bilinear", "nearest", None)
NORMALISE = ("minmax", None)
TINY = 1e-7
"""What grad-cam adds to the maximum that it divides by."""


@pytree
class CamExplainer(LayerExplainer):
    """Base of class activation maps: a layer, and a map resized to the input."""

    rectified: ClassVar[bool] = True
    """Whether the default layer is the output of the activation function after a convolution."""

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
                f"convolutions: one of {check.among(graph.layers, check.LAYERS)}"
            )
        name = graph.convolutions[-1]
        after = (f"{name}/{kind}" for kind in ("relu", "activation"))
        found = [v for v in after if v in graph.layers] if self.rectified else []
        return graph.layer(found[0] if found else name)

    def axis(self, model: Model, shape: tuple[int, ...]) -> int:
        """The channel axis of the layer's output, given its shape with the axis of samples."""
        axis = layer_axis(self, model, len(shape))
        if axis is None and len(shape) > 2:
            raise ValueError(
                f"{type(self).__name__} makes a map of the input's size, and this model's inputs "
                "have no channel axis: give layer_channel_axis=, with upsample=None for a map of "
                "the layer's size. Of several inputs, explain the image alone: x=image, and the "
                "others as inputs=, a dict"
            )
        if axis is None or len(shape) < 3:
            raise ValueError(
                f"{type(self).__name__} needs a layer with channels and spatial axes, and "
                f"{self.layer!r} of this model is [N, {', '.join(map(str, shape[1:]))}]"
            )
        return axis

    def finished(self, model: Model, x: jax.Array, cam: jax.Array, axis: int) -> jax.Array:
        """The map of the layer's size, with 1 channel on `axis`, resized to the input."""
        return cam if self.upsample is None else resized(self, model, x, cam, axis, self.upsample)


def resized(
    owner: Any,
    model: Model,
    x: jax.Array,
    cam: jax.Array,
    axis: int,
    how: str,
    channel: int | None = None,
) -> jax.Array:
    """A map of a layer's size with 1 channel on `axis`, resized to the input.

    `channel`: the channel axis of a sample, if it is not the model's.
    """
    channel = model.sample_channel_axis(x.ndim - 1) if channel is None else channel
    if channel is None or cam.ndim != x.ndim:
        raise ValueError(
            f"{type(owner).__name__}: a map {list(cam.shape)} of the layer cannot be resized to "
            f"inputs {list(x.shape)}; upsample=None keeps the size of the layer"
        )
    cam = jnp.moveaxis(cam, axis, channel + 1)
    shape = tuple(1 if i == channel + 1 else n for i, n in enumerate(x.shape))
    if how == "bilinear":
        return jax.image.resize(cam, shape, "bilinear", antialias=False)
    for axis, n in enumerate(shape):
        if how == "nearest":
            cam = jnp.take(cam, np.arange(n) * cam.shape[axis] // n, axis)
        elif n != cam.shape[axis]:
            cam = corners(cam, axis, n)
    return cam


def corners(v: jax.Array, axis: int, n: int) -> jax.Array:
    """v resized linearly to n entries along an axis, with its first and last ones in place."""
    before = v.shape[axis]
    at = np.linspace(0, before - 1, n) if n > 1 else np.zeros(1)
    weights = np.maximum(1 - np.abs(at[:, None] - np.arange(before)), 0)
    return jnp.moveaxis(jnp.tensordot(v, jnp.asarray(weights, v.dtype), ((axis,), (1,))), -1, axis)


def spatial_axes(ndim: int, axis: int) -> tuple[int, ...]:
    """The axes of a layer's output that are neither samples nor channels."""
    return tuple(i for i in range(1, ndim) if i != axis)


def minmax(cam: jax.Array) -> jax.Array:
    """Each map minus its minimum, divided by its maximum then, as grad-cam does."""
    axes = tuple(range(1, cam.ndim))
    cam = cam - cam.min(axes, keepdims=True)
    return cam / (TINY + cam.max(axes, keepdims=True))


@pytree
class SignedCam(CamExplainer):
    """Base of class activation maps that are signed before they are rectified.

    Args:
      layer: its name, of `jaxeval.explain.layers(model, x)`; None: the last convolution, after its
        activation function.
      upsample: "bilinear", "nearest", or None for the size of the layer.
      layer_channel_axis: the channel axis of the layer's output; None: the same as in x.
      rectify: whether negative values of the map become 0.
      normalise: "minmax" scales each map to [0, 1], before and after resizing, as grad-cam does:
        ``max(a, 0)``, minus its minimum, divided by its maximum + 1e-7. A constant map becomes 0.
    """

    rectify: bool = static(default=True)
    normalise: str | None = static(default=None)

    def __post_init__(self) -> None:
        super().__post_init__()
        check.one_of(self, "normalise", NORMALISE)

    def finished(self, model: Model, x: jax.Array, cam: jax.Array, axis: int) -> jax.Array:
        if self.normalise is None:
            cam = jax.nn.relu(cam) if self.rectify else cam
            return super().finished(model, x, cam, axis)
        return minmax(jax.nn.relu(super().finished(model, x, minmax(jax.nn.relu(cam)), axis)))


@pytree
class GradientCam(SignedCam):
    """Base of class activation maps of a layer's output A and its gradient g = ∂f_y/∂A."""

    def attribute(self, model: Model, x: jax.Array, y: jax.Array, keys: Any) -> jax.Array:
        graph = Graph(model, x)
        a = self.activation(graph, model, x)
        axis = self.axis(model, a.shape)
        g = self.gradient(graph, model, x, y, a)
        return self.finished(model, x, self.combined(a, g, axis), axis)

    def combined(self, a: jax.Array, g: jax.Array, axis: int) -> jax.Array:
        """The map of the layer's size, with 1 channel on `axis`."""
        spatial = spatial_axes(a.ndim, axis)
        return (self.weights(a, g, spatial) * a).sum(axis, keepdims=True)

    def weights(self, a: jax.Array, g: jax.Array, spatial: tuple[int, ...]) -> jax.Array:
        """The weights of the channels, or of all entries of the layer."""
        raise NotImplementedError
