"""Errors of models and explainers during a run."""

from __future__ import annotations

from typing import Any

import jax

# Raised when a traced function needs the values of its inputs.
NOT_TRACEABLE = (
    jax.errors.TracerArrayConversionError,
    jax.errors.TracerBoolConversionError,
    jax.errors.TracerIntegerConversionError,
    jax.errors.ConcretizationTypeError,
)


class EvaluationError(RuntimeError, ValueError):
    """An explainer or a model failed during a run.

    The message names it and the batch; `partial` holds the results so far, and ``__cause__`` the
    original error.
    """

    partial: Any = None


def named(e: BaseException) -> str:
    """The error's type and message."""
    return f"{type(e).__name__}: {e}"
