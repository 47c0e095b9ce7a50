"""The share of attribution mass inside a mask."""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Bool, Float, Real

from ._common import as_float


def mass_inside(a: Real[ArrayLike, "*shape"], mask: Bool[ArrayLike, "*shape"]) -> Float[Array, ""]:
    """The share of a map's positive mass that lies inside the mask.

    Args:
      a: a map of any shape.
      mask: True inside, of the same shape.

    Returns:
      The share [], in [0, 1]. NaN for an empty mask or a map without positive entries.

    >>> a, mask = jnp.array([3.0, 1.0, -4.0]), jnp.array([True, False, True])
    >>> print(mass_inside(a, mask))
    0.75
    """
    mass, mask = jnp.maximum(as_float(a), 0), jnp.asarray(mask)
    total = mass.sum()
    share = jnp.where(mask, mass, 0).sum() / jnp.where(total > 0, total, 1)
    return jnp.where((total > 0) & mask.any(), share, jnp.nan)
