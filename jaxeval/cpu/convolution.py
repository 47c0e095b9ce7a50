"""Convolutions as other operations, which XLA runs faster on CPUs."""

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

OUTPUTS_WIDENED = 32
"""Maximum outputs of a convolution that computes several columns at once."""
MOST_REPEATED = 15
"""Up to this many entries of a depthwise kernel, XLA would recompute their sum, slowly, for the
gradient of later operations, unless prevented.
"""
COLUMNS = 64
"""Columns of the matrix of a banded convolution: wide enough for the matrix product to be fast."""
ALIGNED = 8
"""The entries of a window's column are padded to a multiple of this. A matrix product adds its
terms in lanes, so sums of equal terms are equal to the last bit only if the terms have the same
alignment; otherwise rounding would decide which entry of a flat region is the maximum.
"""


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
        """Rows and columns of the output for a padded x."""
        h, w = (
            (n - (k - 1) * d - 1) // s + 1
            for n, k, d, s in zip(x.shape[1:3], window, self.dilation, self.strides, strict=True)
        )
        return h, w

    def taps(self, x: Any, window: tuple[int, int]) -> list[Any]:
        """The inputs [n, rows, columns, c] that each entry of the kernel is multiplied with."""
        x = self.padded(x)
        (sh, sw), (dh, dw) = self.strides, self.dilation
        high, wide = (
            s * (n - 1) + 1 for s, n in zip(self.strides, self.size(x, window), strict=True)
        )
        corners = itertools.product(range(0, window[0] * dh, dh), range(0, window[1] * dw, dw))
        return [x[:, i : i + high : sh, j : j + wide : sw] for i, j in corners]

    def banded(self, x: Any, kernel: Any) -> Any:
        """As a product with a banded matrix, which holds the kernel once for each of `t` columns.

        A row of the other matrix is the receptive field of one block of t output columns.
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

    def unfolded(self, x: Any, kernel: Any) -> Any:
        """As a product with the windows of the input (im2col)."""
        seen = jnp.concatenate(self._runs(x, kernel.shape[:2]), -1)
        return jnp.matmul(seen, kernel.reshape(-1, kernel.shape[-1]), precision=self.precision)

    def _runs(self, x: Any, window: tuple[int, int]) -> list[Any]:
        """`taps`, with the columns of one stride merged, as they are contiguous."""
        (sh, sw), (dh, dw), (kh, kw) = self.strides, self.dilation, window
        if sw == 1 or dw > 1:
            return self.taps(x, window)
        x = self.padded(x)
        rows, columns = self.size(x, window)
        blocks = columns + -(-kw // sw) - 1
        n, h, w, c = x.shape
        missing = blocks * sw - w
        x = lax.pad(x, jnp.zeros((), x.dtype), [(0, m, 0) for m in (0, 0, missing, 0)])
        x = x.reshape(n, h, blocks, sw * c)
        high = sh * (rows - 1) + 1
        corners = itertools.product(range(0, kh * dh, dh), range(0, kw, sw))
        return [
            x[:, i : i + high : sh, j // sw : j // sw + columns, : min(sw, kw - j) * c]
            for i, j in corners
        ]

    def widened(self, x: Any, kernel: Any) -> Any:
        """As a convolution with more outputs: those of several adjacent columns."""
        wide = jax.custom_jvp(self._wide)
        sums = self._turned_wide if math.prod(self.strides) == 1 else self._plain

        def derivative(primals: Any, tangents: Any) -> Any:
            return self._wide(*primals), _derivative(sums, primals, tangents)[1]

        wide.defjvp(derivative, symbolic_zeros=True)
        return wide(x, kernel)

    def _wide(self, x: Any, kernel: Any) -> Any:
        _, kw, _, o = kernel.shape
        (sh, sw), ((top, bottom), (left, right)) = self.strides, self.padding
        t = OUTPUTS_WIDENED // o
        columns = (x.shape[2] + left + right - kw) // sw + 1
        missing = -columns % t
        shifts = range(0, t * sw, sw)
        last = (t - 1) * sw
        kernel = jnp.concatenate(
            [jnp.pad(kernel, ((0, 0), (j, last - j), (0, 0), (0, 0))) for j in shifts], -1
        )
        padding = (top, bottom), (left, right + missing * sw)
        wide = dataclasses.replace(self, strides=(sh, t * sw), padding=padding)
        out = wide._plain(x, kernel)
        return out.reshape(*out.shape[:2], -1, o)[:, :, :columns]

    def _turned_wide(self, x: Any, kernel: Any) -> Any:
        """The same sums, written so that the transpose, i.e. the gradient, is widened."""
        padding = tuple(
            ((k - 1) * d - low, (k - 1) * d - high)
            for k, d, (low, high) in zip(kernel.shape[:2], self.dilation, self.padding, strict=True)
        )
        back = dataclasses.replace(self, padding=padding)
        kernel = kernel[::-1, ::-1].swapaxes(2, 3)
        rows, columns = self.size(self.padded(x), kernel.shape[:2])
        out = jax.ShapeDtypeStruct((len(x), rows, columns, kernel.shape[2]), x.dtype)
        (result,) = jax.linear_transpose(lambda v: back._wide(v, kernel), out)(x)
        return result

    def _plain(self, x: Any, kernel: Any) -> Any:
        return lax.conv_general_dilated(
            x,
            kernel,
            self.strides,
            self.padding,
            rhs_dilation=self.dilation,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            precision=self.precision,
        )

    def depthwise(self, x: Any, kernel: Any) -> Any:
        """As a sum over the entries of the kernel, for depthwise convolutions."""
        if math.prod(kernel.shape[:2]) > MOST_REPEATED or len(x) == 1:
            return self._sum(x, kernel)
        # A loop over the samples costs a little, but nothing can be fused with what is in it.
        sum_ = jax.custom_jvp(self._sum)
        sum_.defjvp(functools.partial(_derivative, self._sum_by_sample), symbolic_zeros=True)
        return sum_(x, kernel)

    def _sum(self, x: Any, kernel: Any) -> Any:
        kh, kw, _, o = kernel.shape
        c = x.shape[-1]
        kernel = kernel.reshape(kh * kw, c, o // c)
        taps = self.taps(x, (kh, kw))
        parts = (v[..., None] * k for v, k in zip(taps, kernel, strict=True))
        out = functools.reduce(jnp.add, parts)
        return out.reshape(*out.shape[:3], o)

    def _sum_by_sample(self, x: Any, kernel: Any) -> Any:
        return lax.map(lambda one: self._sum(one[None], kernel)[0], x)

    def patches(self, x: Any, kernel: Any) -> Any:
        """As one matrix product, if windows do not overlap."""
        x = self.padded(x)
        kh, kw, c, o = kernel.shape
        rows, columns = self.size(x, (kh, kw))
        if kh == kw == 1:
            sh, sw = self.strides
            x = x[:, : (rows - 1) * sh + 1 : sh, : (columns - 1) * sw + 1 : sw]
        else:
            x = x[:, : rows * kh, : columns * kw].reshape(-1, rows, kh, columns, kw, c)
            x = x.transpose(0, 1, 3, 2, 4, 5).reshape(-1, rows, columns, kh * kw * c)
        return jnp.matmul(x, kernel.reshape(-1, o), precision=self.precision)


def _derivative(fn: Callable[..., Any], primals: Any, tangents: Any) -> Any:
    """The tangent of fn, with respect to the arguments that have one."""
    zero = [isinstance(t, jax.custom_derivatives.SymbolicZero) for t in tangents]

    def of_some(*some: Any) -> Any:
        rest = iter(some)
        return fn(*(v if z else next(rest) for v, z in zip(primals, zero, strict=True)))

    given, directions = (
        tuple(v for v, z in zip(some, zero, strict=True) if not z) for some in (primals, tangents)
    )
    return jax.jvp(of_some, given, directions)
