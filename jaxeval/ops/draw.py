"""Random numbers for queries, faster on CPUs than `jax.random`.

Threefry produces two words per counter. `jax.random` keeps only their xor, so that arrays do not
depend on their sharding; a query lies on one device, so both words are used here. Also, JAX
compiles the Threefry rounds to a loop on CPUs; unrolled, they fuse with the consumer.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike, DTypeLike

THREEFRY = "threefry2x32"
ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))

# Coefficients of the polynomials in `quantile`, highest power first.
NEAR = (
    2.81022636e-08, 3.43273939e-07, -3.5233877e-06, -4.39150654e-06, 0.00021858087,
    -0.00125372503, -0.00417768164, 0.246640727, 1.50140941,
)  # fmt: skip
FAR = (
    -0.000200214257, 0.000100950558, 0.00134934322, -0.00367342844, 0.00573950773,
    -0.0076224613, 0.00943887047, 1.00167406, 2.83297682,
)  # fmt: skip


def threefry(
    key: ArrayLike, first: ArrayLike, second: ArrayLike
) -> tuple[Array | np.ndarray, Array | np.ndarray]:
    """Threefry-2x32 with 20 rounds: two random words for each two-word counter.

    Equal to `jax.extend.random.threefry_2x32`. Source: Salmon et al. 2011.

    Args:
      key: uint32 [2].
      first, second: the two words of each counter, uint32. NumPy arrays are computed on the host.
    """
    key = key if isinstance(key, np.ndarray) else jnp.asarray(key, jnp.uint32)
    a, b = key
    keys = (a, b, a ^ b ^ np.uint32(0x1BD11BDA))
    x, y = first + keys[0], second + keys[1]
    for group in range(5):
        for by in ROTATIONS[group % 2]:
            x = x + y
            y = x ^ (y << by | y >> (32 - by))
        x = x + keys[(group + 1) % 3]
        y = y + keys[(group + 2) % 3] + np.uint32(group + 1)
    return x, y


def fold_in(key: Any, data: ArrayLike) -> Any:
    """`jax.random.fold_in` for 32-bit integers; gives the same key."""
    if str(jax.random.key_impl(key)) != THREEFRY:
        return jax.random.fold_in(key, data)
    words = threefry(jax.random.key_data(key), jnp.uint32(0), jnp.asarray(data).astype(jnp.uint32))
    # Without the barrier, XLA recomputes the key for every number drawn from it.
    words = jax.lax.optimization_barrier(jnp.stack(words))
    return jax.random.wrap_key_data(words, impl=THREEFRY)


def bits(key: Any, shape: tuple[int, ...]) -> Array:
    """Random uint32 words. A longer array starts with the same words as a shorter one."""
    if str(jax.random.key_impl(key)) != THREEFRY:
        return jax.random.bits(key, shape, jnp.uint32)
    at = jnp.arange(math.prod(shape), dtype=jnp.uint32)
    even, odd = threefry(jax.random.key_data(key), jnp.zeros_like(at), at >> 1)
    return jnp.where(at & 1, odd, even).reshape(shape)


def uniform(key: Any, shape: tuple[int, ...], dtype: DTypeLike = jnp.float32) -> Array:
    """Uniform on the open interval (-1, 1), on a grid of 2^23 values symmetric about 0."""
    odd = (bits(key, shape) >> 8 | 1).astype(jnp.int32) - 2**23
    return (odd.astype(jnp.float32) * 2.0**-23).astype(dtype)


def normal(key: Any, shape: tuple[int, ...], dtype: DTypeLike = jnp.float32) -> Array:
    """Standard normal numbers, by inversion of uniform ones."""
    return quantile(uniform(key, shape)).astype(dtype)


def quantile(u: Array) -> Array:
    """``√2 erf⁻¹(u)`` of float32 u in (-1, 1), with a relative error of at most 5e-7.

    Twice as fast as `jax.lax.erf_inv`, and more accurate. Source: Giles 2012, "Approximating the
    erfinv function", table 5.

    >>> quantile(jnp.array([0.0, 0.6827])).round(3).tolist()
    [0.0, 1.0]
    """
    w = -jnp.log((1 - u) * (1 + u))
    near = w < 5
    t = jnp.where(near, w - 2.5, jnp.sqrt(w) - 3)
    value = jnp.zeros_like(u)
    for a, b in zip(NEAR, FAR, strict=True):
        value = value * t + jnp.where(near, jnp.float32(a), jnp.float32(b))
    return math.sqrt(2) * u * value
