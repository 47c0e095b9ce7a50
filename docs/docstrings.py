"""Docstrings, which are reStructuredText with Google's sections, as Markdown."""

from __future__ import annotations

import dataclasses
import inspect
import re
from typing import Any


def parts(doc: str) -> tuple[str, dict[str, str]]:
    """A docstring without its Args, and these by name."""
    found = re.search(r"^Args:\n((?:^(?: .*)?\n?)*)", doc, re.MULTILINE)
    if not found:
        return doc, {}
    settings: dict[str, str] = {}
    names: list[str] = []
    for line in inspect.cleandoc("\n" + found[1]).splitlines():
        start = re.match(r"(\w[\w, ]*): (.*)", line)
        if start and not line.startswith(" "):
            names = start[1].split(", ")
            settings |= dict.fromkeys(names, start[2])
        elif line.strip():
            settings |= {name: f"{settings[name]} {line.strip()}" for name in names}
    return doc[: found.start()] + doc[found.end() :], settings


def markdown(text: str) -> str:
    """reStructuredText as the docstrings use it, in Markdown."""

    def maths(found: re.Match[str]) -> str:
        body = inspect.cleandoc(found[1].strip("\n"))
        return "```math\n" + "\n".join(v.strip() for v in body.splitlines()) + "\n```\n"

    text = re.sub(r"^\.\. math:: *((?:.*\n?)(?:[ \t]+.*\n?|\n(?=[ \t]))*)", maths, text, flags=re.M)
    # Examples would be quotations.
    text = re.sub(r"^>>> .+(?:\n.+)*", r"```pycon\n\g<0>\n```", text, flags=re.MULTILINE)
    text = re.sub(r":math:`([^`]+)`", r"$\1$", text)
    # Square brackets of shapes would make links.
    return re.sub(r"``(.+?)``", r"`\1`", text).strip()


def cell(text: str) -> str:
    """Text for a cell of a table."""
    return re.sub(r"``(.+?)``", r"`\1`", text).replace("|", "\\|")


def without_examples(doc: str) -> str:
    """A docstring without its ``>>>`` examples."""
    return re.sub(r"^>>> (?:.+\n?)+", "", doc, flags=re.MULTILINE).strip()


def default(field: dataclasses.Field[Any]) -> str:
    """The default of a setting."""
    if field.default_factory is not dataclasses.MISSING:
        return value(field.default_factory())
    return "required" if field.default is dataclasses.MISSING else value(field.default)


def value(v: Any) -> str:
    """The value of a setting."""
    return f"`{getattr(v, '__name__', None) if callable(v) else repr(v)}`".replace('"', "'")
