"""Linear imputation of removed pixels from their neighbours."""

from __future__ import annotations

import itertools
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.typing import ArrayLike
from jaxtyping import Bool, Float, Real

from ._common import as_float

IMPUTE_TOLERANCE = 1e-5
ITERATIONS = 100


def _same(v: Array) -> Array:
    return v


def _pull(v: Array, axes: tuple[int, ...]) -> tuple[Array, np.ndarray]:
    """(sum of w (v - neighbour) over the neighbours of each pixel, sum of the weights w).

    Differences are taken before summing: their rounding errors scale with the small differences,
    which keeps float32 accurate enough for holes as wide as the image.
    """
    pad = [(1, 1) if i in axes else (0, 0) for i in range(v.ndim)]
    there = np.pad(np.ones([n if i in axes else 1 for i, n in enumerate(v.shape)], v.dtype), pad)
    # On CPUs XLA would fuse the computation of v and repeat it for each neighbour, which elsewhere
    # costs less than to store it.
    padded = lax.platform_dependent(jnp.pad(v, pad), cpu=lax.optimization_barrier, default=_same)
    total, weights = jnp.zeros_like(v), 0
    for offset in itertools.product((-1, 0, 1), repeat=len(axes)):
        distance = sum(map(abs, offset))
        if distance == 0:
            continue
        weight = 1 / 2 if len(axes) == 1 else (1 / 6, 1 / 12)[distance - 1]
        moved = dict(zip(axes, offset, strict=True))
        at = tuple(
            slice(1 + moved[i], 1 + moved[i] + n) if i in moved else slice(None)
            for i, n in enumerate(v.shape)
        )
        weight = weight * there[at]
        total, weights = total + weight * (v - padded[at]), weights + weight
    return total, np.asarray(weights)


def _halved(v: Array, axes: tuple[int, ...], fill: Any, join: Any) -> Array:
    """Coarsen: join blocks of two along each axis; an odd last entry is joined with `fill`."""
    for axis in axes:
        odd = v.shape[axis] % 2
        v = jnp.pad(v, [(0, odd if i == axis else 0) for i in range(v.ndim)], constant_values=fill)
        v = join(v.reshape(*v.shape[:axis], -1, 2, *v.shape[axis + 1 :]), axis + 1)
    return v


def _doubled(v: Array, axes: tuple[int, ...], like: Array) -> Array:
    for axis in axes:
        v = lax.slice_in_dim(jnp.repeat(v, 2, axis), 0, like.shape[axis], axis=axis)
    return v


def _cycle(r: Array, gone: Array, axes: tuple[int, ...]) -> Array:
    """The preconditioner: one multigrid V-cycle, an approximate solution for right-hand side r.

    Symmetric positive definite in r, as conjugate gradients require: equally many smoothing sweeps
    before and after the coarse grid, which receives the sums of blocks. A coarse cell is removed
    if all its pixels are.
    """
    degree = _pull(r, axes)[1]
    damping = 1.0 if len(axes) == 2 else 2 / 3  # smooths best

    def swept(v: Array) -> Array:
        left = r - jnp.where(gone, _pull(v, axes)[0], 0)
        return v + damping * left / degree

    v = damping * r / degree
    if min(r.shape[i] for i in axes) < 4:
        return swept(swept(swept(v)))
    coarse = _halved(gone, axes, True, jnp.all)
    left = jnp.where(gone, r - _pull(v, axes)[0], 0)
    left = jnp.where(coarse, _halved(left, axes, 0, jnp.sum), 0)
    # On a grid of twice the spacing, the stencil needs no rescaling in 2-D, a factor of 2 in 1-D.
    v += 4 / 2 ** len(axes) * _doubled(_cycle(left, coarse, axes), axes, r)
    return swept(v)


def impute(
    x: Real[ArrayLike, "*shape"],
    gone: Bool[ArrayLike, "*space"],
    channel_axis: int | None,
    tolerance: Real[ArrayLike, ""] = IMPUTE_TOLERANCE,
) -> Float[Array, "*shape"]:
    """Set each removed pixel to the weighted mean of its neighbours, including removed ones.

    Direct neighbours have weight 1/6, diagonal ones 1/12 (in a series, 1/2 each); at the image
    border, the weights of the existing neighbours are rescaled to sum to 1. The linear system, with
    one unknown per removed pixel and channel, is solved matrix-free by conjugate gradients with a
    multigrid preconditioner, to an error of about `tolerance`.

    Args:
      x: one input [...] with one or two axes besides the channels.
      gone: mask of the removed pixels [space]; if all are removed, the result is NaN.
      channel_axis: the axis of x that holds channels, or None.
      tolerance: the estimated error at which the solver stops, relative to the largest deviation of
        the remaining pixels from their mean.

    Returns:
      The imputed input [...]; the remaining pixels are unchanged.

    Raises:
      ValueError: if x has more than two axes besides the channels.

    >>> impute(jnp.array([1.0, 9.0, 9.0, 4.0]), jnp.array([False, True, True, False]), None)
    Array([1., 2., 3., 4.], dtype=float32)
    """
    x, gone = as_float(x), jnp.asarray(gone)
    channel = None if channel_axis is None else channel_axis % x.ndim
    axes = tuple(i for i in range(x.ndim) if i != channel)
    if len(axes) > 2:
        raise ValueError(f"imputation needs one or two axes beside the channels, got {len(axes)}")
    if channel is not None:
        gone = jnp.expand_dims(gone, channel)

    def total(v: Array) -> Array:  # per channel: each channel is a separate linear system
        return v.sum(axes, keepdims=True)

    # Subtract the mean of the remaining pixels: smaller numbers lose less to rounding.
    left = jnp.where(gone, 0, x)
    mean = total(left) / (~gone).sum()
    left = jnp.where(gone, 0, x - mean)
    scale = jnp.abs(left).max(axes, keepdims=True)

    def residual_of(v: Array) -> Array:
        return jnp.where(gone, _pull(v, axes)[0], 0)

    def quotient(u: Array, v: Array) -> Array:
        return jnp.where(v > 0, u / jnp.where(v > 0, v, 1), 0)

    def going(state: tuple[Array, ...]) -> Array:
        *_, more, n = state
        return more & (n < ITERATIONS)

    def inaccurate(z: Array) -> Array:  # z estimates the error of v
        return (jnp.abs(z) > tolerance * scale).any()

    def step(state: tuple[Array, ...]) -> tuple[Array, ...]:
        v, r, p, size, _, n = state
        change = residual_of(p)
        length = quotient(size, total(p * change))
        v, r = v + length * p, r - length * change
        z = _cycle(r, gone, axes)
        new = total(r * z)
        return v, r, z + quotient(new, size) * p, new, inaccurate(z), n + 1

    r = -residual_of(left)
    z = _cycle(r, gone, axes)
    start = (jnp.zeros_like(x), r, z, total(r * z), inaccurate(z), jnp.int32(0))
    return jnp.where(gone, lax.while_loop(going, step, start)[0] + mean, x)
