"""What a "score of the class" is, and how it changes, from logits."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Float, Integer, Real

from ._common import as_float, known

OUTPUTS = ("probability", "logit", "log_probability")

Output = str | Callable[..., ArrayLike]


def log_probability(z: Real[ArrayLike, " K"], y: Integer[ArrayLike, ""]) -> Float[Array, ""]:
    """log p_y = -log1p(sum_{j != y} exp(z_j - z_y)), with p the softmax of the logits.

    Unlike z_y - logsumexp(z), this keeps its relative accuracy where p_y is within float32's
    resolution of 1, which is where confident classifiers live.

    Args:
      z: logits [K].
      y: the class, 0 <= y < K.

    Returns:
      log p_y []. It is 0 for K = 1, and never overflows for finite logits.

    >>> print(f"{log_probability(jnp.array([40.0, 0.0]), 0):.4e}")
    -4.2484e-18
    """
    z = as_float(z)
    gaps = jnp.where(jnp.arange(z.size) == y, -jnp.inf, z - z[y])
    return -jax.nn.softplus(jax.nn.logsumexp(gaps))


def value(z: Real[ArrayLike, " K"], y: Integer[ArrayLike, ""], output: Output) -> Float[Array, ""]:
    """The score of class y: its softmax probability, its logit, or its log-probability.

    Args:
      z: logits [K].
      y: the class, 0 <= y < K.
      output: "probability", "logit", "log_probability", or a function (z, y) -> value [].

    Returns:
      The score [].

    Raises:
      ValueError: for an unknown name.

    >>> print(value(jnp.array([0.0, 0.0]), 1, "probability"))
    0.5
    """
    if callable(output):
        return as_float(output(z, y))
    known("output", output, OUTPUTS)
    if output == "logit":
        return as_float(z)[y]
    log_p = log_probability(z, y)
    return jnp.exp(log_p) if output == "probability" else log_p


def difference(
    z: Real[ArrayLike, " K"], z2: Real[ArrayLike, " K"], y: Integer[ArrayLike, ""], output: Output
) -> Float[Array, ""]:
    """value(z) - value(z2), without the cancellation that a difference of probabilities has.

    With l and l' the log-probabilities of z and z2, and the larger p as the factor::

        p - p' = -p expm1(l' - l)   where p >= p',   else   p' expm1(l - l')

    (the other way round, expm1 overflows). A difference that float32 cannot hold, below about
    1e-38, is 0.

    Args:
      z: logits [K].
      z2: logits [K] to subtract the score of.
      y: the class, 0 <= y < K.
      output: as for `value`. A function is called twice and subtracted as it is.

    Returns:
      The difference [], with finite gradients for finite logits.

    Raises:
      ValueError: for an unknown name.

    >>> z, z2 = jnp.array([40.0, 0.0]), jnp.array([30.0, 0.0])
    >>> print(f"{difference(z, z2, 0, 'probability'):.4e}")
    9.3572e-14
    """
    if callable(output) or output != "probability":
        return value(z, y, output) - value(z2, y, output)
    log_p, log_p2 = log_probability(z, y), log_probability(z2, y)
    change = log_p - log_p2
    fell = change >= 0
    # Each branch gets an argument that is harmless where it is not taken: the gradient of a
    # `where` is 0 * (gradient of the other branch), and 0 * inf is NaN.
    down = -jnp.exp(log_p) * jnp.expm1(jnp.where(fell, -change, 0))
    up = jnp.exp(log_p2) * jnp.expm1(jnp.where(fell, 0, change))
    return jnp.where(fell, down, up)


def relative_drop(
    z: Real[ArrayLike, " K"], z2: Real[ArrayLike, " K"], y: Integer[ArrayLike, ""], output: Output
) -> Float[Array, ""]:
    """(value(z) - value(z2)) / value(z), also for probabilities that float32 cannot hold.

    For probabilities it is -expm1(log p2 - log p): neither the difference is lost in rounding nor
    the quotient where both underflow.

    Args:
      z: logits [K].
      z2: logits [K] to subtract the score of.
      y: the class, 0 <= y < K.
      output: as for `value`.

    Returns:
      The relative drop []; NaN where value(z) is not above 0, of which there are no shares.

    Raises:
      ValueError: for an unknown name.

    >>> z, z2 = jnp.array([40.0, 0.0]), jnp.array([30.0, 0.0])
    >>> print(f"{relative_drop(z, z2, 0, 'probability'):.4e}")
    9.3572e-14
    """
    if not callable(output) and output == "probability":
        return -jnp.expm1(log_probability(z2, y) - log_probability(z, y))
    whole = value(z, y, output)
    share = difference(z, z2, y, output) / jnp.where(whole > 0, whole, 1)
    return jnp.where(whole > 0, share, jnp.nan)
