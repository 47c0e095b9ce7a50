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


def out_of_memory(e: BaseException | None) -> bool:
    """Whether an error, or one of its causes, says that device memory ran out.

    >>> out_of_memory(RuntimeError("RESOURCE_EXHAUSTED: out of memory"))
    True
    """
    while e is not None:
        if isinstance(e, MemoryError) or "RESOURCE_EXHAUSTED" in str(e):
            return True
        e = e.__cause__ or e.__context__
    return False


def named(e: BaseException) -> str:
    """The error's type and message."""
    return f"{type(e).__name__}: {e}"
