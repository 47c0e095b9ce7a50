"""The information content of an image, estimated by its losslessly compressed size."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Float, Real

from ._common import as_float


def _before(v: Array, axis: int) -> Array:
    """The previous entry along an axis; 0 before the first."""
    pad = [(1, 0) if i == axis else (0, 0) for i in range(v.ndim)]
    return jax.lax.slice_in_dim(jnp.pad(v, pad), 0, v.shape[axis], axis=axis)


def code_length(
    x: Real[ArrayLike, "*shape"],
    low: Real[ArrayLike, ""],
    high: Real[ArrayLike, ""],
    channel_axis: int | None,
) -> Float[Array, ""]:
    """Size in bits of the 8-bit image after PNG's Paeth filter and ideal entropy coding.

    The entries are scaled from [`low`, `high`] to 0..255 and rounded. Each is predicted from the
    preceding ones by PNG's filter type 4 (with one spatial axis: from the previous entry). If n_v
    of the n residuals modulo 256 have the value v, the size is sum_v n_v log2(n / n_v) bits. PNG
    and lossless WebP come close to this size, apart from their headers.

    Args:
      x: an image [...] with at least one axis besides the channels; the last two are filtered.
      low: the value of x that is mapped to 0.
      high: the value of x that is mapped to 255.
      channel_axis: the axis of x that holds channels, or None.

    Returns:
      The length in bits [].

    >>> print(code_length(jnp.array([[0.0, 0.0], [0.0, 1.0]]), 0.0, 1.0, None).round(4))
    3.2451
    """
    x, low, high = as_float(x), as_float(low), as_float(high)
    channel = None if channel_axis is None else channel_axis % x.ndim
    axes = [i for i in range(x.ndim) if i != channel][-2:]
    span = high - low
    v = jnp.round(255 * (x - low) / jnp.where(span > 0, span, 1)).astype(jnp.int32)
    left = _before(v, axes[-1])
    if len(axes) == 2:
        up = _before(v, axes[0])
        corner = _before(left, axes[0])
        from_left, from_up = jnp.abs(up - corner), jnp.abs(left - corner)
        from_corner = jnp.abs(left + up - 2 * corner)
        nearest = jnp.where(from_up <= from_corner, up, corner)
        left = jnp.where((from_left <= from_up) & (from_left <= from_corner), left, nearest)
    residual = jnp.ravel((v - left) % 256)
    n = jax.ops.segment_sum(jnp.ones_like(residual), residual, 256).astype(x.dtype)
    return jnp.sum(jnp.where(n > 0, n * jnp.log2(residual.size / jnp.maximum(n, 1)), 0))
