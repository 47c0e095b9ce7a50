"""What the contract tests' metrics are given: a model, its explainers, samples and maps, in JAX and
in NumPy side by side."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxeval as je
from tests.reference.sample import Net, Sample

N, K, HIDDEN = 7, 5, 16
KEY = 3


# -- the model and its explainers ----------------------------------------------------------------


def apply(params: Any, x: Any) -> Any:
    """softplus(x W + b) V + c, as `tests.reference.sample.Net`."""
    h = jnp.reshape(x, (len(x), -1)) @ params["hidden"]["w"] + params["hidden"]["b"]
    return jax.nn.softplus(h) @ params["out"]["w"] + params["out"]["b"]


def hidden(params: Any, x: Any) -> Any:
    h = jnp.reshape(x, (len(x), -1)) @ params["hidden"]["w"] + params["hidden"]["b"]
    return apply(params, x), {"hidden": jax.nn.softplus(h)}


def init(key: Any, x: Any) -> Any:
    keys = jax.random.split(key, 4)
    d = int(np.prod(x.shape[1:]))
    shapes = {"hidden": {"b": (HIDDEN,), "w": (d, HIDDEN)}, "out": {"b": (K,), "w": (HIDDEN, K)}}
    flat, tree = jax.tree.flatten(shapes, is_leaf=lambda v: isinstance(v, tuple))
    draws = [jax.random.normal(k, s) / 4 for k, s in zip(keys, flat, strict=True)]
    return jax.tree.unflatten(tree, draws)


def entries(model: je.Model, x: Any, y: Any, keys: Any) -> Any:
    """The gradient of the logit."""

    def total(v: Any) -> Any:
        return jnp.take_along_axis(model(v), y[:, None], 1).sum()

    return jax.grad(total)(x)


def pixels(model: je.Model, x: Any, y: Any, keys: Any) -> Any:
    """The gradient, summed over the channels, without the channel axis."""
    return entries(model, x, y, keys).sum(model.channel_axis)


def pixels_with_axis(model: je.Model, x: Any, y: Any, keys: Any) -> Any:
    return entries(model, x, y, keys).sum(model.channel_axis, keepdims=True)


def channels(model: je.Model, x: Any, y: Any, keys: Any) -> Any:
    """The gradient, summed over time: a feature for each channel [N, C, 1]."""
    return entries(model, x, y, keys).sum(2, keepdims=True)


def margin(z: Any, y: Any) -> Any:
    """An output that is a function: the logit over the mean logit."""
    return z[y] - z.mean()


def closeness(u: Any, v: Any) -> Any:
    """A similarity that is a function."""
    return 1 - abs(u - v).mean()


# -- the data ------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class World:
    """A model, seven samples, and attributions of one shape; JAX and NumPy side by side."""

    name: str
    model: je.Model
    net: Net
    x: np.ndarray
    y: np.ndarray
    mask: np.ndarray
    features: tuple[int, ...]
    explainer: Callable[..., Any]
    reduce: Callable[[np.ndarray], np.ndarray]

    @property
    def channel_axis(self) -> int | None:
        axis = self.model.channel_axis
        return None if self.x.ndim < 3 else axis - 1 if axis > 0 else self.x.ndim - 1 + axis

    @property
    def pixelwise(self) -> bool:
        """Whether all channels of a pixel are one feature."""
        return self.features != self.x.shape[1:]

    @functools.cached_property
    def logits(self) -> np.ndarray:
        """In float64 [N, K]."""
        return np.array([self.net.logits(v) for v in self.x.astype(np.float64)])

    @functools.cached_property
    def hidden(self) -> np.ndarray:
        """The hidden layer in float64 [N, HIDDEN]."""
        return np.array([self.net.hidden(v) for v in self.x.astype(np.float64)])

    @functools.cached_property
    def maps(self) -> dict[str, np.ndarray]:
        """Attributions [N, *features] of several kinds."""
        rng = np.random.default_rng(5)
        shape = (N, *self.features)
        smooth = [self.reduce(self.net.gradient(*v)) for v in zip(self.x, self.y, strict=True)]
        ties = rng.choice([0, 0, 0, 0, 0, 0, 0.25, -0.5, 1], shape)
        ties.reshape(N, -1)[:, :2] = 0.25, -0.5  # never a constant map
        edge = np.array(smooth)
        edge[0] = 0
        edge[1], edge[2] = 1.5, -0.25
        edge[3] = 0
        edge[3].flat[5] = 2  # the only feature
        edge[4] = 0
        edge[4].flat[-1] = -1
        edge[5] = -np.abs(edge[5])
        edge[6] *= 1e-12
        out = {"smooth": np.array(smooth), "ties": ties, "edge": edge}
        return {k: frozen(v.astype(np.float32)) for k, v in out.items()}

    @property
    def edge_mask(self) -> np.ndarray:
        """The mask with an empty and a full one."""
        mask = self.mask.copy()
        mask[4], mask[5] = True, False
        return frozen(mask)

    def fitted(self, mask: np.ndarray) -> np.ndarray:
        """A mask in the shape of the attributions."""
        if mask.ndim == len(self.features):
            mask = np.expand_dims(mask, self.channel_axis + 1)
        return np.broadcast_to(mask, (N, *self.features))

    def sample(self, i: int, a: Any, **given: Any) -> Sample:
        """Sample i for a reference, in float64."""
        return Sample(
            x=self.x[i].astype(np.float64),
            y=int(self.y[i]),
            a=np.asarray(a[i], np.float64),
            net=self.net,
            channel_axis=self.channel_axis,
            reduce=self.reduce,
            **given,
        )


def frozen(v: np.ndarray) -> np.ndarray:
    """A read-only array: nobody writes into what the caller gave."""
    v = np.ascontiguousarray(v)
    v.setflags(write=False)
    return v


def identity(g: np.ndarray) -> np.ndarray:
    return g


WORLDS = ("entries", "pixels", "pixels_1", "last", "last_pixels", "tabular", "tokens", "channels")


@functools.cache
def world(name: str = "entries") -> World:
    """Eight ways in which inputs and attributions may be laid out.

    "tokens" are embeddings [T, E] with an attribution for each token, "channels" series [C, T] with
    one for each channel.
    """
    axis: int = -1 if name.startswith("last") or name == "tokens" else 1
    shapes = {"tabular": (12,), "last": (8, 8, 2), "last_pixels": (8, 8, 2), "tokens": (12, 4)}
    shapes["channels"] = (12, 9)
    shape = shapes.get(name, (2, 8, 8))
    rng = np.random.default_rng(1)
    d = int(np.prod(shape))

    def draw(*size: int, scale: float) -> np.ndarray:
        return rng.normal(size=size, scale=scale).astype(np.float32)

    params = {
        "hidden": {"b": draw(HIDDEN, scale=0.3), "w": draw(d, HIDDEN, scale=2 / np.sqrt(d))},
        "out": {"b": draw(K, scale=0.3), "w": draw(HIDDEN, K, scale=0.7)},
    }
    x = rng.uniform(-1, 1, (N, *shape)).astype(np.float32)
    x[0].flat[3] = 0  # a zero among the inputs
    y = rng.integers(0, K, N).astype(np.int32)
    mask = np.zeros((N, *((12,) if name in ("tabular", "tokens", "channels") else (8, 8))), bool)
    for i in range(N):
        mask[(i, *(slice(1 + i // 2, 4 + i % 4),) * (mask.ndim - 1))] = True
    if name == "channels":
        mask = mask[:, :, None]
    explainer, features, reduce = {
        "pixels": (pixels, (8, 8), lambda g: g.sum(0)),
        "pixels_1": (pixels_with_axis, (1, 8, 8), lambda g: g.sum(0, keepdims=True)),
        "last_pixels": (pixels, (8, 8), lambda g: g.sum(-1)),
        "tokens": (pixels, (12,), lambda g: g.sum(-1)),
        "channels": (channels, (12, 1), lambda g: g.sum(1, keepdims=True)),
    }.get(name, (entries, shape, identity))
    double = jax.tree.map(lambda v: v.astype(np.float64), params)
    return World(
        name=name,
        model=je.Model(apply, params, hidden=hidden, init=init, channel_axis=axis),
        net=Net(double),
        x=frozen(x),
        y=frozen(y),
        mask=frozen(mask),
        features=features,
        explainer=explainer,
        reduce=reduce,
    )
