"""ResNet-50 at 224 pixels and an encoder like BERT's, in plain JAX, with parameters of zeros."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

import jaxeval as je

BLOCKS = ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2))
"""(width, blocks, stride) of each stage."""
SHAPE, CLASSES = (224, 224, 3), 1000


def conv_params(size: int, channels: int, out: int) -> dict[str, Any]:
    return {
        "w": jnp.zeros((size, size, channels, out)),
        "scale": jnp.ones(out),
        "b": jnp.zeros(out),
    }


def conv(p: Any, x: Any, stride: int = 1) -> Any:
    """A convolution with batch normalisation folded into a scale and an offset."""
    x = lax.conv_general_dilated(
        x, p["w"], (stride, stride), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    return x * p["scale"] + p["b"]


def resnet_params() -> dict[str, Any]:
    params, channels = {"stem": conv_params(7, 3, 64), "head": jnp.zeros((2048, CLASSES))}, 64
    for stage, (width, blocks, _) in enumerate(BLOCKS):
        for block in range(blocks):
            own = {
                "a": conv_params(1, channels, width),
                "b": conv_params(3, width, width),
                "c": conv_params(1, width, 4 * width),
            }
            if block == 0:
                own["short"] = conv_params(1, channels, 4 * width)
            params[f"{stage}.{block}"], channels = own, 4 * width
    return params


def resnet_hidden(p: Any, x: Any) -> Any:
    layers = {}
    x = jax.nn.relu(conv(p["stem"], x, 2))
    x = lax.reduce_window(x, -jnp.inf, lax.max, (1, 3, 3, 1), (1, 2, 2, 1), "SAME")
    for stage, (_, blocks, stride) in enumerate(BLOCKS):
        for block in range(blocks):
            own, s = p[f"{stage}.{block}"], stride if block == 0 else 1
            h = jax.nn.relu(conv(own["a"], x))
            h = conv(own["c"], jax.nn.relu(conv(own["b"], h, s)))
            x = jax.nn.relu(h + (conv(own["short"], x, s) if block == 0 else x))
        layers[f"stage {stage}"] = x
    return x.mean((1, 2)) @ p["head"], layers


def resnet(p: Any, x: Any) -> Any:
    return resnet_hidden(p, x)[0]


def resnet50() -> je.Model:
    return je.Model(resnet, resnet_params(), hidden=resnet_hidden, channel_axis=-1)


def bert_params(layers: int = 12, width: int = 768, inner: int = 3072) -> dict[str, Any]:
    def block() -> dict[str, Any]:
        shapes = {"qkv": (width, 3 * width), "out": (width, width)}
        shapes |= {"up": (width, inner), "down": (inner, width)}
        return {name: jnp.zeros(shape) for name, shape in shapes.items()}

    return {**{f"{i:02d}": block() for i in range(layers)}, "head": jnp.zeros((width, 2))}


def bert_hidden(p: Any, x: Any, heads: int = 12) -> Any:
    def normed(x: Any) -> Any:
        return (x - x.mean(-1, keepdims=True)) * lax.rsqrt(x.var(-1, keepdims=True) + 1e-6)

    (n, t, e), layers = x.shape, {}
    for name in sorted(p)[:-1]:
        own = p[name]
        q, k, v = (
            u.reshape(n, t, heads, e // heads) for u in jnp.split(x @ own["qkv"], 3, axis=-1)
        )
        w = jax.nn.softmax(jnp.einsum("nqhd,nkhd->nhqk", q, k) / (e // heads) ** 0.5, -1)
        x = normed(x + jnp.einsum("nhqk,nkhd->nqhd", w, v).reshape(n, t, e) @ own["out"])
        x = normed(x + jax.nn.gelu(x @ own["up"]) @ own["down"])
        layers[f"block {name}"] = x
    return x[:, 0] @ p["head"], layers


def bert(p: Any, x: Any) -> Any:
    return bert_hidden(p, x)[0]


def bert12() -> je.Model:
    return je.Model(bert, bert_params(), hidden=bert_hidden, channel_axis=-1)
