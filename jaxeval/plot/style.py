"""What all figures share: one look an explainer, and text that neither clips nor turns to maths."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.legend import Legend

# Okabe and Ito's colours without the yellow that paper swallows, and with a wine red: any two
# stay apart under simulated protanopia, deuteranopia and tritanopia.
PALETTE = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
    "#222222",
    "#882255",
)
DASHES = ("-", (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (6, 1.5, 1.2, 1.5)))
MARKERS = ("o", "s", "^", "D", "v", "p", ">")  # seven, so that colours and markers pair up late
FAINT = "#d9d9d9"


def colours(explainers: Sequence[str]) -> dict[str, str]:
    """The colour of each explainer, by its place in `explainers`, as in every figure.

    Past the eighth they come again, with other dashes and markers.

    >>> colours(["Saliency", "IntegratedGradients"])
    {'Saliency': '#0072B2', 'IntegratedGradients': '#D55E00'}
    """
    return {name: PALETTE[i % len(PALETTE)] for i, name in enumerate(explainers)}


def line_style(position: int) -> dict[str, Any]:
    """How to draw the line of the explainer in this place."""
    return {
        "color": PALETTE[position % len(PALETTE)],
        "linestyle": DASHES[position // len(PALETTE) % len(DASHES)],
        "marker": MARKERS[position % len(MARKERS)],
        "linewidth": 1.5,
        "markersize": 4.5,
        "markeredgecolor": "white",
        "markeredgewidth": 0.6,
    }


def new_figure(width: float, height: float, layout: Any = "constrained") -> Figure:
    """An empty figure, sizes in inches.

    Raises:
      ImportError: matplotlib is not installed; says how to get it.
    """
    try:
        from .figure import PlainFigure
    except ImportError as e:
        raise ImportError(
            f'figures need matplotlib, which cannot be imported ({e}): pip install "jaxeval[plot]"'
        ) from e
    return PlainFigure(figsize=(width, height), layout=layout)


def wrap(text: str, width: int) -> str:
    """The text in lines of at most `width`, broken where it has a place to break if it can be.

    >>> print(wrap("FaithfulnessCorrelation of all", 14))
    Faithfulness
    Correlation of
    all
    """
    lines = [""]
    pieces = re.split(r"(?<=[\s_\-(,=/])|(?<=[a-z0-9])(?=[A-Z])", text)
    # What has no place to break is broken anywhere.
    for piece in (
        p[i : i + width] for p in pieces for i in range(0, max(len(p.rstrip()), 1), width)
    ):
        if lines[-1] and len((lines[-1] + piece).rstrip()) > width:
            lines.append("")
        lines[-1] += piece
    return "\n".join(line.strip() for line in lines)


def legend(
    figure: Figure, handles: Sequence[Any], labels: Sequence[str], title: str, length: float = 2.6
) -> Legend:
    """A legend to the right of all axes, whatever the labels start with or contain.

    `length` is that of the handles, in letters; 0 for a list without handles.
    """
    # A label that starts with an underscore would be left out, so the texts are set afterwards.
    box = figure.legend(
        handles,
        [f"{i}" for i in range(len(labels))],
        loc="outside right center",
        title=title,
        frameon=False,
        fontsize="small",
        title_fontsize="small",
        handlelength=length,
        handletextpad=0.8 if length else 0,
        alignment="left",
    )
    for text, label in zip(box.get_texts(), labels, strict=True):
        text.set(text=label, parse_math=False)
    return box


def fitted(figure: Figure) -> Figure:
    """The figure, made larger until nothing that is drawn is cut off."""
    for _ in range(8):
        figure.draw_without_rendering()
        page, drawn = figure.get_size_inches(), figure.get_tightbbox()
        over = [
            max(0.0, -low) + max(0.0, high - size)
            for low, high, size in zip(drawn.min, drawn.max, page, strict=True)
        ]
        if max(over) < 0.01:
            break
        figure.set_size_inches(page[0] + over[0], page[1] + over[1])
    return figure


def breadth(texts: Iterable[str]) -> float:
    """About how wide the widest of the texts is, in inches at the default small size."""
    return 0.075 * max((len(line) for text in texts for line in text.split("\n")), default=0)


def clean(axes: Axes) -> None:
    """Take away what carries no information."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color=FAINT, linewidth=0.6)
    axes.set_axisbelow(True)
