"""Structural similarity of two maps."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.typing import ArrayLike
from jaxtyping import Float, Real

from ._common import as_float

WINDOW, K1, K2 = 7, 0.01, 0.03


def _windows(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The side of the window along each axis: an odd square, and 1 along axes shorter than 3."""
    sides = [n for n in shape if n >= 3]
    side = min([WINDOW, *sides])
    side -= 1 - side % 2
    return tuple(side if n >= 3 and sides else 1 for n in shape)


def _box(w: Array, windows: tuple[int, ...]) -> Array:
    """Means over all windows that lie inside the map, along the last axes of w."""
    for axis, n in enumerate(windows, w.ndim - len(windows)):
        if n > 1:
            dims = tuple(n if i == axis else 1 for i in range(w.ndim))
            w = lax.reduce_window(w, np.zeros((), w.dtype), lax.add, dims, (1,) * w.ndim, "VALID")
    return w / float(np.prod(windows))


def ssim(
    u: Real[ArrayLike, "*shape"],
    v: Real[ArrayLike, "*shape"],
    *,
    channel_axis: int | None = 0,
) -> Float[Array, ""]:
    """Mean structural similarity (Wang et al. 2004) with a uniform 7x7 window.

    For each window, with means m, sample variances s and sample covariance c::

        (2 m_u m_v + C1) (2 c + C2) / ((m_u^2 + m_v^2 + C1) (s_u + s_v + C2))

    C1 = (0.01 R)^2, C2 = (0.03 R)^2, R = max - min over both maps; averaged over all windows that
    lie inside the map, then over channels. Equal to `skimage.metrics.structural_similarity` with
    `data_range=R`.

    If the shortest side is less than 7, the window is the largest odd square that fits. Axes of
    length 1 or 2 get a window side of 1: [1, T] has windows of 7 along T.

    Args:
      u: a map [T], [H, W], or [C, H, W].
      v: a map of the same shape.
      channel_axis: the channel axis of maps with three or more axes; None: no channels (a volume
        with cubic windows).

    Returns:
      The similarity [], at most 1. NaN where R = 0 (both maps constant and equal), where every
      side is shorter than 3, or where u or v contains NaN.

    >>> print(ssim(jnp.eye(8), jnp.eye(8)))
    1.0
    """
    u, v = as_float(u), as_float(v)
    if u.ndim >= 3 and channel_axis is not None:
        u, v = jnp.moveaxis(u, channel_axis, 0), jnp.moveaxis(v, channel_axis, 0)
    else:
        u, v = u[None], v[None]
    windows = _windows(u.shape[1:])
    n = int(np.prod(windows))
    if n == 1:
        return jnp.full((), jnp.nan, u.dtype)

    span = jnp.maximum(u.max(), v.max()) - jnp.minimum(u.min(), v.min())
    undefined = ~(span > 0)
    span = jnp.where(undefined, 1, span)
    # Centre and rescale first: squares of values with a large offset would leave no precision for
    # the variance. The score does not depend on the scale.
    spatial = tuple(range(1, u.ndim))
    at_u, at_v = u.mean(spatial, keepdims=True), v.mean(spatial, keepdims=True)
    u, v = (u - at_u) / span, (v - at_v) / span
    d = u - v
    m_u, m_v, m_d, s_u, s_v, s_d = _box(jnp.stack([u, v, d, u * u, v * v, d * d]), windows)
    s_u, s_v, s_d = ((s - m * m) * n / (n - 1) for s, m in ((s_u, m_u), (s_v, m_v), (s_d, m_d)))
    m_u, m_v, m_d = m_u + at_u / span, m_v + at_v / span, m_d + (at_u - at_v) / span
    # 2 m_u m_v = m_u^2 + m_v^2 - (m_u - m_v)^2, and 2 c = s_u + s_v - s_d.
    luminance = 1 - m_d**2 / (m_u**2 + m_v**2 + K1**2)
    structure = 1 - s_d / (s_u + s_v + K2**2)
    return jnp.where(undefined, jnp.nan, jnp.mean(luminance * structure))
