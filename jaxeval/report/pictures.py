"""Figures as SVG images embedded in a page; the same results give the same bytes."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Picture:
    """An image of the page: `source` is a data URI, `width` and `height` are in CSS pixels."""

    source: str
    alt: str
    caption: str
    width: int
    height: int


def picture(draw: Callable[[], Figure], alt: str, caption: str = "") -> Picture:
    """The figure as an SVG image; as separate images, ids of different figures cannot clash."""
    import matplotlib

    buffer = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "jaxeval", "svg.fonttype": "path"}):
        figure = draw()
        figure.savefig(
            buffer, format="svg", bbox_inches="tight", pad_inches=0.06, facecolor="white",
            metadata={"Date": None, "Creator": None},
        )  # fmt: skip
    data = buffer.getvalue()
    width, height = _size(data)
    source = "data:image/svg+xml;base64," + base64.b64encode(data).decode("ascii")
    return Picture(source, alt, caption, width, height)


def _size(svg: bytes) -> tuple[int, int]:
    """Width and height in CSS pixels (96 per inch), from the file's points (72 per inch)."""
    head = svg[: svg.index(b"viewBox")].decode().rsplit("<svg", 1)[1]
    sizes = {}
    for name in ("width", "height"):
        sizes[name] = float(head.split(f'{name}="', 1)[1].split("pt", 1)[0])
    return round(sizes["width"] * 96 / 72), round(sizes["height"] * 96 / 72)
