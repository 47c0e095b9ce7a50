"""Kinds of model outputs, the score of a class, and differences between scores."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Float, Integer, Real

from ._common import as_float, known

OUTPUTS = ("probability", "logit", "log_probability", "log_odds", "value")
"""Names of class scores."""
SOFTMAX = ("probability", "log_probability", "log_odds")
"""The class scores that need softmax probabilities."""

Output = str | Callable[..., ArrayLike]


def log_probability(z: Real[ArrayLike, " K"], y: Integer[ArrayLike, ""]) -> Float[Array, ""]:
    """log p_y = -log1p(sum_{j != y} exp(z_j - z_y)), with p the softmax of the logits.

    Unlike z_y - logsumexp(z), this keeps its relative accuracy where p_y rounds to 1 in float32,
    which is common for confident classifiers.

    Args:
      z: logits [K].
      y: the class, 0 <= y < K.

    Returns:
      log p_y []; 0 for K = 1. Never overflows for finite logits.

    >>> print(f"{log_probability(jnp.array([40.0, 0.0]), 0):.4e}")
    -4.2484e-18
    """
    return -jax.nn.softplus(jax.nn.logsumexp(_gaps(as_float(z), y)))


def log_odds(z: Real[ArrayLike, " K"], y: Integer[ArrayLike, ""]) -> Float[Array, ""]:
    """log(p_y / (1 - p_y)) = z_y - log sum_{j != y} exp(z_j), with p the softmax of the logits.

    Args:
      z: logits [K].
      y: the class, 0 <= y < K.

    Returns:
      The log-odds []; infinite for K = 1.

    >>> print(log_odds(jnp.array([0.0, 3.0]), 1))
    3.0
    """
    return -jax.nn.logsumexp(_gaps(as_float(z), y))


def _gaps(z: Array, y: Integer[ArrayLike, ""]) -> Array:
    """z_j - z_y for j != y, and -inf for y itself."""
    return jnp.where(jnp.arange(z.size) == y, -jnp.inf, z - z[y])


def value(z: Real[ArrayLike, " K"], y: Integer[ArrayLike, ""], output: Output) -> Float[Array, ""]:
    """The score of class y: its softmax probability, its logit, or a user-defined function.

    Args:
      z: logits [K].
      y: the class, 0 <= y < K.
      output: "probability", "log_probability" or "log_odds", all of the softmax; "logit" or
        "value", both z_y itself; or a function (z, y) -> value [].

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
    if output in ("logit", "value"):
        return as_float(z)[y]
    if output == "log_odds":
        return log_odds(z, y)
    log_p = log_probability(z, y)
    return jnp.exp(log_p) if output == "probability" else log_p


def difference(
    z: Real[ArrayLike, " K"], z2: Real[ArrayLike, " K"], y: Integer[ArrayLike, ""], output: Output
) -> Float[Array, ""]:
    """value(z) - value(z2), without the cancellation of subtracting nearly equal probabilities.

    With l and l' the log-probabilities for z and z2, and the larger probability as the factor::

        p - p' = -p expm1(l' - l)   where p >= p',   else   p' expm1(l - l')

    (with the smaller probability as the factor, expm1 overflows). A difference below float32's
    smallest normal number, about 1e-38, is 0.

    Args:
      z: logits [K].
      z2: logits [K] whose score is subtracted.
      y: the class, 0 <= y < K.
      output: as for `value`. A function is called on z and on z2, and the results are subtracted.

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
    # The branch not taken gets a safe argument: its gradient is multiplied by 0, and 0 * inf is
    # NaN.
    down = -jnp.exp(log_p) * jnp.expm1(jnp.where(fell, -change, 0))
    up = jnp.exp(log_p2) * jnp.expm1(jnp.where(fell, 0, change))
    return jnp.where(fell, down, up)


def relative_drop(
    z: Real[ArrayLike, " K"], z2: Real[ArrayLike, " K"], y: Integer[ArrayLike, ""], output: Output
) -> Float[Array, ""]:
    """(value(z) - value(z2)) / value(z), accurate for very small and nearly equal probabilities.

    For probabilities it is computed as -expm1(log p2 - log p), which neither cancels nor
    underflows.

    Args:
      z: logits [K].
      z2: logits [K] whose score is subtracted.
      y: the class, 0 <= y < K.
      output: as for `value`.

    Returns:
      The relative drop []; NaN unless value(z) > 0.

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


# -- models whose outputs are not logits -----------------------------------------------------------


def n_classes(n_outputs: int, kind: str) -> int:
    """The number of classes of a model with `n_outputs` outputs of this kind.

    >>> n_classes(1, "binary"), n_classes(10, "logits")
    (2, 10)
    """
    return 2 if kind == "binary" else n_outputs


def as_logits(outputs: Real[ArrayLike, "*n K"], kind: str) -> Real[Array, "*n C"]:
    """Convert a model's outputs to logits, whose softmax gives the class probabilities.

    Args:
      outputs: the outputs [..., K] of a model.
      kind: "logits" or "values": returned unchanged; "probabilities": their logarithms, with
        probabilities clipped from below at the smallest normal float32, 1.2e-38; "binary": a
        single logit z [..., 1] becomes the logits 0 of class 0 and z of class 1.

    Returns:
      Logits [..., C].

    >>> as_logits(jnp.array([2.0]), "binary").tolist()
    [0.0, 2.0]
    """
    outputs = jnp.asarray(outputs)
    if kind == "probabilities":
        outputs = as_float(outputs)
        return jnp.log(jnp.maximum(outputs, jnp.finfo(outputs.dtype).tiny))
    if kind == "binary":
        return jnp.concatenate([jnp.zeros_like(outputs), outputs], -1)
    return outputs


def as_outputs(z: Real[ArrayLike, "*n C"], kind: str) -> Real[Array, "*n K"]:
    """The inverse of `as_logits`: convert logits back to the model's own outputs.

    >>> as_outputs(jnp.array([0.0, 2.0]), "binary").tolist()
    [2.0]
    """
    z = jnp.asarray(z)
    if kind == "probabilities":
        return jnp.exp(z)
    return z[..., 1:] if kind == "binary" else z


@dataclasses.dataclass(frozen=True)
class OfOutputs:
    """Wraps `fn(outputs, y)` as a function of the logits that `as_logits` returns."""

    kind: str
    fn: Callable[..., ArrayLike]

    def __call__(self, z: Any, y: Any) -> Any:
        return self.fn(as_outputs(z, self.kind), y)


@dataclasses.dataclass(frozen=True)
class OfLogits:
    """The class score named `output` as a function of a model's own outputs."""

    kind: str
    output: str

    def __call__(self, outputs: Any, y: Any) -> Any:
        return value(as_logits(outputs, self.kind), y, self.output)


def check_output(output: Output, kind: str, n_outputs: int | None) -> None:
    """Check that this class score is defined for a model with outputs of this kind.

    Args:
      n_outputs: the number of outputs, or None if unknown.

    Raises:
      ValueError: if it is not defined; the message says what to use instead.
    """
    if callable(output):
        return
    known("output", output, OUTPUTS)
    if kind == "values" and output in SOFTMAX:
        raise ValueError(
            f"output={output!r} needs probabilities, and the outputs of this model are plain "
            'values: leave output out, or give output="value"'
        )
    if kind == "probabilities" and output == "logit":
        raise ValueError(
            'output="logit" needs logits, and this model gives probabilities: give '
            'output="probability", "log_probability" or "log_odds", or a model without its softmax'
        )
    if kind == "logits" and n_outputs == 1 and output in SOFTMAX:
        raise ValueError(
            f"output={output!r} of a model with one output: the softmax of one logit is always 1. "
            'Give Model(outputs="binary") where the output is the logit of class 1, or '
            'Model(outputs="values") where it is a plain number'
        )


def of_logits(output: Output, kind: str) -> Output:
    """The class score to apply to the result of `as_logits`, for outputs of this kind.

    >>> of_logits("value", "binary"), of_logits("value", "probabilities")
    ('log_odds', 'probability')
    """
    if callable(output):
        return OfOutputs(kind, output) if kind in ("binary", "probabilities") else output
    if kind == "probabilities" and output == "value":
        return "probability"
    if kind == "binary" and output in ("value", "logit"):
        return "log_odds"
    return output


def of_outputs(output: Output, kind: str) -> Output:
    """The class score to apply to a model's own outputs of this kind.

    >>> of_outputs("probability", "probabilities"), of_outputs("value", "logits")
    ('value', 'value')
    """
    if callable(output) or kind in ("logits", "values"):
        return output
    if kind == "probabilities" and output in ("value", "probability"):
        return "value"
    return OfLogits(kind, str(of_logits(output, kind)))
