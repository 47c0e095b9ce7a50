"""Class activation maps of one gradient: HiResCAM, LayerCAM, XGrad-CAM and Grad-CAM++."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from .. import check
from ..types import pytree, static
from .cam import GradientCam


@pytree
class HiResCAM(GradientCam):
    """A layer's activations times their gradients, summed over channels.

    ``a_p = Σ_k g_kp A_kp`` with ``g = ∂f_y/∂A``, for a layer's output A with channels k and places
    p, resized to the input. Signed; the map has one channel. If the layer is followed by a linear
    layer alone, ``Σ_p a_p`` is the score, less the bias.

    Draelos & Carin 2020, "Use HiResCAM instead of Grad-CAM for faithful explanations of
    convolutional neural networks". grad-cam's `HiResCAM` is the same with ``normalise="minmax"``.

    Args:
      layer: its name, of `jaxeval.explain.layers(model, x)`; None: the last convolution, after its
        activation function.
      upsample: "bilinear", "nearest", or None for the size of the layer.
      layer_channel_axis: the channel axis of the layer's output; None: the same as in x.
      rectify: whether negative values of the map become 0.
      normalise: "minmax" scales each map to [0, 1], as grad-cam does; see `GradCAM`.

    >>> import jax.numpy as jnp
    >>> from jaxeval import Model
    >>> def apply(p, x):
    ...     z = jax.lax.conv(x, p["conv"], (1, 1), "SAME")
    ...     return z.reshape(len(z), -1) @ p["w"]
    >>> params = {"conv": jnp.ones((1, 1, 1, 1)), "w": jnp.array([[1.0], [-1], [2], [0]])}
    >>> x = jnp.arange(4.0).reshape(1, 1, 2, 2)
    >>> HiResCAM()(Model(apply, params), x, jnp.array([0]))
    Array([[[[ 0., -1.],
             [ 4.,  0.]]]], dtype=float32)
    """

    rectify: bool = static(default=False)

    def weights(self, a: jax.Array, g: jax.Array, spatial: tuple[int, ...]) -> jax.Array:
        return g


@pytree
class LayerCAM(GradientCam):
    """A layer's activations times their positive gradients, summed over channels.

    ``a_p = ReLU(Σ_k max(g_kp, 0) A_kp)`` with ``g = ∂f_y/∂A``, for a layer's output A with channels
    k and places p, resized to the input. The map has one channel.

    Jiang et al. 2021, "LayerCAM: Exploring Hierarchical Class Activation Maps for Localization",
    for one layer; the paper also adds maps of several layers, those of shallow ones scaled by tanh.
    grad-cam's `LayerCAM` is the same with ``normalise="minmax"``.

    Args:
      layer, upsample, layer_channel_axis, rectify, normalise: as for `HiResCAM`.

    >>> import jax.numpy as jnp
    >>> from jaxeval import Model
    >>> def apply(p, x):
    ...     z = jax.lax.conv(x, p["conv"], (1, 1), "SAME")
    ...     return z.reshape(len(z), -1) @ p["w"]
    >>> params = {"conv": jnp.ones((1, 1, 1, 1)), "w": jnp.array([[1.0], [-1], [2], [0]])}
    >>> x = jnp.arange(4.0).reshape(1, 1, 2, 2)
    >>> LayerCAM()(Model(apply, params), x, jnp.array([0]))
    Array([[[[0., 0.],
             [4., 0.]]]], dtype=float32)
    """

    def weights(self, a: jax.Array, g: jax.Array, spatial: tuple[int, ...]) -> jax.Array:
        return jax.nn.relu(g)


@pytree
class XGradCAM(GradientCam):
    """A layer's activations, weighted by the gradients of their channels where they are active.

    ``a_p = ReLU(Σ_k w_k A_kp)`` with ``w_k = Σ_p g_kp A_kp / Σ_p A_kp`` and ``g = ∂f_y/∂A``, for a
    layer's output A with channels k and places p, resized to the input. The map has one channel;
    before it is rectified, it sums to ``Σ g A``. w_k = 0 where ``Σ_p A_kp = 0``, as for a channel
    that is not active. Meant for layers after a ReLU: if A has both signs, ``Σ_p A_kp`` may come
    near 0, and w_k has no bound.

    Fu et al. 2020, "Axiom-based Grad-CAM: Towards Accurate Visualization and Explanation of CNNs".
    grad-cam's `XGradCAM` is the same with ``normalise="minmax", epsilon=1e-7``.

    Args:
      layer, upsample, layer_channel_axis, rectify, normalise: as for `HiResCAM`.
      epsilon: added to ``Σ_p A_kp``.

    >>> import jax.numpy as jnp
    >>> from jaxeval import Model
    >>> def apply(p, x):
    ...     z = jax.lax.conv(x, p["conv"], (1, 1), "SAME")
    ...     return z.reshape(len(z), -1) @ p["w"]
    >>> params = {"conv": jnp.ones((1, 1, 1, 1)), "w": jnp.array([[1.0], [2], [2], [2]])}
    >>> x = jnp.arange(4.0).reshape(1, 1, 2, 2)
    >>> XGradCAM()(Model(apply, params), x, jnp.array([0]))
    Array([[[[0., 2.],
             [4., 6.]]]], dtype=float32)
    """

    epsilon: Any = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check.real(self, "epsilon", least=0)

    def weights(self, a: jax.Array, g: jax.Array, spatial: tuple[int, ...]) -> jax.Array:
        total = a.sum(spatial, keepdims=True) + jnp.asarray(self.epsilon, a.dtype)
        none = total == 0
        return jnp.where(none, 0, (g * a).sum(spatial, keepdims=True) / jnp.where(none, 1, total))


@pytree
class GradCAMPlusPlus(GradientCam):
    """A layer's activations, weighted by the positive gradients of their channels.

    ``a_p = ReLU(Σ_k w_k A_kp)`` with ``w_k = Σ_p α_kp max(g_kp, 0)``, ``g = ∂f_y/∂A`` and
    ``α_kp = g_kp² / (2 g_kp² + Σ_q A_kq g_kp³)`` (0 where g_kp = 0), for a layer's output A with
    channels k and places p, resized to the input. The map has one channel. α follows from
    ``exp(f_y)`` as the score, whose factor ``exp(f_y)`` is the same for all channels. The map does
    not only change its scale with that of f_y, so logits and probabilities have different maps.

    Chattopadhay et al. 2018, "Grad-CAM++: Generalized Gradient-based Visual Explanations for Deep
    Convolutional Networks". grad-cam's `GradCAMPlusPlus` is the same with ``normalise="minmax",
    epsilon=1e-6``; small gradients, such as those of probabilities, then vanish.

    Args:
      layer, upsample, layer_channel_axis, rectify, normalise: as for `HiResCAM`.
      epsilon: added to α's denominator.

    >>> import jax.numpy as jnp
    >>> from jaxeval import Model
    >>> def apply(p, x):
    ...     return jax.lax.conv(x, p["conv"], (1, 1), "SAME").sum((2, 3))
    >>> net = Model(apply, {"conv": jnp.ones((1, 1, 1, 1))})
    >>> GradCAMPlusPlus()(net, jnp.arange(4.0).reshape(1, 1, 2, 2), jnp.array([0]))
    Array([[[[0. , 0.5],
             [1. , 1.5]]]], dtype=float32)
    """

    epsilon: Any = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check.real(self, "epsilon", least=0)

    def weights(self, a: jax.Array, g: jax.Array, spatial: tuple[int, ...]) -> jax.Array:
        # Divided by g², so that it does not underflow; only places with g > 0 have a weight.
        up = jnp.where(g > 0, g, 1)
        epsilon = jnp.asarray(self.epsilon, a.dtype)
        added = jnp.where(epsilon > 0, epsilon / (up * up), 0)
        below = 2 + a.sum(spatial, keepdims=True) * up + added
        shares = jnp.where(below == 0, 0, 1 / jnp.where(below == 0, 1, below))
        return jnp.where(g > 0, shares * g, 0).sum(spatial, keepdims=True)
