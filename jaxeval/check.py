"""Checks of what a caller gives: each error names the argument, what was given, what is wanted."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

import numpy as np
from jax.core import Tracer


def did_you_mean(name: Any, options: Iterable[str]) -> str:
    """ " Did you mean 'mean'?", or nothing where no option is close."""
    close = difflib.get_close_matches(str(name), list(options), n=1, cutoff=0.5)
    return f" Did you mean {close[0]!r}?" if close else ""


def one_of(owner: Any, name: str, options: Iterable[Any]) -> None:
    """The field is one of the options."""
    value, options = getattr(owner, name), list(options)
    if not any(value is o or (isinstance(value, str) and value == o) for o in options):
        hint = did_you_mean(value, [o for o in options if isinstance(o, str)])
        raise ValueError(
            f"{type(owner).__name__}({name}={value!r}): {name} must be one of "
            f"{', '.join(map(repr, options))}.{hint}"
        )


def _number(value: Any) -> np.ndarray | None:
    """The value as a NumPy number, None for a tracer, whose value nobody knows yet."""
    return None if isinstance(value, Tracer) else np.asarray(value)


def integer(owner: Any, name: str, least: int = 1, optional: bool = False) -> None:
    """The field is one integer, at least `least` (or None where it is optional)."""
    value = getattr(owner, name)
    if value is None and optional:
        return
    number = None if value is None else _number(value)
    if value is not None and number is None:
        return
    if number is None or number.ndim or number.dtype.kind not in "iu" or number < least:
        raise ValueError(
            f"{type(owner).__name__}({name}={value!r}): {name} must be an integer of at least "
            f"{least}"
        )


def integers(owner: Any, name: str, least: int = 1, optional: bool = False) -> None:
    """The field is a sequence of integers, each at least `least` (or None where it is optional)."""
    value = getattr(owner, name)
    if value is None and optional:
        return
    numbers = _number(value)
    if numbers is None:
        return
    if (
        numbers.ndim != 1
        or not numbers.size
        or numbers.dtype.kind not in "iu"
        or (numbers < least).any()
    ):
        raise ValueError(
            f"{type(owner).__name__}({name}={value!r}): {name} must be a list of integers of at "
            f"least {least}"
        )


def real(
    owner: Any,
    name: str,
    above: float | None = None,
    least: float | None = None,
    most: float | None = None,
) -> None:
    """The field is one finite number within its bounds."""
    value = getattr(owner, name)
    number = _number(value) if value is not None else np.asarray(None)
    if number is None:
        return
    wanted = "a finite number"
    wanted += f" above {above:g}" if above is not None else ""
    wanted += f" of at least {least:g}" if least is not None else ""
    wanted += f" and at most {most:g}" if most is not None else ""
    good = number.ndim == 0 and number.dtype.kind in "iuf" and np.isfinite(number)
    if (
        not good
        or (above is not None and number <= above)
        or (least is not None and number < least)
        or (most is not None and number > most)
    ):
        raise ValueError(f"{type(owner).__name__}({name}={value!r}): {name} must be {wanted}")


def baseline(owner: Any, name: str, options: Iterable[str]) -> None:
    """The field is a baseline: one of the names, a number, or an array of finite numbers."""
    value = getattr(owner, name)
    if isinstance(value, str):
        one_of(owner, name, options)
        return
    number = _number(value)
    if number is not None and (number.dtype.kind not in "iuf" or not np.isfinite(number).all()):
        raise ValueError(
            f"{type(owner).__name__}({name}={value!r}): {name} must be one of "
            f"{', '.join(map(repr, options))}, a finite number, or an array that broadcasts to "
            "one input"
        )
