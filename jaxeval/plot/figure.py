"""The figure class of all plots. Only this module imports matplotlib at import time."""

from __future__ import annotations

import io

from matplotlib.figure import Figure


class PlainFigure(Figure):
    """A figure without pyplot that notebooks can display."""

    def _repr_png_(self) -> bytes:
        # Notebooks display plain figures only after pyplot has been imported.
        buffer = io.BytesIO()
        self.savefig(buffer, format="png", bbox_inches="tight")
        return buffer.getvalue()
