"""Normalisations, and operators that do nothing in inference mode."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from .linear import conv
from .table import ConversionError, Node, by_channel, known, operator


def _standardised(x: Any, axes: tuple[int, ...], epsilon: float) -> tuple[Any, Any, Any]:
    """(x with mean 0 and variance 1 over the axes, the mean, 1 / standard deviation)."""
    mean = jnp.mean(x, axes, keepdims=True)
    inverse = lax.rsqrt(jnp.mean(jnp.square(x - mean), axes, keepdims=True) + epsilon)
    return (x - mean) * inverse, mean, inverse


@operator("BatchNormalization")
def batch_norm(node: Node, x: Any, scale: Any, shift: Any, mean: Any, var: Any) -> Any:
    if node.get("training_mode", 0):
        raise ConversionError("it uses the batch's own statistics, so rows depend on each other")
    scale = scale * lax.rsqrt(var + node.get("epsilon", 1e-5))
    return x * by_channel(scale, x.ndim) + by_channel(shift - mean * scale, x.ndim)


def conv_batch_norm(conv_node: Node, node: Node, *given: Any) -> Any:
    """A convolution and the batch normalisation after it, as one convolution."""
    x, w, *bias, scale, shift, mean, var = given
    b = bias[0] if bias else None
    scale = scale * lax.rsqrt(var + node.get("epsilon", 1e-5))
    w = w * scale.reshape(-1, *[1] * (w.ndim - 1))
    b = shift - mean * scale if b is None else shift + (b - mean) * scale
    return conv(conv_node, x, w, b)


@operator("LayerNormalization")
def layer_norm(node: Node, x: Any, scale: Any, shift: Any = None) -> Any:
    axes = tuple(range(node.get("axis", -1) % x.ndim, x.ndim))
    out, mean, inverse = _standardised(x, axes, node.get("epsilon", 1e-5))
    out = out * scale
    return (out if shift is None else out + shift), mean, inverse


@operator("RMSNormalization")
def rms_norm(node: Node, x: Any, scale: Any) -> Any:
    axes = tuple(range(node.get("axis", -1) % x.ndim, x.ndim))
    square = jnp.mean(jnp.square(x), axes, keepdims=True)
    return x * lax.rsqrt(square + node.get("epsilon", 1e-5)) * scale


@operator("InstanceNormalization")
def instance_norm(node: Node, x: Any, scale: Any, shift: Any) -> Any:
    out = _standardised(x, tuple(range(2, x.ndim)), node.get("epsilon", 1e-5))[0]
    return out * by_channel(scale, x.ndim) + by_channel(shift, x.ndim)


@operator("GroupNormalization")
def group_norm(node: Node, x: Any, scale: Any, shift: Any) -> Any:
    groups = node.get("num_groups")
    grouped = x.reshape(x.shape[0], groups, -1)
    out = _standardised(grouped, (2,), node.get("epsilon", 1e-5))[0]
    if scale.size == groups != x.shape[1]:  # one per group, before opset 21
        scale, shift = (jnp.repeat(v, x.shape[1] // groups) for v in (scale, shift))
    return out.reshape(x.shape) * by_channel(scale, x.ndim) + by_channel(shift, x.ndim)


@operator("MeanVarianceNormalization")
def mean_variance_norm(node: Node, x: Any) -> Any:
    axes = tuple(node.get("axes") or (0, 2, 3))
    mean = jnp.mean(x, axes, keepdims=True)
    return (x - mean) / (jnp.std(x, axes, keepdims=True) + 1e-9)


@operator("LpNormalization")
def lp_norm(node: Node, x: Any) -> Any:
    axis, p = node.get("axis", -1), node.get("p", 2)
    norm = jnp.sum(jnp.abs(x) ** p, axis, keepdims=True) ** (1 / p)
    return x / jnp.where(norm == 0, 1, norm)


@operator("LRN")
def local_response_norm(node: Node, x: Any) -> Any:
    n = node.get("size")
    before = (n - 1) // 2
    square = jnp.pad(x * x, [(0, 0), (before, n - 1 - before), *[(0, 0)] * (x.ndim - 2)])
    total = sum(square[:, i : i + x.shape[1]] for i in range(n))
    share = node.get("alpha", 1e-4) / n * total
    return x / (node.get("bias", 1.0) + share) ** node.get("beta", 0.75)


@operator("Dropout")
def dropout(node: Node, x: Any, ratio: Any = None, training: Any = None) -> Any:
    if training is not None and known(training, "training mode").any():
        raise ConversionError("dropout in training mode: export the model in inference mode")
    return x, np.ones(x.shape, bool)
