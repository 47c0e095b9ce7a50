"""Distances between two maps, over all entries."""

from __future__ import annotations

from typing import Any, cast

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Float, Real

from ._common import as_float, largest
from .norm import norm


def l1(u: Real[ArrayLike, "*shape"], v: Real[ArrayLike, "*shape"]) -> Float[Array, ""]:
    """||u - v||_1 = sum |u - v|, for arrays of equal shape.

    >>> print(l1(jnp.array([0.0, 1.0]), jnp.array([3.0, -3.0])))
    7.0
    """
    return jnp.sum(jnp.abs(as_float(u) - as_float(v)))


def l2(u: Real[ArrayLike, "*shape"], v: Real[ArrayLike, "*shape"]) -> Float[Array, ""]:
    """||u - v||_2 = sqrt(sum (u - v)^2), for arrays of equal shape. The gradient at u = v is 0.

    >>> print(l2(jnp.array([0.0, 1.0]), jnp.array([3.0, -3.0])))
    5.0
    """
    return norm(as_float(u) - as_float(v))


def linf(u: Real[ArrayLike, "*shape"], v: Real[ArrayLike, "*shape"]) -> Float[Array, ""]:
    """||u - v||_inf = max |u - v|, for arrays of equal shape.

    >>> print(linf(jnp.array([0.0, 1.0]), jnp.array([3.0, -3.0])))
    4.0
    """
    return largest(as_float(u) - as_float(v))


NORMS = ("l2", "l1", "linf")
"""The norms that `norm_of` knows; the Frobenius norm is "l2"."""


def norm_of(v: Real[ArrayLike, "*shape"], kind: Any) -> Float[Array, ""]:
    """A norm of an array over all its entries: "l2", "l1", "linf", or a function of the array.

    >>> print(norm_of(jnp.array([1.0, -2.0]), "l1"))
    3.0
    """
    if callable(kind):
        return cast(Any, kind)(v)
    distance: Any = {"l2": l2, "l1": l1, "linf": linf}[kind]
    return distance(v, jnp.zeros_like(v))


def squared(u: Real[ArrayLike, "*shape"], v: Real[ArrayLike, "*shape"]) -> Float[Array, ""]:
    """sum (u - v)^2, for arrays of equal shape.

    >>> print(squared(jnp.array([0.0, 1.0]), jnp.array([3.0, -3.0])))
    25.0
    """
    return jnp.sum(jnp.square(as_float(u) - as_float(v)))


def mse(u: Real[ArrayLike, "*shape"], v: Real[ArrayLike, "*shape"]) -> Float[Array, ""]:
    """mean (u - v)^2, for arrays of equal shape.

    >>> print(mse(jnp.array([0.0, 1.0]), jnp.array([3.0, -3.0])))
    12.5
    """
    return jnp.mean(jnp.square(as_float(u) - as_float(v)))


def relative_change(
    u: Real[ArrayLike, "*shape"], v: Real[ArrayLike, "*shape"], eps: Real[ArrayLike, ""]
) -> Float[Array, ""]:
    """||(u - v) / u'||_2, where u' is u with zeros replaced by eps.

    The numerator and denominator of relative stability (Agarwal et al. 2022, "Rethinking Stability
    for Attribution-based Explanations").

    Args:
      u: the reference, of any shape.
      v: the changed array, of the same shape.
      eps: a small positive number.

    Returns:
      The change [].

    >>> print(relative_change(jnp.array([2.0, 0.0]), jnp.array([1.0, 0.0]), 1e-6))
    0.5
    """
    u, v = as_float(u), as_float(v)
    return norm((u - v) / jnp.where(u == 0, eps, u))
