"""Models in a form that XLA compiles well for CPUs.

XLA's CPU backend runs some operations far below what the machine can do: convolutions of few
channels (a network's first layer, whose input gradient every gradient method pays for), depthwise
convolutions, and the gradient of pooling. The same sums, written as matrix products and slices,
take a half to a hundredth of the time. A model is traced, and such operations are replaced; results
differ by rounding. Other platforms are left alone.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from .. import jaxprs
from ..types import Model, shapes_of

MOST_TAPS = 150
"""Products in one output of a convolution from which XLA's own is as fast."""
MOST_CHANNELS = 7
"""Input channels, likewise."""
MOST_POOLED = 25
"""Entries of a pooling window up to which its slices are written out."""
COLUMNS = 64
"""Columns of the matrix of a banded convolution: wide enough for the matrix product to be fast."""
ALIGNED = 8
"""What the entries of a window's column are filled up to. A matrix product adds its terms up in
lanes, so that sums of equal terms are equal to the last bit only where they lie alike; and equal
they must be, or rounding would choose whom the maximum of a flat region belongs to.
"""


def suited(model: Model, x: Any, platform: str) -> Model:
    """The model as this platform runs it best: itself, unless it holds what is rewritten.

    Args:
      x: one sample, or its shape and dtype.
    """
    if platform != "cpu" or model.host or isinstance(model.apply, Rewritten):
        return model
    spec = jax.ShapeDtypeStruct((1, *x.shape), jnp.dtype(x.dtype))
    if not _gains(model.apply, *shapes_of((model.params, spec))):
        return model
    hidden = None if model.hidden is None else Rewritten(model.hidden)
    return dataclasses.replace(model, apply=Rewritten(model.apply), hidden=hidden)


@functools.lru_cache(maxsize=64)
def _gains(apply: Callable[..., Any], treedef: Any, leaves: Any) -> bool:
    given = jax.tree.unflatten(treedef, [jax.ShapeDtypeStruct(*v) for v in leaves])
    return _any_rewritten(jax.make_jaxpr(apply)(*given).jaxpr)


@dataclasses.dataclass(frozen=True)
class Rewritten:
    """The function with slow operations replaced; equal functions share compiled programs."""

    fn: Callable[..., Any]

    def __call__(self, *args: Any) -> Any:
        if jaxprs.wanted_as_written(_rewrite):
            return self.fn(*args)
        closed, shape = jax.make_jaxpr(self.fn, return_shape=True)(*args)
        leaves = jax.tree.leaves(args)
        out = jaxprs.evaluate(closed.jaxpr, closed.consts, leaves, _operation)
        return jax.tree.unflatten(jax.tree.structure(shape), out)


def _rewrite(eqn: Any) -> Callable[..., Any] | None:
    rule = RULES.get(eqn.primitive.name)
    return None if rule is None else rule(eqn)


def _any_rewritten(jaxpr: Any) -> bool:
    return any(
        _any_rewritten(nested[0]) if (nested := jaxprs.called(eqn)) else _rewrite(eqn) is not None
        for eqn in jaxpr.eqns
    )


def _operation(eqn: Any, given: list[Any]) -> list[Any]:
    replaced = _rewrite(eqn)
    return jaxprs.bind(eqn, given) if replaced is None else [replaced(*given)]


# -- convolutions --------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Convolution:
    """A two-dimensional convolution of x [n, h, w, c] with a kernel [kh, kw, c / groups, o]."""

    strides: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    dilation: tuple[int, ...]
    groups: int
    precision: Any

    def padded(self, x: Any) -> Any:
        low, high = zip((0, 0), *self.padding, (0, 0), strict=True)
        zero = jnp.zeros((), x.dtype)
        return lax.pad(x, zero, [(a, b, 0) for a, b in zip(low, high, strict=True)])

    def size(self, x: Any, window: tuple[int, int]) -> tuple[int, int]:
        """Rows and columns of the output, of a padded x."""
        h, w = (
            (n - (k - 1) * d - 1) // s + 1
            for n, k, d, s in zip(x.shape[1:3], window, self.dilation, self.strides, strict=True)
        )
        return h, w

    def taps(self, x: Any, window: tuple[int, int]) -> list[Any]:
        """What each entry of the kernel is multiplied with [n, rows, columns, c]."""
        x = self.padded(x)
        (sh, sw), (dh, dw) = self.strides, self.dilation
        high, wide = (
            s * (n - 1) + 1 for s, n in zip(self.strides, self.size(x, window), strict=True)
        )
        corners = itertools.product(range(0, window[0] * dh, dh), range(0, window[1] * dw, dw))
        return [x[:, i : i + high : sh, j : j + wide : sw] for i, j in corners]

    def banded(self, x: Any, kernel: Any) -> Any:
        """As a product with a banded matrix, which holds the kernel once for each of `t` columns.

        A row of the other matrix is what one block of t output columns sees of the input.
        """
        x = self.padded(x)
        kernel = lax.pad(
            kernel,
            jnp.zeros((), kernel.dtype),
            [(0, 0, 0), (0, 0, self.dilation[1] - 1), (0, 0, 0), (0, 0, 0)],
        )
        kh, kw, c, o = kernel.shape
        rows, columns = dataclasses.replace(self, dilation=(self.dilation[0], 1)).size(x, (kh, kw))
        (sh, sw), dh = self.strides, self.dilation[0]
        blocks = -(-columns // max(1, COLUMNS // o))
        t = max(-(-columns // blocks), -(-(kw - sw) // sw))
        blocks, span = -(-columns // t), (t - 1) * sw + kw
        missing = max(0, (blocks + 1) * t * sw - x.shape[2])
        x = jnp.pad(x, ((0, 0), (0, 0), (0, missing), (0, 0)))
        # One column of the window after the other: [n, rows, width, kh c, and zeros].
        rest = -(kh * c) % ALIGNED
        columns_of = [x[:, i : i + (rows - 1) * sh + 1 : sh] for i in range(0, kh * dh, dh)]
        nothing = jnp.zeros((*columns_of[0].shape[:3], rest), x.dtype)
        x = jnp.concatenate([*columns_of, nothing], -1)
        # A block sees its own columns and, where kernels are wider than strides, some of the next.
        own, following = (
            x[:, :, i : i + blocks * t * sw].reshape(len(x), rows, blocks, t * sw, -1)
            for i in (0, t * sw)
        )
        seen = jnp.concatenate([own, following], 3)[:, :, :, :span]
        kernel = kernel.transpose(1, 0, 2, 3).reshape(kw, kh * c, o)
        kernel = jnp.pad(kernel, ((0, 0), (0, rest), (0, 0)))
        shifts = range(0, t * sw, sw)
        band = [jnp.pad(kernel, ((j, span - kw - j), (0, 0), (0, 0))) for j in shifts]
        matrix = jnp.stack(band, 2).reshape(-1, t * o)
        out = jnp.matmul(seen.reshape(*seen.shape[:3], -1), matrix, precision=self.precision)
        return out.reshape(len(x), rows, blocks * t, o)[:, :, :columns]

    def depthwise(self, x: Any, kernel: Any) -> Any:
        """As a sum over the entries of the kernel: each channel is its own group."""
        kh, kw, _, o = kernel.shape
        c = x.shape[-1]
        kernel = kernel.reshape(kh * kw, c, o // c)
        taps = self.taps(x, (kh, kw))
        parts = (v[..., None] * k for v, k in zip(taps, kernel, strict=True))
        out = functools.reduce(jnp.add, parts)
        return out.reshape(*out.shape[:3], o)


def convolution(eqn: Any) -> Callable[..., Any] | None:
    """What replaces a `conv_general_dilated`, where something faster is known."""
    p = eqn.params
    dims, kernel = p["dimension_numbers"], eqn.invars[1].aval
    spatial = kernel.ndim - 2
    if spatial not in (1, 2) or p["batch_group_count"] != 1 or math.prod(p["lhs_dilation"]) != 1:
        return None
    if any(low < 0 or high < 0 for low, high in p["padding"]):
        return None
    kernel_axes = (*dims.rhs_spec[2:], dims.rhs_spec[1], dims.rhs_spec[0])
    *window, c, _ = (kernel.shape[i] for i in kernel_axes)
    groups, taps = p["feature_group_count"], math.prod(window)
    if taps > MOST_TAPS or any(v == 0 for v in eqn.outvars[0].aval.shape):
        return None
    if groups > 1 and c == 1:
        way = "depthwise"
    elif groups == 1 and taps > 1 and c <= MOST_CHANNELS and taps * c <= MOST_TAPS:
        way = "banded"
    else:
        return None
    extra = 2 - spatial  # a one-dimensional convolution is one of height 1
    conv = Convolution(
        strides=(1,) * extra + tuple(p["window_strides"]),
        padding=((0, 0),) * extra + tuple(p["padding"]),
        dilation=(1,) * extra + tuple(p["rhs_dilation"]),
        groups=groups,
        precision=p["precision"] if not isinstance(p["precision"], tuple) else p["precision"][0],
    )
    x_axes = (dims.lhs_spec[0], *dims.lhs_spec[2:], dims.lhs_spec[1])
    out_axes = (dims.out_spec[0], *dims.out_spec[2:], dims.out_spec[1])
    dtype = eqn.outvars[0].aval.dtype

    def replaced(x: Any, kernel: Any) -> Any:
        x, kernel = x.transpose(x_axes), kernel.transpose(kernel_axes)
        if extra:
            x, kernel = x[:, None], kernel[None]
        out = getattr(conv, way)(x, kernel)
        out = (out[:, 0] if extra else out).astype(dtype)
        return out.transpose([out_axes.index(i) for i in range(out.ndim)])

    return replaced


# -- pooling -------------------------------------------------------------------------------------


def first_of_the_largest(a: Any, b: Any) -> Any:
    # A choice, not `maximum`: the gradient of equal entries goes to the first, as XLA's does.
    return jnp.where((a >= b) | jnp.isnan(a), a, b)


def max_pooling(eqn: Any) -> Callable[..., Any] | None:
    """What replaces a `reduce_window_max`: one axis after the other, by slices."""
    p = eqn.params
    window, strides = p["window_dimensions"], p["window_strides"]
    dilated = math.prod(p["base_dilation"]) * math.prod(p["window_dilation"]) != 1
    dtype = eqn.invars[0].aval.dtype
    if dilated or math.prod(window) > MOST_POOLED or not jnp.issubdtype(dtype, jnp.floating):
        return None

    def replaced(x: Any) -> Any:
        least = jnp.array(-jnp.inf, dtype)
        x = lax.pad(x, least, [(low, high, 0) for low, high in p["padding"]])
        for axis in reversed(range(x.ndim)):
            size, stride = window[axis], strides[axis]
            if size == stride == 1:
                continue
            length = (x.shape[axis] - size) // stride + 1
            last = (length - 1) * stride + 1
            slices = [lax.slice_in_dim(x, i, i + last, stride, axis) for i in range(size)]
            x = functools.reduce(first_of_the_largest, slices)
        return x

    return replaced


RULES = {"conv_general_dilated": convolution, "reduce_window_max": max_pooling}
"""What may replace a primitive: a function of its equation, which gives None where nothing does."""
