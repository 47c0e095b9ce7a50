"""A context in which rewritten models are traced with their original operations."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

Replacement = Callable[[Any], Callable[..., Any] | None]


@dataclasses.dataclass
class Written:
    """The state of an `as_written` context.

    Attributes:
      turned: whether values may have a different axis order than in the original model.
      replacements: the rewriting rules (functions of an equation) that would have been applied.
    """

    turned: bool
    replacements: list[Replacement] = dataclasses.field(default_factory=list)


_WRITTEN: ContextVar[Written | None] = ContextVar("written", default=None)


@contextlib.contextmanager
def as_written(turned: bool = False) -> Iterator[Written]:
    """Within this context, rewritten models are traced with their original operations."""
    context = Written(turned)
    token = _WRITTEN.set(context)
    try:
        yield context
    finally:
        _WRITTEN.reset(token)


def wanted_as_written(replacement: Replacement) -> Written | None:
    """The active `as_written` context, if any; records the replacement in it."""
    context = _WRITTEN.get()
    if context is not None and replacement not in context.replacements:
        context.replacements.append(replacement)
    return context
