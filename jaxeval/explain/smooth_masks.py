"""Smooth masks of images, parametrised on a coarse grid."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

COLDNESS = 20.0
"""Of the smooth maximum."""


def part(v: jax.Array, start: Sequence[Any], shape: Sequence[int]) -> jax.Array:
    """v from `start` on, whose numbers are of different kinds where JAX has 64 bits."""
    return lax.dynamic_slice(v, [jnp.asarray(i, jnp.int32) for i in start], shape)


def put(v: jax.Array, start: Sequence[Any], new: jax.Array) -> jax.Array:
    """v with `new` from `start` on."""
    return lax.dynamic_update_slice(v, new, [jnp.asarray(i, jnp.int32) for i in start])


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
    """

    def __init__(self, space: Sequence[int], step: int, sigma: float):
        self.space, self.step, self.margin = tuple(space), step, round(sigma)
        padding, radius = 1 + math.ceil(2 * sigma / step), 1 + math.ceil(sigma / step)
        self.grid = tuple(math.ceil(n / step) for n in space)
        self.size = tuple(step * (n + 2 * (padding - radius)) - step + 1 for n in self.grid)
        self.cells = tuple(math.ceil(n / step) for n in self.size)
        self.padding, self.window = padding, 2 * radius + 1
        self.ahead = max(0, self.window - 1 - padding)
        # Pixels with the same place between the grid's points, their phase, have the same kernel.
        u, k = np.arange(step)[:, None], np.arange(self.window)
        squares = (u - sigma - step * (k - padding)) ** 2  # [step, k], of either axis
        distance = np.sqrt(squares[:, None, :, None] + squares[:, None])  # [step, step, k, l]
        self.kernel = np.exp(-2 * np.maximum(distance / sigma - 0.5, 0) ** 2)
        _, first, which = np.unique(self.kernel.round(12), return_index=True, return_inverse=True)
        self.values = self.kernel.ravel()[first]
        self.which = which.reshape(step * step, self.window, self.window)

    def __call__(self, p: jax.Array) -> tuple[jax.Array, Callable[..., jax.Array]]:
        """The masks with their margins [N, *size] for parameters [N, *grid], and their derivative.

        The derivative takes a gradient with respect to the masks to one with respect to p.
        """
        full, weight = self.smooth(p)
        return full, lambda change: self.back(p, full, weight, change)

    def powers(self, p: jax.Array) -> jax.Array:
        """``exp(20 k p)`` [K, N, *grid] for each of the kernel's distinct values k.

        Every pixel is near to many points, so there are several times as many exponentials
        otherwise.
        """
        k = jnp.asarray(self.values, p.dtype)[:, None, None, None]
        return jnp.exp(COLDNESS * k * p)  # no overflow, as 0 <= k p <= 1

    def each_phase(self, f: Callable[[Any], Any]) -> Any:
        """f of all phases, where CPUs have one at a time in their caches."""
        number = jnp.arange(self.step**2)
        return lax.platform_dependent(number, cpu=lambda n: lax.map(f, n), default=jax.vmap(f))

    @functools.partial(jax.jit, static_argnums=0)  # with a host model nothing around it is compiled
    def smooth(self, p: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The masks, and the sums of the weights of the smooth maximum."""
        beside = ((0, 0), (0, 0), (self.padding,) * 2)
        near = jnp.pad(p, beside)
        powers = jnp.pad(self.powers(p), ((0, 0), *beside), constant_values=1)
        values, which = jnp.asarray(self.values, p.dtype), jnp.asarray(self.which, jnp.int32)
        n, rows, columns = len(p), self.grid[0], self.cells[1]
        below = self.padding + rows - self.cells[0]
        shape = n, rows, columns
        whole = n, self.ahead + self.cells[0] + max(0, below), columns
        # Where a row of the window is outside the grid, it adds exp(0) for each of its points.
        outside = np.full(whole[1], self.window**2)
        for k in range(self.window):
            outside[self.ahead + self.padding - k :][:rows] -= self.window

        def sums(phase: Any) -> Any:
            def add(k: Any, sums: Any) -> Any:
                total = weight = jnp.zeros(shape, p.dtype)
                for i in range(self.window):
                    v = which[phase, k, i]
                    e = part(powers, (v, 0, 0, i), (1, *shape))[0]
                    total += values[v] * part(near, (0, 0, i), shape) * e
                    weight += e
                at = 0, self.ahead + self.padding - k, 0
                return [
                    put(u, at, part(u, at, shape) + v)
                    for u, v in zip(sums, (total, weight), strict=True)
                ]

            ones = jnp.broadcast_to(jnp.asarray(outside, p.dtype)[:, None], whole)
            return lax.fori_loop(0, self.window, add, [jnp.zeros(whole, p.dtype), ones])

        inside = slice(self.ahead, self.ahead + self.cells[0])
        total, weight = (self.joined(v[:, :, inside]) for v in self.each_phase(sums))
        return total / weight, weight

    @functools.partial(jax.jit, static_argnums=0)
    def back(self, p: jax.Array, full: jax.Array, weight: jax.Array, change: jax.Array) -> Any:
        """The derivative ``Σ_u g_u k e^v (1 + v - 20 m_u) / w_u``, v = 20 k p, of each point."""
        k = jnp.asarray(self.values, p.dtype)[:, None, None, None]
        slope = k * self.powers(p)
        rising = slope * (1 + COLDNESS * k * p)
        share = change / weight
        gain, loss = self.phases(share), self.phases(COLDNESS * share * full)
        which, shape = jnp.asarray(self.which, jnp.int32), p.shape
        ahead = self.ahead + self.padding

        def into(phase: Any) -> Any:
            def add(k: Any, total: Any) -> Any:
                for i in range(self.window):
                    of, at = (which[phase, k, i], 0, 0, 0), (phase, 0, ahead - k, ahead - i)
                    rise, down = (part(v, of, (1, *shape)) for v in (rising, slope))
                    up, less = (part(v, at, (1, *shape)) for v in (gain, loss))
                    total += (rise * up - down * less)[0]
                return total

            return lax.fori_loop(0, self.window, add, jnp.zeros_like(p))

        return self.each_phase(into).sum(0)

    def joined(self, v: jax.Array) -> jax.Array:
        """[N, *size] from each phase's cells [step², N, *cells]."""
        s, n, (h, w) = self.step, v.shape[1], self.cells
        v = v.reshape(s, s, n, h, w).transpose(2, 3, 0, 4, 1).reshape(n, h * s, w * s)
        return v[:, : self.size[0], : self.size[1]]

    def phases(self, v: jax.Array) -> jax.Array:
        """The inverse, with zeros around the cells as far as a point of the grid reaches."""
        s, n, (h, w) = self.step, len(v), self.cells
        v = jnp.pad(v, ((0, 0), (0, h * s - self.size[0]), (0, w * s - self.size[1])))
        v = v.reshape(n, h, s, w, s).transpose(2, 4, 0, 1, 3).reshape(s * s, n, h, w)
        after = [max(0, g + self.padding - c) for g, c in zip(self.grid, self.cells, strict=True)]
        return jnp.pad(v, ((0, 0), (0, 0), *((self.ahead, a) for a in after)))

    def inner(self, full: jax.Array) -> jax.Array:
        """Masks [N, H, W] without their margins."""
        m, (h, w) = self.margin, self.space
        return full[:, m : m + h, m : m + w]

    def outer(self, inner: jax.Array) -> jax.Array:
        """[N, *size]: what is within the margins, and 0 there."""
        m, sizes = self.margin, zip(self.size, self.space, strict=True)
        return jnp.pad(inner, ((0, 0), *((m, whole - m - n) for whole, n in sizes)))
