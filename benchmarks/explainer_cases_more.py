"""Explainers of units and layers, class activation maps, and those of attention: rows of cases."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from captum import attr
from captum.attr._utils.lrp_rules import EpsilonRule
from networks import Network

import jaxeval as je

UNIT = (1, 2, 2)
"""The explained unit of a layer: channel, row, column."""


def of_layers(net: Network, passes: Any, steps: int, epsilon: float) -> list[Any]:
    """Rows (explainer, captum's, floor, kind of randomness) of methods that look into the network.

    Args:
      passes: the class of floors.
      epsilon: the stabiliser of relevance, on both sides.
    """
    e, module = je.explain, net.torch.get_submodule(net.module)
    at, one = {"layer": net.layer, "unit": UNIT}, {"layer": net.layer}
    side, channels = net.x.shape[-1], net.x.shape[1]
    patch = side // 4  # 16 features
    cells = np.arange(side) // patch
    grid = torch.from_numpy(np.tile(cells[:, None] * 4 + cells, (1, channels, 1, 1)))
    background = net.x[:8]
    draws = {"n_samples": steps, "stdevs": 0.1, "baselines": torch.from_numpy(background)}
    shap = {"n_samples": steps, "stdevs": 0.1, "background": background}
    with torch.no_grad():
        _, shape = None, _layer(net, module).shape
    k = shape[1]
    by_channel = np.broadcast_to(np.arange(k)[:, None, None], shape[1:])

    def neuron(name: str, classes: bool = False, **settings: Any) -> Callable[..., Any]:
        def explain(x: Any, y: Any) -> Any:
            method = getattr(attr, name)(net.torch, module)
            given = {"target": y, **settings} if classes else settings
            return method.attribute(x, neuron_selector=UNIT, **given)

        return explain

    def layer(name: str, **settings: Any) -> Callable[..., Any]:
        def explain(x: Any, y: Any) -> Any:
            return getattr(attr, name)(net.torch, module).attribute(x, target=y, **settings)

        return explain

    def relevance(x: Any, y: Any) -> Any:
        for part in net.torch.modules():
            if not isinstance(part, torch.nn.ReLU) and not list(part.children()):
                part.rule = EpsilonRule(epsilon=epsilon)
        return attr.LayerLRP(net.torch, module).attribute(x, target=y)

    signed = {"rectify": False, "upsample": None, **one}
    cam, path = passes(before=1, behind=1), {"n_steps": steps}
    segments = jnp.asarray(cells[:, None] * 4 + cells)
    return [
        (e.NeuronGradient(**at), neuron("NeuronGradient"), passes(unit=1), None),
        (
            e.NeuronIntegratedGradients(**path, **at),
            neuron("NeuronIntegratedGradients", **path),
            passes(unit=steps),
            None,
        ),
        (
            e.NeuronConductance(**path, **at),
            neuron("NeuronConductance", True, method="gausslegendre", **path),
            passes(unit=steps, behind=steps),
            None,
        ),
        (e.NeuronGradientShap(**shap, **at), neuron("NeuronGradientShap", **draws),
         passes(unit=steps), "rows"),
        (e.NeuronDeepLift(pooling="gradient", **at), neuron("NeuronDeepLift"),
         passes(before=1, unit=1), None),
        (e.NeuronGuidedBackprop(**at), neuron("NeuronGuidedBackprop"), passes(unit=1), None),
        (e.NeuronDeconvolution(**at), neuron("NeuronDeconvolution"), passes(unit=1), None),
        (
            e.NeuronFeatureAblation(patch=patch, **at),
            neuron("NeuronFeatureAblation", feature_mask=grid),
            passes(before=17),
            None,
        ),
        (e.LayerDeepLift(pooling="gradient", **one), layer("LayerDeepLift"),
         passes(before=2, behind=1), None),
        (e.LayerLRP(rule=e.Epsilon(epsilon=epsilon), **one), relevance, cam, None),
        (
            e.LayerGradientShap(**shap, **one),
            layer("LayerGradientShap", **draws),
            passes(before=3 * steps, behind=steps),
            "rows",
        ),
        (
            e.LayerFeatureAblation(features=by_channel, **one),
            layer("LayerFeatureAblation", layer_mask=torch.from_numpy(by_channel.copy())[None]),
            passes(before=1, rest=k + 1),
            None,
        ),
        *((c(**signed), None, cam, None) for c in (
            e.HiResCAM, e.LayerCAM, e.XGradCAM, e.GradCAMPlusPlus)),
        (e.ScoreCAM(**signed), None, passes(before=1, forward=k), None),
        (e.AblationCAM(**signed), None, passes(before=1, rest=k + 1), None),
        (e.EigenCAM(**signed), None, passes(before=1), None),
        # Forwards and backwards with positive and with negative weights.
        (e.RAP(), None, passes(forward=1, gradient=2), None),
        (e.XRAI(segments=segments, **path), None, passes(gradient=2 * steps), None),
        (e.ExtremalPerturbation(**path), None, passes(gradient=steps), None),
    ]  # fmt: skip


def _layer(net: Network, module: Any) -> Any:
    return attr.LayerActivation(net.torch, module).attribute(torch.from_numpy(net.x[:1]))


T, D, HEADS, LAYERS, CLASSES = 128, 384, 6, 4, 10  # the width of MiniLM


def transformer_apply(params: Any, x: jax.Array) -> jax.Array:
    """The logits of embeddings x [N, T, D]."""
    n, t, d = x.shape
    for p in params["layers"]:
        v = _norm(x)
        q, k, w = ((v @ p[name]).reshape(n, t, HEADS, -1).swapaxes(1, 2) for name in "qkv")
        a = jax.nn.softmax(q @ k.mT * (d // HEADS) ** -0.5)
        x = x + (a @ w).swapaxes(1, 2).reshape(n, t, d) @ p["o"]
        x = x + jax.nn.gelu(_norm(x) @ p["up"]) @ p["down"]
    return x[:, 0] @ params["head"]


def _norm(x: jax.Array) -> jax.Array:
    x = x - x.mean(-1, keepdims=True)
    return x * jax.lax.rsqrt((x * x).mean(-1, keepdims=True) + 1e-5)


def _same(params: Any, x: jax.Array) -> jax.Array:
    return x


def transformer(samples: int) -> Network:
    """A transformer with random weights on random embeddings."""
    rng = np.random.default_rng(0)

    def draw(*shape: int) -> jax.Array:
        return jnp.asarray(rng.normal(size=shape) * shape[0] ** -0.5, jnp.float32)

    sizes = {**dict.fromkeys("qkvo", (D, D)), "up": (D, 4 * D), "down": (4 * D, D)}
    layers = [{name: draw(*shape) for name, shape in sizes.items()} for _ in range(LAYERS)]
    params = {"layers": layers, "head": draw(D, CLASSES)}
    x = rng.normal(size=(samples, T, D)).astype(np.float32)
    model = je.Model(transformer_apply, params, channel_axis=-1)
    y = np.asarray(jax.jit(transformer_apply)(params, x)).argmax(1)
    return Network("transformer", model, None, x, x, y, parts=(_same, transformer_apply))


def of_attention(passes: Any) -> list[Any]:
    e, one = je.explain, passes(gradient=1)
    return [
        (e.AttentionRollout(upsample=None), None, passes(forward=1), None),
        (e.GenericAttention(upsample=None), None, one, None),
        # A gradient, and a backward pass of relevance with positive and negative weights.
        (e.TransformerAttribution(upsample=None), None, passes(gradient=2), None),
        (e.AttnLRP(), None, one, None),
    ]
