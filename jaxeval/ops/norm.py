"""The Euclidean norm, safe against overflow, underflow and NaN gradients."""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Float, Real

from ._common import as_float, largest, power_of_two


def norm(v: Real[ArrayLike, " ..."]) -> Float[Array, ""]:
    """||v||_2 = sqrt(sum v^2) over all entries.

    The entries are rescaled by a power of two before squaring, so that entries of 1e-30 or 1e30
    neither under- nor overflow. The gradient at v = 0 is 0, not NaN.

    Args:
      v: an array of any shape.

    Returns:
      The norm []. NaN if v contains NaN.

    >>> print(norm(jnp.array([[3e-30, 4e-30]])))
    5e-30
    """
    v = as_float(v)
    scale = power_of_two(largest(v))
    squares = jnp.sum(jnp.square(v / scale))
    zero = squares == 0
    return jnp.where(zero, 0, jnp.sqrt(jnp.where(zero, 1, squares))) * scale
