"""ResNets in JAX and in torch with the same random parameters, for images of any size."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from jax import lax
from networks import Network
from torch import nn

import jaxeval as je

BLOCKS = {18: (2, 2, 2, 2), 50: (3, 4, 6, 3)}
"""Blocks of each stage, by the depth of the network."""


class Unit(nn.Module):
    """Convolutions with batch normalisation, added to a shortcut."""

    def __init__(self, before: int, width: int, stride: int, deep: bool):
        super().__init__()
        after = 4 * width if deep else width
        shapes = ((before, width, 1, 1), (width, width, 3, stride), (width, after, 1, 1))
        if not deep:
            shapes = ((before, width, 3, stride), (width, width, 3, 1))
        self.layers = nn.ModuleList(normalised(*shape) for shape in shapes)
        changed = before != after or stride > 1
        self.short = normalised(before, after, 1, stride) if changed else None

    def forward(self, x: Any) -> Any:
        y = x
        for i, layer in enumerate(self.layers):
            y = layer(y) if i == len(self.layers) - 1 else torch.relu(layer(y))
        return torch.relu(y + (x if self.short is None else self.short(x)))


def normalised(before: int, after: int, size: int, stride: int) -> nn.Sequential:
    conv = nn.Conv2d(before, after, size, stride, size // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(after))


class ResNet(nn.Module):
    """A ResNet; strides are in the 3 x 3 convolutions."""

    def __init__(self, depth: int, width: int, classes: int):
        super().__init__()
        self.stem, before, units = normalised(3, width, 7, 2), width, []
        for stage, count in enumerate(BLOCKS[depth]):
            for i in range(count):
                stride = 2 if stage and not i else 1
                units.append(Unit(before, width * 2**stage, stride, depth >= 50))
                before = width * 2**stage * (4 if depth >= 50 else 1)
        self.units, self.head = nn.ModuleList(units), nn.Linear(before, classes)

    def forward(self, x: Any) -> Any:
        x = nn.functional.max_pool2d(torch.relu(self.stem(x)), 3, 2, 1)
        for unit in self.units:
            x = unit(x)
        return self.head(x.mean((2, 3)))


def params_of(net: ResNet) -> dict[str, Any]:
    """The parameters for `apply`, whose images have their channels last."""

    def layer(module: Any) -> dict[str, Any]:
        conv, norm = module
        scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
        kernel = conv.weight.permute(2, 3, 1, 0)
        return {"w": kernel, "scale": scale, "shift": norm.bias - norm.running_mean * scale}

    params: dict[str, Any] = {"stem": layer(net.stem)}
    for i, unit in enumerate(net.units):
        own = {f"layer_{k}": layer(v) for k, v in enumerate(unit.layers)}
        own |= {"short": layer(unit.short)} if unit.short is not None else {}
        params[f"unit_{i:02d}"] = own
    params["head"] = {"w": net.head.weight.T, "b": net.head.bias}
    return jax.tree.map(lambda v: jnp.asarray(v.detach().numpy()), params)


def _layer(p: Any, x: Any, stride: int) -> Any:
    margin = p["w"].shape[0] // 2
    x = lax.conv_general_dilated(
        x, p["w"], (stride, stride), [(margin, margin)] * 2,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )  # fmt: skip
    return x * p["scale"] + p["shift"]


def _apply(strides: tuple[int, ...], p: Any, x: Any) -> Any:
    x = jax.nn.relu(_layer(p["stem"], x, 2))
    around = [(0, 0), (1, 1), (1, 1), (0, 0)]
    x = lax.reduce_window(x, -jnp.inf, lax.max, (1, 3, 3, 1), (1, 2, 2, 1), around)
    for i, stride in enumerate(strides):
        own = p[f"unit_{i:02d}"]
        names = sorted(name for name in own if name != "short")
        strided = len(names) - 2  # the 3 x 3 convolution of three, or the first of two
        y = x
        for k, name in enumerate(names):
            y = _layer(own[name], y, stride if k == strided else 1)
            y = y if k == len(names) - 1 else jax.nn.relu(y)
        x = jax.nn.relu(y + (_layer(own["short"], x, stride) if "short" in own else x))
    return x.mean((1, 2)) @ p["head"]["w"] + p["head"]["b"]


def resnet18(p: Any, x: Any) -> Any:
    return _apply(_strides(18), p, x)


def resnet50(p: Any, x: Any) -> Any:
    return _apply(_strides(50), p, x)


def _strides(depth: int) -> tuple[int, ...]:
    counts = enumerate(BLOCKS[depth])
    return tuple(2 if stage and not i else 1 for stage, n in counts for i in range(n))


def resnet(depth: int, samples: int, side: int = 224, width: int = 64) -> Network:
    """A ResNet with random weights and statistics, on uniform noise."""
    torch.manual_seed(0)
    net = ResNet(depth, width, 1000 if width == 64 else 10).eval()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.8, 1.2)
    model = je.Model({18: resnet18, 50: resnet50}[depth], params_of(net), channel_axis=-1)
    x_torch = np.random.default_rng(1).uniform(0, 1, (samples, 3, side, side)).astype(np.float32)
    with torch.no_grad():
        z = net(torch.from_numpy(x_torch[:8])).numpy()
    x = np.ascontiguousarray(x_torch.transpose(0, 2, 3, 1))
    ours = np.asarray(jax.jit(model.__call__)(x[:8]))
    np.testing.assert_allclose(ours, z, atol=2e-3 * np.abs(z).max())
    y = np.resize(z.argmax(1), samples).astype(np.int32)
    return Network(f"ResNet-{depth}", model, net, x, x_torch, y)
