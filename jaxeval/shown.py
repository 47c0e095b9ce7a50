"""How objects look in notebooks: HTML in which every text is escaped."""

from __future__ import annotations

import dataclasses
import html
from collections.abc import Iterable, Sequence
from typing import Any

MANY = 24
"""Maximum number of rows; of more, the first and last are shown."""
LONG = 200
"""Maximum number of characters of a value."""


def count(n: int, noun: str) -> str:
    """A number with its noun in singular or plural.

    >>> count(1, "sample"), count(1200, "sample")
    ('1 sample', '1,200 samples')
    """
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def each_of(n: int, noun: str) -> str:
    """Where something is that is on every one of n.

    >>> each_of(1, "device"), each_of(4, "device")
    ('1 device', 'each of 4 devices')
    """
    return ("" if n == 1 else "each of ") + count(n, noun)


def card(lead: str, rows: Iterable[Sequence[Any]], columns: Sequence[str] = ()) -> str:
    """A line of text, and a table; the first cell of a row is its heading.

    >>> card("<b>", [("a", 1)])
    '<p>&lt;b&gt;</p><table><tbody><tr><th>a</th><td>1</td></tr></tbody></table>'
    """
    rows = [list(row) for row in rows]
    if len(rows) > MANY:
        left = len(rows) - MANY
        rows[MANY // 2 : -MANY // 2] = [[f"… {left:,} more …", *[""] * (len(rows[0]) - 1)]]
    heads = "".join(f"<th>{html.escape(str(c))}</th>" for c in columns)
    head = f"<thead><tr>{heads}</tr></thead>" if columns else ""
    lines = [
        f"<tr><th>{html.escape(str(first))}</th>"
        + "".join(f"<td>{html.escape(str(cell))}</td>" for cell in rest)
        + "</tr>"
        for first, *rest in rows
    ]
    table = f"<table>{head}<tbody>{''.join(lines)}</tbody></table>" if lines else ""
    return f"<p>{html.escape(lead)}</p>{table}"


def settings(given: Any, lead: str) -> str:
    """A dataclass: its settings, and which of them are not the defaults."""
    rows = []
    for field in dataclasses.fields(given):
        value = getattr(given, field.name)
        default = field.default
        same = value is default or (isinstance(value, type(default)) and _equal(value, default))
        rows.append((field.name, short(value), "" if same else f"default: {short(default)}"))
    rows = [(a, b, "" if c == f"default: {REQUIRED}" else c) for a, b, c in rows]
    return card(lead, rows, ("setting", "value", "") if rows else ())


REQUIRED = "required"


def short(value: Any) -> str:
    """A value in one line; of an array, its type and shape.

    >>> import numpy as np
    >>> short(np.zeros((2, 3))), short(len), short(0.5)
    ('float64[2, 3]', 'len', '0.5')
    """
    if value is dataclasses.MISSING:
        return REQUIRED
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"{value.dtype}{list(value.shape)}"
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        pairs = ((f.name, getattr(value, f.name)) for f in dataclasses.fields(value))
        text = f"{type(value).__name__}({', '.join(f'{k}={short(v)}' for k, v in pairs)})"
    else:
        text = getattr(value, "__name__", None) if callable(value) else repr(value)
        text = text or repr(value)
    return text if len(text) <= LONG else text[: LONG - 1] + "…"


def _equal(a: Any, b: Any) -> bool:
    try:
        return bool(a == b)
    except (TypeError, ValueError):  # arrays
        return False
