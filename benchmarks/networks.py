"""The networks that the benchmark asks: each in JAX and, with the same weights, in torch."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
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
    """One network twice, with its inputs; `x_torch` is x with the channel axis first."""

    name: str
    model: je.Model
    torch: Any
    x: np.ndarray
    x_torch: np.ndarray
    y: np.ndarray

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


def lenet_hidden(params: Any, x: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
    """The logits, and the outputs of the dense layers before they are rectified."""

    def conv(layer: str, x: jax.Array) -> jax.Array:
        w, b = params[layer]
        x = jax.lax.conv_general_dilated(x, w, (1, 1), "VALID") + b[:, None, None]
        return jax.lax.reduce_window(
            jax.nn.relu(x), -jnp.inf, jax.lax.max, (1, 1, 2, 2), (1, 1, 2, 2), "VALID"
        )

    x, dense = conv("conv_2", conv("conv_1", x)).reshape(len(x), -1), {}
    for layer in ("fc_1", "fc_2", "fc_3"):
        w, b = params[layer]
        dense[layer] = x @ w.T + b
        x = jax.nn.relu(dense[layer])
    return dense["fc_3"], dense


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
    return _checked("LeNet", model, net.eval(), x, x)


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
