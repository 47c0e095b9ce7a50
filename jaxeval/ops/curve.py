"""What is said of a curve in one number."""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Float, Real

from ._common import as_float


def area(curve: Real[ArrayLike, " S"]) -> Float[Array, ""]:
    """The trapezoid area under S >= 1 points spread evenly on [0, 1].

    Args:
      curve: the points [S].

    Returns:
      The area []; one point is its own area.

    >>> print(area(jnp.array([1.0, 0.5, 0.0])))
    0.5
    """
    curve = as_float(curve)
    return curve[0] if curve.size == 1 else jnp.mean((curve[1:] + curve[:-1]) / 2)
