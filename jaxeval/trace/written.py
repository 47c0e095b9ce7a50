"""Whether rewritten functions are traced with the operations that their authors wrote."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

Replacement = Callable[[Any], Callable[..., Any] | None]


@dataclasses.dataclass
class Written:
    """How rewritten functions are wanted: with the operations that their authors wrote.

    Attributes:
      turned: their values may lie in another order of axes.
      replacements: what would have been done to the operations, functions of an equation.
    """

    turned: bool
    replacements: list[Replacement] = dataclasses.field(default_factory=list)


_WRITTEN: ContextVar[Written | None] = ContextVar("written", default=None)


@contextlib.contextmanager
def as_written(turned: bool = False) -> Iterator[Written]:
    """Inside, rewritten functions are traced so."""
    wanted = Written(turned)
    token = _WRITTEN.set(wanted)
    try:
        yield wanted
    finally:
        _WRITTEN.reset(token)


def wanted_as_written(replacement: Replacement) -> Written | None:
    """The `as_written` that is in force, which is told of a replacement."""
    wanted = _WRITTEN.get()
    if wanted is not None and replacement not in wanted.replacements:
        wanted.replacements.append(replacement)
    return wanted
