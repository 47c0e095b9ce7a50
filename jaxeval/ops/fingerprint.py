"""A 128-bit hash of integer arrays, computed on the device."""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Integer, UInt32


def _mixed(h: Array) -> Array:
    """A bijection on 32 bits with full avalanche (the finaliser of MurmurHash3)."""
    h = (h ^ (h >> 16)) * jnp.uint32(0x85EBCA6B)
    h = (h ^ (h >> 13)) * jnp.uint32(0xC2B2AE35)
    return h ^ (h >> 16)


def fingerprint(codes: Integer[ArrayLike, " ..."]) -> UInt32[Array, " 4"]:
    """A 128-bit hash: equal for equal arrays, different (up to collisions) for different ones.

    Args:
      codes: integers of at most 32 bits, of any shape.

    Returns:
      The fingerprint [4]. It depends on the values in row-major order, not on the shape.

    >>> one, two = fingerprint(jnp.array([1, 0])), fingerprint(jnp.array([0, 1]))
    >>> bool((one == two).any())
    False
    """
    v = jnp.ravel(jnp.asarray(codes)).astype(jnp.uint32)
    at = jnp.arange(v.size, dtype=jnp.uint32)
    words = (_mixed(_mixed(v + jnp.uint32(k)) + at) for k in (0x1234567, 0x9E3779B9, 77, 1 << 31))
    return jnp.stack([word.sum(dtype=jnp.uint32) for word in words])
