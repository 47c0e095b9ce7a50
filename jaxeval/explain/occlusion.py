"""Attribution by occluding parts of the input."""

from __future__ import annotations

import functools
import math
import operator
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from .. import check, ops
from ..lifetime import jit
from ..model import Model
from ..types import pytree, static
from .stepped import SteppedExplainer, rows


def check_sizes(owner: Any, field: str) -> None:
    value = getattr(owner, field)
    sizes = value if isinstance(value, (tuple, list)) else (value,)
    where = f"{type(owner).__name__}({field}=...)"
    for size in sizes:
        if isinstance(size, (bool, np.bool_)) or not isinstance(size, (int, np.integer)):
            raise TypeError(
                f"{where} must be a whole number or a tuple of whole numbers, got {value!r}"
            )
    if not sizes or min(sizes) < 1:
        raise ValueError(f"{where} must be at least 1 in every axis, got {value!r}")


# Jitted separately, because around a host model the rest is not compiled.
@jax.jit
def _hide(x: jax.Array, b: jax.Array, cover: list[jax.Array], i: Any) -> jax.Array:
    at = jnp.unravel_index(i, tuple(map(len, cover)))
    inside = functools.reduce(operator.and_, (c[j] for c, j in zip(cover, at, strict=True)))
    return jnp.where(inside, b, x)


@jit(static_argnums=5)
def _noted(
    falls: jax.Array, i: Any, z: jax.Array, z2: jax.Array, y: jax.Array, output: Any
) -> jax.Array:
    d = jax.vmap(lambda u, v, c: ops.difference(u, v, c, output))(z, z2, y)
    return falls.at[:, i].set(d.astype(falls.dtype))


@pytree
class Occlusion(SteppedExplainer):
    """The drop of the score when a sliding window is set to the baseline.

    For windows W at every stride, ``d_W = f_y(x) - f_y(x with x_W = b_W)``, and ``a_i`` is the mean
    of ``d_W`` over the windows W that cover i; signed, in the shape of x. The last window along an
    axis is cropped at the border. Needs only forward passes, so it also works with host models.
    Equal to captum's `Occlusion`.

    Zeiler & Fergus 2014, "Visualizing and Understanding Convolutional Networks".

    Args:
      window: the shape of the window in one sample, including channels (captum's
        `sliding_window_shapes`); a number is the size along every axis except the channels, all of
        which are covered.
      stride: the stride along each axis, or one number for all. At most the window size, so that
        every entry is covered.
      baseline: "zero", "black", "white", "mean", "channel_mean", "uniform", "uniform_value",
        "gaussian", "blur", "background mean", "background" (see `jaxeval.ops.baseline`), a number,
        or an array that broadcasts to one sample. Random baselines are drawn once per sample.

    Cost: one forward pass per window, with ``ceil((size - window) / stride) + 1`` windows along
    each axis.

    >>> import jax.numpy as jnp
    >>> from jaxeval import Model
    >>> total = Model(lambda p, x: jnp.sum(x, axis=1, keepdims=True), channel_axis=None)
    >>> Occlusion(window=2, stride=2)(total, jnp.array([[1.0, 2.0, 4.0]]), jnp.array([0]))
    Array([[3., 3., 4.]], dtype=float32)
    """

    on_tokens: ClassVar[str] = ""
    window: int | tuple[int, ...] = static(default=4)
    stride: int | tuple[int, ...] = static(default=1)
    baseline: Any = "zero"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_sizes(self, "window")
        check_sizes(self, "stride")
        check.baseline(self, "baseline", ops.BASELINES)

    def grid(
        self, shape: tuple[int, ...], channel_axis: int | None
    ) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
        """Per axis of a sample: the window sizes, the strides, and the numbers of positions."""

        def per_axis(field: str) -> tuple[int, ...]:
            value = getattr(self, field)
            sizes = tuple(value) if isinstance(value, (tuple, list)) else (value,) * len(shape)
            if len(sizes) != len(shape):
                raise ValueError(
                    f"Occlusion({field}={value!r}) must have one number for each axis of a "
                    f"sample of the shape {shape}"
                )
            return sizes

        window, stride = per_axis("window"), per_axis("stride")
        if channel_axis is not None and not isinstance(self.window, (tuple, list)):
            window = (*window[:channel_axis], shape[channel_axis], *window[channel_axis + 1 :])
        for n, w, s in zip(shape, window, stride, strict=True):
            if w > n:
                raise ValueError(
                    f"Occlusion(window={self.window!r}) is larger than a sample of the shape "
                    f"{shape}"
                )
            if w < n and s > w:
                raise ValueError(
                    f"Occlusion(stride={self.stride!r}) leaves entries uncovered by "
                    f"window={self.window!r} on a sample of the shape {shape}: the stride may not "
                    "be larger than the window"
                )
        places = tuple(
            math.ceil((n - w) / s) + 1 for n, w, s in zip(shape, window, stride, strict=True)
        )
        return window, stride, places

    def steps(self, model: Model, x: jax.Array) -> int:
        return math.prod(self.grid(x.shape[1:], model.sample_channel_axis(x.ndim - 1))[2])

    def prepare(self, model: Model, x: jax.Array, y: jax.Array, keys: Any) -> Any:
        shape = x.shape[1:]
        grid = self.grid(shape, model.sample_channel_axis(len(shape)))
        # cover[axis] [positions, ...]: mask of the entries that the window covers along this axis
        # at each position, broadcastable to a sample.
        cover = []
        for axis, (window, stride, places) in enumerate(zip(*grid, strict=True)):
            start = np.arange(places)[:, None] * stride
            entry = np.arange(shape[axis])
            row = (start <= entry) & (entry < start + window)
            others = [1 + k for k in range(len(shape)) if k != axis]
            cover.append(jnp.asarray(np.expand_dims(row, others)))
        return self.baselines(model, x, self.baseline, keys), model(x), cover

    def zero(self, model: Model, x: jax.Array, y: jax.Array, keys: Any, state: Any) -> jax.Array:
        """The drop of the score for each window, [N, windows]."""
        dtype = jnp.promote_types(x.dtype, jnp.float32)
        return jnp.zeros((len(x), self.steps(model, x)), dtype)

    def ready(
        self, total: Any, model: Model, x: jax.Array, y: jax.Array, keys: Any, state: Any, i: Any
    ) -> jax.Array:
        b, _, cover = state
        return rows(_hide(x, b, cover, i))

    def add(
        self, total: Any, model: Model, x: jax.Array, y: jax.Array, keys: Any, state: Any, i: Any
    ) -> jax.Array:
        (_, clean, _), hidden = state
        return _noted(total, i, clean, model(hidden.reshape(x.shape)), y, self.output)

    def finish(
        self, model: Model, x: jax.Array, y: jax.Array, keys: Any, state: Any, total: jax.Array
    ) -> jax.Array:
        cover = state[2]
        out = total.reshape(len(x), *map(len, cover))
        for axis, c in enumerate(cover, 1):
            share = c.reshape(len(c), -1) / c.sum(0).ravel()
            out = jnp.tensordot(out, share.astype(x.dtype), ((axis,), (0,)), precision="highest")
            out = jnp.moveaxis(out, -1, axis)
        return out
