"""Small networks, each written twice with the same weights: in JAX and in torch.

`lenet`, `smooth_cnn` and `mlp` make `(Model, params)`; `lenet_torch(params)` and so on make the
same network as an `nn.Module` in eval mode. Weights are drawn with NumPy, so both sides and every
test see the same numbers for a seed. Parameters are ``{layer: {"weight", "bias"}}`` in torch's
layouts: conv [out, in, h, w], fc [out, in].
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxeval.model import Model

Params = dict[str, dict[str, Any]]
Shapes = dict[str, tuple[int, ...]]

LENET: Shapes = {
    "conv_1": (6, 1, 5, 5),
    "conv_2": (16, 6, 5, 5),
    "fc_1": (120, 256),
    "fc_2": (84, 120),
    "fc_3": (10, 84),
}


def conv(layer: dict[str, Any], x: jax.Array) -> jax.Array:
    """Valid cross-correlation, N C H W."""
    y = jax.lax.conv_general_dilated(x, layer["weight"], (1, 1), "VALID")
    return y + layer["bias"][:, None, None]


def fc(layer: dict[str, Any], x: jax.Array) -> jax.Array:
    return x @ layer["weight"].T + layer["bias"]


def max_pool(x: jax.Array) -> jax.Array:
    return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 1, 2, 2), (1, 1, 2, 2), "VALID")


def average_pool(x: jax.Array) -> jax.Array:
    return jax.lax.reduce_window(x, 0.0, jax.lax.add, (1, 1, 2, 2), (1, 1, 2, 2), "VALID") / 4


def flatten(x: jax.Array) -> jax.Array:
    return x.reshape(x.shape[0], -1)


# One forward pass a network, as (logits, {layer: its activations}).


def lenet_hidden(params: Params, x: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
    h = {}
    h["conv_1"] = x = jax.nn.relu(conv(params["conv_1"], x))
    h["conv_2"] = x = jax.nn.relu(conv(params["conv_2"], max_pool(x)))
    h["fc_1"] = x = jax.nn.relu(fc(params["fc_1"], flatten(max_pool(x))))
    h["fc_2"] = x = jax.nn.relu(fc(params["fc_2"], x))
    return fc(params["fc_3"], x), h


def smooth_cnn_hidden(params: Params, x: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
    h = {}
    h["conv_1"] = x = jnp.tanh(conv(params["conv_1"], x))
    h["conv_2"] = x = jax.nn.softplus(conv(params["conv_2"], average_pool(x)))
    return fc(params["fc_1"], flatten(average_pool(x))), h


def mlp_hidden(params: Params, x: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
    h = {}
    h["fc_1"] = x = jax.nn.relu(fc(params["fc_1"], x))
    h["fc_2"] = x = jax.nn.relu(fc(params["fc_2"], x))
    return fc(params["fc_3"], x), h


def lenet_apply(params: Params, x: jax.Array) -> jax.Array:
    return lenet_hidden(params, x)[0]


def smooth_cnn_apply(params: Params, x: jax.Array) -> jax.Array:
    return smooth_cnn_hidden(params, x)[0]


def mlp_apply(params: Params, x: jax.Array) -> jax.Array:
    return mlp_hidden(params, x)[0]


def _bound(shape: tuple[int, ...]) -> float:
    return float(np.sqrt(6 / np.prod(shape[1:])))  # activations keep their size through a ReLU


def draw(shapes: Shapes, seed: int) -> Params:
    rng = np.random.default_rng(seed)

    def uniform(bound: float, shape: tuple[int, ...]) -> jax.Array:
        return jnp.asarray(rng.uniform(-bound, bound, shape), jnp.float32)

    return {
        name: {"weight": uniform(_bound(s), s), "bias": uniform(0.1, s[:1])}
        for name, s in shapes.items()
    }


def redraw(key: jax.Array, params: Params) -> Params:
    """Fresh weights from the distribution of `draw`, by a JAX key."""
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(key, len(leaves))
    return tree.unflatten(
        [
            jax.random.uniform(k, w.shape, w.dtype, -b, b)
            for k, w in zip(keys, leaves, strict=True)
            for b in [_bound(w.shape) if w.ndim > 1 else 0.1]
        ]
    )


# Every network has its `init` made once: two models of one network share compiled programs.


def _lenet_init(key: jax.Array, x: Any) -> Params:
    return redraw(key, draw(LENET, 0))


def lenet(seed: int = 0) -> tuple[Model, Params]:
    """x [N, 1, 28, 28] -> logits [N, 10]: convolutions, ReLU and max pooling."""
    params = draw(LENET, seed)
    return Model(lenet_apply, params, hidden=lenet_hidden, init=_lenet_init), params


def smooth_cnn(
    seed: int = 0, *, channels: int = 3, size: int = 18, n_classes: int = 5
) -> tuple[Model, Params]:
    """x [N, channels, size, size] -> logits: tanh, softplus, average pooling: smooth in x."""
    side = ((size - 2) // 2 - 2) // 2
    params = draw(
        {
            "conv_1": (8, channels, 3, 3),
            "conv_2": (12, 8, 3, 3),
            "fc_1": (n_classes, 12 * side * side),
        },
        seed,
    )
    return Model(smooth_cnn_apply, params, hidden=smooth_cnn_hidden), params


def mlp(
    seed: int = 0, *, n_features: int = 12, width: int = 32, n_classes: int = 4
) -> tuple[Model, Params]:
    """x [N, n_features] -> logits: two hidden ReLU layers; no channel axis."""
    params = draw(
        {"fc_1": (width, n_features), "fc_2": (width, width), "fc_3": (n_classes, width)}, seed
    )
    return Model(mlp_apply, params, hidden=mlp_hidden, channel_axis=None), params


def _torch(params: Params, *layers: tuple[str, Callable[[Any], Any] | None]) -> Any:
    """An nn.Sequential with the given weights; each module is used once, as hooks need it."""
    import torch
    from torch import nn

    def loaded(name: str) -> Any:
        weight, bias = (np.array(params[name][k]) for k in ("weight", "bias"))
        shape = weight.shape
        module = (
            nn.Conv2d(shape[1], shape[0], shape[2:])
            if weight.ndim == 4
            else nn.Linear(*shape[::-1])
        )
        with torch.no_grad():
            module.weight.copy_(torch.from_numpy(weight))
            module.bias.copy_(torch.from_numpy(bias))
        return module

    modules = OrderedDict((n, loaded(n) if make is None else make(nn)) for n, make in layers)
    return nn.Sequential(modules).eval()


def lenet_torch(params: Params) -> Any:
    return _torch(
        params,
        ("conv_1", None),
        ("relu_1", lambda nn: nn.ReLU()),
        ("pool_1", lambda nn: nn.MaxPool2d(2)),
        ("conv_2", None),
        ("relu_2", lambda nn: nn.ReLU()),
        ("pool_2", lambda nn: nn.MaxPool2d(2)),
        ("flatten", lambda nn: nn.Flatten()),
        ("fc_1", None),
        ("relu_3", lambda nn: nn.ReLU()),
        ("fc_2", None),
        ("relu_4", lambda nn: nn.ReLU()),
        ("fc_3", None),
    )


def smooth_cnn_torch(params: Params) -> Any:
    return _torch(
        params,
        ("conv_1", None),
        ("tanh", lambda nn: nn.Tanh()),
        ("pool_1", lambda nn: nn.AvgPool2d(2)),
        ("conv_2", None),
        ("softplus", lambda nn: nn.Softplus()),
        ("pool_2", lambda nn: nn.AvgPool2d(2)),
        ("flatten", lambda nn: nn.Flatten()),
        ("fc_1", None),
    )


def mlp_torch(params: Params) -> Any:
    return _torch(
        params,
        ("fc_1", None),
        ("relu_1", lambda nn: nn.ReLU()),
        ("fc_2", None),
        ("relu_2", lambda nn: nn.ReLU()),
        ("fc_3", None),
    )
