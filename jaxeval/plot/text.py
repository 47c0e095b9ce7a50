"""Coloured text: tokens with their attributions, for notebooks, pages and terminals."""

from __future__ import annotations

import dataclasses
import html
import os
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..words import first_pieces, summed

POSITIVE, NEGATIVE, GREY = (213, 94, 0), (0, 114, 178), (128, 128, 128)
"""Orange and blue of `style.PALETTE`, which are distinguishable without red and green."""
JOINED = ("##",)
"""Before a piece that continues a word."""
BYTES = "Ġ"
"""A space, in vocabularies of bytes."""
SPACED = (BYTES, "▁")
"""Before a piece that begins a word, in tokenizers that mark those."""


@dataclasses.dataclass(frozen=True)
class Piece:
    """One token as shown: its text, whether a space comes before it, its value and its marks."""

    text: str
    space: bool
    value: float
    strength: float
    counted: bool
    marked: bool


@dataclasses.dataclass(frozen=True)
class Text:
    """Texts with an attribution for each token: shown in colour by notebooks and by `print`.

    Terminals without colour, files, and ``NO_COLOR=1`` show digits instead: ``great(+9)`` has the
    largest positive attribution, ``not(-3)`` a third of it with the other sign.
    """

    lines: tuple[tuple[Piece, ...], ...]
    titles: tuple[str, ...] | None = None

    def html(self) -> str:
        """A fragment of HTML, with all text escaped."""
        rows = []
        for i, line in enumerate(self.lines):
            title = "" if self.titles is None else f"<b>{html.escape(self.titles[i])}</b> "
            rows.append(f"<p>{title}{''.join(map(_span, line)).strip()}</p>")
        style = "font-family: sans-serif; line-height: 1.9; overflow-wrap: anywhere"
        return f'<div class="jaxeval-text" style="{style}">{"".join(rows)}</div>'

    def _repr_html_(self) -> str:
        return self.html()

    __html__ = _repr_html_  # for templates, which escape anything else

    def ansi(self) -> str:
        """For terminals with 24-bit colours."""
        return self._written(_coloured)

    def plain(self) -> str:
        """Without colours."""
        return self._written(_with_digit)

    def __str__(self) -> str:
        terminal = sys.stdout is not None and sys.stdout.isatty()
        return self.ansi() if terminal and not os.environ.get("NO_COLOR") else self.plain()

    __repr__ = __str__

    def _written(self, write: Any) -> str:
        lines = []
        for i, line in enumerate(self.lines):
            title = "" if self.titles is None else f"{_printable(self.titles[i])}: "
            shown = "".join(" " * p.space + write(p) for p in line)
            lines.append(title + shown.strip())
        return "\n".join(lines)


def text(
    tokens: Sequence[Any],
    a: ArrayLike,
    rationale: ArrayLike | None = None,
    *,
    counted: ArrayLike | None = None,
    features: ArrayLike | None = None,
    titles: Sequence[Any] | None = None,
) -> Text:
    """The tokens coloured by their attribution: orange for positive, blue for negative values.

    The strength of the colour is |a| relative to the largest among the tokens of that text that
    count. Pieces of words ("##ing", "Ġthe", "▁the") are joined, and the bytes of byte-level tokens
    are shown as the characters that they stand for.

    Args:
      tokens: the tokens of one text, T strings, or of several, a list of such lists.
      a: their attributions [T] or [N, T]. Longer rows than the text are cut: padding.
      rationale: which tokens a person marked, bool of the same shape; they are underlined.
      counted: which tokens count; the others (special tokens) are grey. Default: all, or those of
        words if `features` are given.
      features: the word of each token, as for `jaxeval.evaluate`: the pieces of a word are shown as
        one, with the sum of their attributions.
      titles: one for each text, such as its class.

    Raises:
      ValueError: arrays that do not match the tokens.

    >>> print(text(["[CLS]", "not", "great", "##er"], [0.0, -1.0, 2.0, 0.5]).plain())
    [CLS](0) not(-4) great(+9)er(+2)
    >>> words = [-1, 0, 1, 1]
    >>> print(text(["[CLS]", "not", "great", "##er"], [0, -1, 2, 0.5], features=words).plain())
    [CLS] not(-4) greater(+9)
    """
    one = not len(tokens) or isinstance(tokens[0], str)
    rows = [tokens] if one else list(tokens)

    def per_text(name: str, v: Any, dtype: Any) -> list[Any]:
        if v is None:
            return [None] * len(rows)
        v = [np.asarray(r, dtype) for r in ([v] if one else v)]
        if len(v) != len(rows) or any(
            len(r) < len(t) or r.ndim != 1 for r, t in zip(v, rows, strict=True)
        ):
            shapes = [list(r.shape) for r in v]
            raise ValueError(
                f"text: {name} must have a value for each token, {[len(t) for t in rows]} of them, "
                f"got the shapes {shapes}"
            )
        return [r[: len(t)] for r, t in zip(v, rows, strict=True)]

    if titles is not None and len(titles) != len(rows):
        raise ValueError(f"text: {len(titles)} titles for {len(rows)} texts")
    parts = zip(
        rows,
        per_text("a", a, float),
        per_text("rationale", rationale, bool),
        per_text("counted", counted, bool),
        per_text("features", features, int),
        strict=True,
    )
    lines = tuple(tuple(_pieces(*part)) for part in parts)
    return Text(lines, None if titles is None else tuple(map(str, titles)))


def _pieces(tokens: Any, a: Any, rationale: Any, counted: Any, features: Any) -> list[Piece]:
    if counted is None:
        counted = np.ones(len(tokens), bool) if features is None else features >= 0
    first = np.arange(len(tokens))
    if features is not None:
        first = first_pieces(features[None], counted[None])[0]
        a = summed(a[None], first[None])[0]
    size = np.abs(np.where(counted & np.isfinite(a), a, 0))
    largest = size.max(initial=0.0)
    marks = any(str(t).startswith(SPACED) for t in tokens)
    shown_as = _decoded if any(str(t).startswith(BYTES) for t in tokens) else str
    found: list[Piece] = []
    for i, token in enumerate(map(str, tokens)):
        space, shown = True, token
        if token.startswith(JOINED) and len(token) > 2:
            space, shown = False, token[2:]
        elif marks:
            space = token.startswith(SPACED) or not counted[i]
            shown = token[1:] if token.startswith(SPACED) and len(token) > 1 else token
        strength = float(size[i] / largest) if largest > 0 else 0.0
        marked = bool(rationale is not None and rationale[i])
        if first[i] < i:
            word = found[-1]
            joined = word.text + " " * space + shown
            found[-1] = dataclasses.replace(word, text=joined, marked=word.marked or marked)
        else:
            found.append(Piece(shown, space, float(a[i]), strength, bool(counted[i]), marked))
    return [dataclasses.replace(piece, text=shown_as(piece.text)) for piece in found]


def _decoded(token: str) -> str:
    """A token of a byte-level vocabulary as the text that it stands for.

    Parts of characters, control characters and special tokens are left as they are.
    """
    try:
        decoded = bytes(BYTE_OF[c] for c in token).decode()
    except (KeyError, UnicodeDecodeError):
        return token
    return decoded if decoded.isprintable() else token


def _byte_of() -> dict[str, int]:
    """The bytes that characters stand for in byte-level vocabularies, such as GPT-2's.

    Printable characters of Latin-1 stand for themselves, those from U+0100 on for the other bytes.
    """
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in plain]
    return {chr(b): b for b in plain} | {chr(256 + i): b for i, b in enumerate(others)}


BYTE_OF = _byte_of()
"""The bytes that characters of byte-level vocabularies stand for."""


def _span(piece: Piece) -> str:
    colour = POSITIVE if piece.value > 0 else NEGATIVE
    style = f"background: rgba({colour[0]}, {colour[1]}, {colour[2]}, {piece.strength:.2f})"
    if not piece.counted:
        style = "color: grey"
    elif np.isnan(piece.value):
        style = "outline: 1px dotted grey"
    if piece.marked:
        style += "; text-decoration: underline; text-underline-offset: 0.3em"
    shown = html.escape(_printable(piece.text))
    space = " " if piece.space else ""
    return f'{space}<span style="{style}" title="{piece.value:.4g}">{shown}</span>'


def _coloured(piece: Piece) -> str:
    shown = _printable(piece.text)
    codes = []
    if not piece.counted:
        codes.append("38;2;" + ";".join(map(str, GREY)))
    elif piece.strength > 0:
        colour = POSITIVE if piece.value > 0 else NEGATIVE
        mixed = (round(255 + piece.strength * (c - 255)) for c in colour)
        dark = piece.strength > 0.6
        codes += [
            "48;2;" + ";".join(map(str, mixed)),
            "38;2;" + ("255;255;255" if dark else "0;0;0"),
        ]
    if piece.marked:
        codes.append("4")
    return f"\x1b[{';'.join(codes)}m{shown}\x1b[0m" if codes else shown


def _with_digit(piece: Piece) -> str:
    shown = _printable(piece.text)
    shown = f"_{shown}_" if piece.marked else shown
    if not piece.counted:
        return shown
    if np.isnan(piece.value):
        return f"{shown}(?)"
    digit = round(9 * piece.strength)
    return f"{shown}({'-' if piece.value < 0 else '+'}{digit})" if digit else f"{shown}(0)"


def _printable(shown: str) -> str:
    """The text with control characters, which could move the cursor of a terminal, replaced."""
    return "".join(c if c.isprintable() else "�" for c in shown)
