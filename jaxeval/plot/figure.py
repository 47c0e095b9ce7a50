"""The figure that the plots draw on. The one module here that imports matplotlib by itself."""

from __future__ import annotations

import io

from matplotlib.figure import Figure


class PlainFigure(Figure):
    """A figure without pyplot that notebooks show all the same."""

    def _repr_png_(self) -> bytes:
        # Notebooks know how to show figures only once pyplot has been imported.
        buffer = io.BytesIO()
        self.savefig(buffer, format="png", bbox_inches="tight")
        return buffer.getvalue()
