"""How the site reads docstrings: without examples' hidden parts, and with formulas as Markdown."""

from __future__ import annotations

from typing import Any

import griffe
from docstrings import markdown


class Formulas(griffe.Extension):
    """Formulas of reStructuredText become those of Markdown."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = markdown(obj.docstring.value)
