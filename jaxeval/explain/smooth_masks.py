"""Smooth masks of images, parametrised on a coarse grid."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from .base import computed

COLDNESS = 20.0
"""Of the smooth maximum."""
CACHED = 2**20
"""Numbers that CPUs keep near: megabytes."""


def part(v: jax.Array, start: Sequence[Any], shape: Sequence[int]) -> jax.Array:
    """v from `start` on, whose numbers are of different kinds where JAX has 64 bits."""
    return lax.dynamic_slice(v, [jnp.asarray(i, jnp.int32) for i in start], shape)


def put(v: jax.Array, start: Sequence[Any], new: jax.Array) -> jax.Array:
    """v with `new` from `start` on."""
    return lax.dynamic_update_slice(v, new, [jnp.asarray(i, jnp.int32) for i in start])


def each(f: Callable[[Any], Any], number: jax.Array) -> Any:
    """f of each number; on CPUs, of one at a time."""
    return lax.platform_dependent(number, cpu=lambda n: lax.map(f, n), default=jax.vmap(f))


class Mask(NamedTuple):
    """Masks, and what their derivative needs.

    Attributes:
      full: with their margins [N, *size].
      flat: the same, see `Masks.phases`.
      weight: the sums of the weights of the smooth maximum, in the shape of `flat`.
    """

    full: jax.Array
    flat: jax.Array
    weight: jax.Array


class Masks:
    """Smooth masks of an image from parameters in [0, 1] on a coarse grid.

    A mask is ``m(u) = smooth max_q k(|u - q| / σ) p_q`` over the grid's points q near u, with
    ``k(z) = exp(-2 max(z - 1/2, 0)²)`` and the smooth maximum ``Σ v softmax(20 v)``. It has a
    margin of σ around the image.

    Args:
      space: height and width of the image.
      step: pixels between the grid's points.
      sigma: σ, in pixels.

    Attributes:
      grid: the shape of the parameters.
      size: the shape of the mask with its margin.
      kernel: k of each phase [step, step] and of the points near to it [window, window].
      cells: the number of the grid's cells that it covers, whole or in part.
      stride: numbers from one row to the next where images lie flat.
    """

    def __init__(self, space: Sequence[int], step: int, sigma: float):
        self.space, self.step, self.margin = tuple(space), step, round(sigma)
        padding, radius = 1 + math.ceil(2 * sigma / step), 1 + math.ceil(sigma / step)
        self.grid = tuple(math.ceil(n / step) for n in space)
        self.size = tuple(step * (n + 2 * (padding - radius)) - step + 1 for n in self.grid)
        self.cells = tuple(math.ceil(n / step) for n in self.size)
        self.padding, self.window = padding, 2 * radius + 1
        ahead = max(0, self.window - 1 - padding)
        self.stride = max(self.grid[1] + padding, self.cells[1] + ahead)
        # Zeros above and below the cells, as far as a slice of another row reaches.
        self.top = ahead + 1
        self.rows = self.top + max(self.cells[0], self.grid[0] + padding + 1)
        # Pixels with the same place between the grid's points, their phase, have the same kernel.
        u, k = np.arange(step)[:, None], np.arange(self.window)
        squares = (u - sigma - step * (k - padding)) ** 2  # [step, k], of either axis
        distance = np.sqrt(squares[:, None, :, None] + squares[:, None])  # [step, step, k, l]
        self.kernel = np.exp(-2 * np.maximum(distance / sigma - 0.5, 0) ** 2)
        _, first, which = np.unique(self.kernel.round(12), return_index=True, return_inverse=True)
        self.values = self.kernel.ravel()[first]
        self.which = which.reshape(step * step, self.window, self.window)

    def __call__(self, p: jax.Array) -> Mask:
        """The masks for parameters [N, *grid]."""
        return self.in_blocks(self.smooth, p)

    def back(self, p: jax.Array, mask: Mask, inner: jax.Array, outer: jax.Array) -> jax.Array:
        """The gradient with respect to p.

        Args:
          p: the parameters [N, *grid].
          mask: their masks.
          inner: a gradient with respect to the masks without their margins [N, H, W].
          outer: another, to be added, with their margins [N, *size].
        """
        return self.in_blocks(self.derivative, p, mask, inner, outer)

    def zeros(self, p: jax.Array) -> Mask:
        """Of the shapes of p's masks."""
        flat = jnp.zeros((len(p), self.step**2, self.rows * self.stride), p.dtype)
        return Mask(jnp.zeros((len(p), *self.size), p.dtype), flat, jnp.ones_like(flat))

    def smooth(self, p: jax.Array) -> Mask:
        """The smooth maximum of a block of samples."""
        n, rows, stride = len(p), self.grid[0], self.stride
        near = self.flat(p, rows + 1, 0, self.padding)
        powers = self.powers(near)
        values, which = jnp.asarray(self.values, p.dtype), jnp.asarray(self.which, jnp.int32)
        shape, whole = (n, rows * stride), (n, self.rows * stride)
        # Where a row of the window is outside the grid, it adds exp(0) for each of its points.
        outside = np.full(self.rows, self.window**2)
        for k in range(self.window):
            outside[self.top + self.padding - k :][:rows] -= self.window

        def sums(phase: Any) -> Any:
            def add(k: Any, sums: Any) -> Any:
                total = weight = jnp.zeros(shape, p.dtype)
                for i in range(self.window):
                    v = which[phase, k, i]
                    e = part(powers, (v, 0, i), (1, *shape))[0]
                    total += values[v] * part(near, (0, i), shape) * e
                    weight += e
                at = 0, (self.top + self.padding - k) * stride
                return [
                    put(u, at, part(u, at, shape) + v)
                    for u, v in zip(sums, (total, weight), strict=True)
                ]

            ones = jnp.broadcast_to(jnp.asarray(outside, p.dtype).repeat(stride), whole)
            return lax.fori_loop(0, self.window, add, [jnp.zeros(whole, p.dtype), ones])

        total, weight = each(sums, jnp.arange(self.step**2))
        flat, weight = jnp.swapaxes(total / weight, 0, 1), jnp.swapaxes(weight, 0, 1)
        return Mask(self.joined(flat), flat, weight)

    def derivative(self, p: jax.Array, mask: Mask, inner: jax.Array, outer: jax.Array) -> jax.Array:
        """``Σ_u g_u k e^v (1 + v - 20 m_u) / w_u``, v = 20 k p, for each point of a block."""
        (rows, columns), stride = self.grid, self.stride
        near = self.flat(p, rows, 0, 0)
        values, which = jnp.asarray(self.values, p.dtype), jnp.asarray(self.which, jnp.int32)
        slope, shape = values[:, None, None] * self.powers(near), near.shape
        gain = self.phases(self.outer(inner.astype(p.dtype)) + outer.astype(p.dtype)) / mask.weight
        gain, loss = (jnp.swapaxes(v, 0, 1) for v in (gain, COLDNESS * gain * mask.flat))

        def into(phase: Any) -> Any:
            def add(k: Any, total: Any) -> Any:
                for i in range(self.window):
                    v = which[phase, k, i]
                    at = phase, 0, (self.top + self.padding - k) * stride + self.padding - i
                    up, less = (part(u, at, (1, *shape))[0] for u in (gain, loss))
                    rise = 1 + COLDNESS * values[v] * near
                    total += part(slope, (v, 0, 0), (1, *shape))[0] * (rise * up - less)
                return total

            return lax.fori_loop(0, self.window, add, jnp.zeros_like(near))

        total = each(into, jnp.arange(self.step**2)).sum(0)
        return total.reshape(-1, rows, stride)[:, :, :columns]

    def powers(self, near: jax.Array) -> jax.Array:
        """``exp(20 k p)`` [K, *near.shape] for each of the kernel's distinct values k.

        Every pixel is near to many points, so there are several times as many exponentials
        otherwise.
        """
        k = jnp.asarray(self.values, near.dtype)[:, None, None]
        return jnp.exp(COLDNESS * k * near)  # no overflow, as 0 <= k p <= 1

    @functools.partial(jax.jit, static_argnums=(0, 1))  # nothing around a host model is compiled
    def in_blocks(self, f: Callable[..., Any], *given: Any) -> Any:
        """f of all samples; on CPUs, of as many at a time as their `powers` fit into caches."""
        n = len(given[0])
        most = min(n, max(1, CACHED // (len(self.values) * self.rows * self.stride)))
        some = max(b for b in range(1, most + 1) if n % b == 0)
        some = most if 2 * some < most else some  # blocks of one size compile faster than of two
        whole = n - n % some

        def cpu(*given: Any) -> Any:
            blocks = jax.tree.map(lambda v: v[:whole].reshape(-1, some, *v.shape[1:]), given)
            found = lax.map(lambda v: f(*v), blocks)
            found = jax.tree.map(lambda v: v.reshape(-1, *v.shape[2:]), found)
            if whole == n:
                return found
            rest = f(*jax.tree.map(lambda v: v[whole:], given))
            return jax.tree.map(lambda *v: jnp.concatenate(v), found, rest)

        return lax.platform_dependent(*given, cpu=cpu, default=f)

    def flat(self, v: jax.Array, rows: int, row: int, column: int) -> jax.Array:
        """Images [..., h, w] as vectors [..., rows * stride], with zeros around them.

        What is near to each pixel is then a single slice, whose loop is as long as the image. The
        zeros behind a row are those ahead of the next, too.
        """
        beside = [(0, 0)] * (v.ndim - 2)
        beside += [(row, rows - row - v.shape[-2]), (column, self.stride - column - v.shape[-1])]
        return computed(jnp.pad(v, beside).reshape(*v.shape[:-2], -1))

    def joined(self, v: jax.Array) -> jax.Array:
        """[N, *size] from each phase's flat cells [N, step², R]."""
        s, n, (h, w) = self.step, len(v), self.cells
        v = v.reshape(n, s, s, self.rows, self.stride)[:, :, :, self.top :][:, :, :, :h, :w]
        v = v.transpose(0, 3, 1, 4, 2).reshape(n, h * s, w * s)
        return v[:, : self.size[0], : self.size[1]]

    def phases(self, v: jax.Array) -> jax.Array:
        """The inverse, with zeros where there is no pixel."""
        s, n, (h, w) = self.step, len(v), self.cells
        v = jnp.pad(v, ((0, 0), (0, h * s - self.size[0]), (0, w * s - self.size[1])))
        v = v.reshape(n, h, s, w, s).transpose(0, 2, 4, 1, 3).reshape(n, s * s, h, w)
        return self.flat(v, self.rows, self.top, 0)

    def inner(self, full: jax.Array) -> jax.Array:
        """Masks [N, H, W] without their margins."""
        m, (h, w) = self.margin, self.space
        return full[:, m : m + h, m : m + w]

    def outer(self, inner: jax.Array) -> jax.Array:
        """[N, *size]: what is within the margins, and 0 there."""
        m, sizes = self.margin, zip(self.size, self.space, strict=True)
        return jnp.pad(inner, ((0, 0), *((m, whole - m - n) for whole, n in sizes)))
