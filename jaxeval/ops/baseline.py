"""What a removed feature is replaced with."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.typing import ArrayLike
from jaxtyping import Bool, Key, Real
from scipy.ndimage import gaussian_filter1d

from ._common import as_float, extremes, known

RANDOM_BASELINES = ("uniform", "gaussian")
BASELINES = ("black", "white", "mean", "channel_mean", "zero", *RANDOM_BASELINES, "blur")

SIGMA, TRUNCATE = 5.0, 3.0


@functools.cache
def _gaussian() -> tuple[float, ...]:
    """The weights of scipy.ndimage.gaussian_filter1d: its response to a unit impulse."""
    radius = int(TRUNCATE * SIGMA + 0.5)
    impulse = np.zeros(2 * radius + 1)
    impulse[radius] = 1
    return tuple(gaussian_filter1d(impulse, SIGMA, truncate=TRUNCATE, mode="constant").tolist())


def _blur(x: Array, axis: int) -> Array:
    """x blurred along an axis: a weighted sum of shifted copies, exact to rounding anywhere."""
    weights = _gaussian()
    radius, n = len(weights) // 2, x.shape[axis]
    pad = [(radius, radius) if i == axis else (0, 0) for i in range(x.ndim)]
    padded = jnp.pad(x, pad, mode="edge")
    return sum(
        (w * lax.slice_in_dim(padded, k, k + n, axis=axis) for k, w in enumerate(weights)),
        start=jnp.zeros_like(x),
    )


def _box(x: Array, where: ArrayLike, axes: tuple[int, ...]) -> Array:
    """x with the edges of the box around `where` repeated to the ends of the axes."""
    where = jnp.broadcast_to(where, x.shape)
    for axis in axes:
        there = where.any(tuple(i for i in range(x.ndim) if i != axis))
        first, last = there.argmax(), there.size - 1 - there[::-1].argmax()
        x = jnp.take(x, jnp.clip(jnp.arange(there.size), first, last), axis)
    return x


def baseline(
    x: Real[ArrayLike, "*shape"],
    b: str | Real[ArrayLike, " ..."],
    channel_axis: int | None,
    key: Key[Array, ""] | None = None,
    where: Bool[ArrayLike, " ..."] | None = None,
) -> Real[Array, " ..."]:
    """The replacement values for one input.

    Args:
      x: the clean input [...] of one sample.
      b: one of
        "black", "white", "mean": the smallest, largest, mean entry of x;
        "channel_mean": the mean of each channel (without a channel axis, of all entries);
        "zero": 0;
        "uniform": U[0, 1], drawn for each entry of x;
        "gaussian": N(0, 1), drawn for each entry of x;
        "blur": x blurred by a Gaussian (sigma 5, cut at 3 sigma, edges repeated) along every
        axis but the channels, as scipy.ndimage.gaussian_filter1d(mode="nearest") does;
        or a number, or an array that broadcasts to x.
      channel_axis: the axis of x that holds channels, or None.
      key: a typed PRNG key, used by "uniform" and "gaussian" only.
      where: the entries of x that count, bool that broadcasts to x; None: all. "blur" takes the
        smallest box around them for the whole, and repeats its edges.

    Returns:
      Values that broadcast to x, of its dtype.

    Raises:
      ValueError: for an unknown name, an array that does not broadcast to x, or a random
        baseline without a key.

    >>> print(baseline(jnp.array([1.0, 3.0]), "mean", None, None))
    2.0
    """
    x = jnp.asarray(x)
    if not isinstance(b, str):
        there = jnp.asarray(b, x.dtype)
        try:
            fits = np.broadcast_shapes(there.shape, x.shape) == x.shape
        except ValueError:
            fits = False
        if not fits:
            raise ValueError(f"baseline must broadcast to x {x.shape}, got shape {there.shape}")
        return there
    known("baseline", b, BASELINES)
    channel = None if channel_axis is None else channel_axis % x.ndim
    axes = tuple(i for i in range(x.ndim) if i != channel)
    if b in RANDOM_BASELINES:
        if key is None:
            raise ValueError(f"baseline={b!r} is random and needs a key, got key=None")
        draw = jax.random.uniform if b == "uniform" else jax.random.normal
        return draw(key, x.shape, as_float(x).dtype).astype(x.dtype)
    if b == "blur":
        whole = as_float(x) if where is None else _box(as_float(x), where, axes)
        return functools.reduce(_blur, axes, whole).astype(x.dtype)
    if b == "zero":
        return jnp.zeros((), x.dtype)
    if b == "channel_mean":
        return x.mean(axes, keepdims=True, where=where).astype(x.dtype)
    if b == "mean":
        return x.mean(where=where).astype(x.dtype)
    return extremes(x, where)[b == "white"].astype(x.dtype)
