"""Baselines: the values that replace removed features."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.typing import ArrayLike
from jaxtyping import Bool, Key, Real

from ..check import TOKEN_BASELINES, Function
from ._common import as_float, extremes, known

RANDOM_BASELINES = ("uniform", "uniform_value", "gaussian")
BACKGROUND_BASELINES = ("background mean", "background")
"""Names that refer to the samples given as `background=` of `jaxeval.evaluate`."""
BASELINES = (
    *("black", "white", "mean", "channel_mean", "zero"),
    *(*RANDOM_BASELINES, "blur", *BACKGROUND_BASELINES),
)

SIGMA, TRUNCATE = 5.0, 3.0


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Background:
    """A random baseline: one whole sample drawn uniformly from `rows` [B, ...].

    Removed features follow the joint distribution of the rows, independently of the remaining
    features: the marginal expectation. ``baseline="background"`` means this with the rows given as
    ``background=rows`` of `jaxeval.evaluate`.
    """

    rows: Any

    def __repr__(self) -> str:
        return f"Background(rows of shape {list(np.shape(self.rows))})"


def is_random(b: Any) -> bool:
    """Whether a baseline is random and needs a key."""
    return isinstance(b, Background) or (isinstance(b, str) and b in RANDOM_BASELINES)


@functools.cache
def _gaussian() -> tuple[float, ...]:
    """The weights of scipy.ndimage.gaussian_filter1d: its response to a unit impulse."""
    from scipy.ndimage import gaussian_filter1d

    radius = int(TRUNCATE * SIGMA + 0.5)
    impulse = np.zeros(2 * radius + 1)
    impulse[radius] = 1
    return tuple(gaussian_filter1d(impulse, SIGMA, truncate=TRUNCATE, mode="constant").tolist())


def _blur(x: Array, axis: int) -> Array:
    """x blurred along an axis: a sum of shifted copies, exact to rounding on every backend."""
    weights = _gaussian()
    radius, n = len(weights) // 2, x.shape[axis]
    pad = [(radius, radius) if i == axis else (0, 0) for i in range(x.ndim)]
    padded = jnp.pad(x, pad, mode="edge")
    return sum(
        (w * lax.slice_in_dim(padded, k, k + n, axis=axis) for k, w in enumerate(weights)),
        start=jnp.zeros_like(x),
    )


def _box(x: Array, where: ArrayLike, axes: tuple[int, ...]) -> Array:
    """x outside the bounding box of `where` replaced by the nearest values of the box."""
    where = jnp.broadcast_to(where, x.shape)
    for axis in axes:
        there = where.any(tuple(i for i in range(x.ndim) if i != axis))
        first, last = there.argmax(), there.size - 1 - there[::-1].argmax()
        x = jnp.take(x, jnp.clip(jnp.arange(there.size), first, last), axis)
    return x


def _drawn(x: Array, b: Any, key: Array) -> Array:
    """One draw of a random baseline."""
    if isinstance(b, Background):
        rows = jnp.asarray(b.rows)
        if rows.shape[1:] != x.shape:
            raise ValueError(f"background must be samples [B, *{x.shape}], got shape {rows.shape}")
        return rows[jax.random.randint(key, (), 0, len(rows))].astype(x.dtype)
    if b == "uniform_value":
        return jax.random.uniform(key, (), as_float(x).dtype).astype(x.dtype)
    draw = jax.random.uniform if b == "uniform" else jax.random.normal
    return draw(key, x.shape, as_float(x).dtype).astype(x.dtype)


def baseline(
    x: Real[ArrayLike, "*shape"],
    b: str | Background | Function | Real[ArrayLike, " ..."],
    channel_axis: int | None,
    key: Key[Array, ""] | None = None,
    where: Bool[ArrayLike, " ..."] | None = None,
) -> Real[Array, " ..."]:
    """The replacement values for one input.

    Args:
      x: the clean input [...] of one sample.
      b: one of
        "black", "white", "mean": the minimum, maximum or mean over all entries of x;
        "channel_mean": the mean of each channel (the overall mean without a channel axis);
        "zero": 0;
        "uniform": U[0, 1], independent for each entry of x;
        "uniform_value": U[0, 1], one value for all of x (what Quantus calls "uniform"); metrics
        that remove features step by step draw one value per step and keep it for the features
        removed in that step;
        "gaussian": N(0, 1), independent for each entry of x;
        "blur": x blurred by a Gaussian (sigma 5, truncated at 3 sigma, edges repeated) along every
        axis except the channels, as scipy.ndimage.gaussian_filter1d(mode="nearest");
        "background mean", "background": the mean of the samples given as `background=` of
        `jaxeval.evaluate`, or one whole sample drawn from them (an error without `background=`);
        a number; a list or an array that broadcasts to x; a `Background`, from which one sample is
        drawn; or a JAX function of x that returns such an array.
        For tabular inputs, "black", "white", "mean", "channel_mean", "blur" and the random names
        mix the units of different columns.
      channel_axis: the axis of x that holds channels, or None.
      key: a typed PRNG key; used by random baselines only.
      where: bool mask of the entries of x to use, broadcasts to x; None: all. "blur" treats the
        bounding box of the mask as the whole image and repeats its edges.

    Returns:
      Values that broadcast to x, with the dtype of x.

    Raises:
      ValueError: for an unknown name, an array that does not broadcast to x, or a random
        baseline without a key.

    >>> print(baseline(jnp.array([1.0, 3.0]), "mean", None, None))
    2.0
    """
    x = jnp.asarray(x)
    if isinstance(b, Function):
        b = b.fn(x)
    if is_random(b):
        if key is None:
            raise ValueError(f"baseline={b!r} is random and needs a key, got key=None")
        return _drawn(x, b, key)
    if not isinstance(b, str):
        there = jnp.asarray(b, x.dtype)
        try:
            fits = np.broadcast_shapes(there.shape, x.shape) == x.shape
        except ValueError:
            fits = False
        if not fits:
            raise ValueError(f"baseline must broadcast to x {x.shape}, got shape {there.shape}")
        return there
    if b in BACKGROUND_BASELINES:
        raise ValueError(
            f"baseline={b!r} needs samples: give background=, an array [B, ...] of them"
        )
    if b in TOKEN_BASELINES:
        raise ValueError(
            f"baseline={b!r} removes tokens, and these inputs are real-valued: it needs a model of "
            "token ids, Model(tokens=jaxeval.Tokens(...))"
        )
    known("baseline", b, BASELINES)
    channel = None if channel_axis is None else channel_axis % x.ndim
    axes = tuple(i for i in range(x.ndim) if i != channel)
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
