"""The networks that the benchmark asks: each in JAX and, with the same weights, in torch."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from captum.attr._utils.custom_modules import Addition_Module
from jax.ad_checkpoint import checkpoint_name
from torch import nn

import jaxeval as je
from jaxeval.data import digits as digit_images
from jaxeval.data import digits_cnn

LENET = {
    "conv_1": (6, 1, 5, 5),
    "conv_2": (16, 6, 5, 5),
    "fc_1": (120, 256),
    "fc_2": (84, 120),
    "fc_3": (10, 84),
}


@dataclasses.dataclass(frozen=True)
class Network:
    """One network twice, with its inputs; `x_torch` is x with the channel axis first.

    Where layers are explained, `layer` is the name of one and `module` that of torch's, and `parts`
    are the forward pass cut there: ``(params, x) -> activation`` and ``(params, activation) ->
    logits``.
    """

    name: str
    model: je.Model
    torch: Any
    x: np.ndarray
    x_torch: np.ndarray
    y: np.ndarray
    layer: str = ""
    module: str = ""
    parts: tuple[Callable[..., Any], Callable[..., Any]] | None = None

    @property
    def mask(self) -> np.ndarray:
        """Where an object might be [N, 1, h, w]: rectangles, placed at random."""
        rng = np.random.default_rng(2)
        mask = np.zeros(self.x_torch.shape, bool)
        side = mask.shape[-1]
        for rows, (top, left) in zip(mask, rng.integers(0, side // 2, (len(mask), 2)), strict=True):
            rows[:, top : top + side // 2, left : left + side // 3] = True
        return mask

    @property
    def tiles(self) -> np.ndarray:
        """Which quarters of each image show the class [N, 4], row by row: two of the four."""
        rng = np.random.default_rng(4)
        return np.array([rng.permutation([1, 1, 0, 0]) for _ in self.x])

    def double(self) -> Network:
        """The same in float64; of JAX within ``jax.enable_x64``."""
        params = jax.tree.map(lambda v: jnp.asarray(v, jnp.float64), self.model.params)
        return dataclasses.replace(
            self,
            model=dataclasses.replace(self.model, params=params),
            torch=copy.deepcopy(self.torch).double(),
            x=self.x.astype(np.float64),
            x_torch=self.x_torch.astype(np.float64),
        )

    def to_jax(self, v: np.ndarray) -> np.ndarray:
        """[..., 1, h, w] in the layout of x; there is one channel, so entries keep their order."""
        return v.reshape(*v.shape[:-3], *self.x.shape[1:])


def conv(w: Any, x: jax.Array, stride: int = 1, padding: Any = "VALID") -> jax.Array:
    return jax.lax.conv_general_dilated(x, w, (stride, stride), padding)


def max_pool(x: jax.Array) -> jax.Array:
    window = (1, 1, 2, 2)
    return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, window, window, "VALID")


def lenet_features(params: Any, x: jax.Array) -> jax.Array:
    """The output of the second convolution."""
    (w1, b1), (w2, b2) = params["conv_1"], params["conv_2"]
    x = max_pool(jax.nn.relu(conv(w1, x) + b1[:, None, None]))
    return conv(w2, x) + b2[:, None, None]


def lenet_dense(params: Any, x: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
    x, dense = max_pool(jax.nn.relu(x)).reshape(len(x), -1), {}
    for layer in ("fc_1", "fc_2", "fc_3"):
        w, b = params[layer]
        dense[layer] = x @ w.T + b
        x = jax.nn.relu(dense[layer])
    return dense["fc_3"], dense


def lenet_rest(params: Any, x: jax.Array) -> jax.Array:
    return lenet_dense(params, x)[0]


def lenet_hidden(params: Any, x: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
    """The logits, and the outputs of the dense layers before they are rectified."""
    return lenet_dense(params, lenet_features(params, x))


def lenet_apply(params: Any, x: jax.Array) -> jax.Array:
    return lenet_hidden(params, x)[0]


def lenet(samples: int) -> Network:
    """A LeNet with random weights on images of noise, explained for the predicted class."""
    rng = np.random.default_rng(0)
    params = {
        name: (
            rng.uniform(-1, 1, shape).astype(np.float32) * np.sqrt(6 / np.prod(shape[1:])),
            rng.uniform(-0.1, 0.1, shape[0]).astype(np.float32),
        )
        for name, shape in LENET.items()
    }
    net = nn.Sequential()
    for name, shape in LENET.items():
        layer = nn.Conv2d(shape[1], shape[0], 5) if shape[2:] else None
        net.add_module(name, _with(params[name], layer))
        if name != "fc_3":
            net.append(nn.ReLU())
        if shape[2:]:
            net.append(nn.MaxPool2d(2))
        if name == "conv_2":
            net.append(nn.Flatten())
    x = rng.uniform(0, 1, (samples, 1, 28, 28)).astype(np.float32)
    model = je.Model(lenet_apply, jax.tree.map(jnp.asarray, params), hidden=lenet_hidden)
    found = _checked("LeNet", model, net.eval(), x, x)
    parts = (lenet_features, lenet_rest)
    return dataclasses.replace(found, layer="conv_2", module="conv_2", parts=parts)


WIDTHS = (16, 32, 64)
"""Channels of the stages of the residual network, each of which halves the sides of the last."""


def residual_features(params: Any, x: jax.Array) -> jax.Array:
    """The output of the last residual block."""

    def layer(name: str, x: jax.Array, stride: int) -> jax.Array:
        p = params[name]
        mean, var, scale, shift = (v[:, None, None] for v in p["norm"])
        margin = p["conv"].shape[-1] // 2
        y = conv(p["conv"], x, stride, [(margin, margin)] * 2)
        return (y - mean) * jax.lax.rsqrt(var + 1e-5) * scale + shift

    x = jax.nn.relu(layer("stem", x, 2))
    for i in range(len(WIDTHS)):
        stride = 2 if i else 1
        y = jax.nn.relu(layer(f"block_{i}.first", x, stride))
        y = layer(f"block_{i}.second", y, 1)
        x = jax.nn.relu(y + (layer(f"block_{i}.short", x, stride) if i else x))
    return checkpoint_name(x, "features")


def residual_rest(params: Any, x: jax.Array) -> jax.Array:
    w, b = params["fc"]
    return x.mean((2, 3)) @ w.T + b


def residual_apply(params: Any, x: jax.Array) -> jax.Array:
    return residual_rest(params, residual_features(params, x))


class Block(nn.Module):
    """A residual block; the addition is a module, because captum's LRP knows no other."""

    def __init__(self, before: int, after: int, stride: int):
        super().__init__()
        self.first, self.second = _normalised(before, after, 3, stride), _normalised(after, after)
        self.short = _normalised(before, after, 1, stride) if before != after else None
        self.relu, self.out, self.plus = nn.ReLU(), nn.ReLU(), Addition_Module()

    def forward(self, x: Any) -> Any:
        y = self.second(self.relu(self.first(x)))
        return self.out(self.plus(y, x if self.short is None else self.short(x)))


def _normalised(before: int, after: int, size: int = 3, stride: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(before, after, size, stride, size // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(after))


def residual(samples: int) -> Network:
    """A small ResNet with batch normalisation and random weights, on images 3 x 64 x 64."""
    torch.manual_seed(0)
    net = nn.Sequential()
    net.add_module("stem", _normalised(3, WIDTHS[0], 3, 2))
    net.add_module("relu", nn.ReLU())
    for i, (before, after) in enumerate(zip((WIDTHS[0], *WIDTHS), WIDTHS, strict=False)):
        net.add_module(f"block_{i}", Block(before, after, 2 if i else 1))
    net.add_module("pool", nn.AdaptiveAvgPool2d(1))
    net.add_module("flat", nn.Flatten())
    net.add_module("fc", nn.Linear(WIDTHS[-1], 10))
    params: dict[str, Any] = {"fc": (net.fc.weight, net.fc.bias)}
    for name, module in net.named_modules():
        if not isinstance(module, nn.BatchNorm2d):
            continue
        module.running_mean.normal_(0, 0.3)
        module.running_var.uniform_(0.5, 2)
        nn.init.uniform_(module.weight, 0.5, 1.5)
        nn.init.normal_(module.bias, 0, 0.1)
        layer = name.rpartition(".")[0]
        norm = (module.running_mean, module.running_var, module.weight, module.bias)
        params[layer] = {"conv": net.get_submodule(layer)[0].weight, "norm": norm}
    params = jax.tree.map(lambda v: jnp.asarray(v.detach().numpy()), params)
    x = np.random.default_rng(1).uniform(0, 1, (samples, 3, 64, 64)).astype(np.float32)
    found = _checked("ResNet", je.Model(residual_apply, params), net.eval(), x, x)
    parts = (residual_features, residual_rest)
    module = f"block_{len(WIDTHS) - 1}.out"
    return dataclasses.replace(found, layer="features", module=module, parts=parts)


def digits(samples: int) -> Network:
    """The digits network of `jaxeval.data` on held-out digits, explained for its prediction."""
    model, data = digits_cnn(), digit_images()
    params = {
        k: (np.asarray(v["kernel"]), np.asarray(v["bias"]))
        for k, v in model.params["params"].items()
    }
    flat, hidden = params["Dense_0"][0].shape
    channels = params["Conv_1"][0].shape[-1]
    side = int(np.sqrt(flat // channels))
    # Kernels are [h, w, in, out] and [in, out]; torch flattens its features channel first.
    first = params["Dense_0"][0].reshape(side, side, channels, hidden).transpose(3, 2, 0, 1)
    modules: list[nn.Module] = []
    for name in ("Conv_0", "Conv_1"):
        w, b = params[name]
        conv = nn.Conv2d(w.shape[2], w.shape[3], w.shape[:2])
        modules += [_with((w.transpose(3, 2, 0, 1), b), conv), nn.ReLU()]
    modules += [nn.Flatten(), _with((first.reshape(hidden, flat), params["Dense_0"][1])), nn.ReLU()]
    modules += [_with((params["Dense_1"][0].T, params["Dense_1"][1]))]
    x = data.x_test[:samples]
    return _checked("digits CNN", model, nn.Sequential(*modules).eval(), x, x.transpose(0, 3, 1, 2))


def _with(params: tuple[np.ndarray, np.ndarray], module: Any = None) -> Any:
    """The module (None: a dense layer) with these weights."""
    weight, bias = (torch.from_numpy(np.ascontiguousarray(p, np.float32)) for p in params)
    module = module or nn.Linear(*weight.shape[::-1])
    with torch.no_grad():
        module.weight.copy_(weight)
        module.bias.copy_(bias)
    return module


def _checked(name: str, model: je.Model, net: Any, x: np.ndarray, x_torch: np.ndarray) -> Network:
    x_torch = np.ascontiguousarray(x_torch)
    with torch.no_grad():
        theirs = net(torch.from_numpy(x_torch)).numpy()
    np.testing.assert_allclose(np.asarray(model(x)), theirs, atol=1e-4)
    return Network(name, model, net, x, x_torch, theirs.argmax(1).astype(np.int32))
