"""Style shared by all figures: one line style per explainer, text that is neither cut nor maths."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.legend import Legend

# Okabe and Ito's colours, with wine red in place of yellow, which is faint in print: any two are
# distinguishable under simulated protanopia, deuteranopia and tritanopia.
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
MARKERS = ("o", "s", "^", "D", "v", "p", ">")  # seven, so that 56 pairs with colours are distinct
FAINT = "#d9d9d9"


def colours(explainers: Sequence[str]) -> dict[str, str]:
    """The colour of each explainer, by its position in `explainers`, as in every figure.

    After the eighth, colours repeat with other dashes and markers.

    >>> colours(["Saliency", "IntegratedGradients"])
    {'Saliency': '#0072B2', 'IntegratedGradients': '#D55E00'}
    """
    return {name: PALETTE[i % len(PALETTE)] for i, name in enumerate(explainers)}


def line_style(position: int) -> dict[str, Any]:
    """The line style of the explainer at this position."""
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
      ImportError: matplotlib is not installed; the message says how to install it.
    """
    try:
        from .figure import PlainFigure
    except ImportError as e:
        raise ImportError(
            f'figures need matplotlib, which cannot be imported ({e}): pip install "jaxeval[plot]"'
        ) from e
    return PlainFigure(figsize=(width, height), layout=layout)


def wrap(text: str, width: int) -> str:
    """The text wrapped to lines of at most `width`, between words if possible.

    >>> print(wrap("FaithfulnessCorrelation of all", 14))
    Faithfulness
    Correlation of
    all
    """
    lines = [""]
    pieces = re.split(r"(?<=[\s_\-(,=/])|(?<=[a-z0-9])(?=[A-Z])", text)
    # Pieces longer than a line are broken anywhere.
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

    `length`: length of the handles in units of the font size; 0 for a list without handles.
    """
    # matplotlib leaves out labels that start with an underscore, so texts are set afterwards.
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
    """The figure, enlarged until nothing is cut off."""
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
    """The approximate width of the widest text, in inches at the default small font size."""
    return 0.075 * max((len(line) for text in texts for line in text.split("\n")), default=0)


def clean(axes: Axes) -> None:
    """Remove spines without information, and draw a faint grid."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color=FAINT, linewidth=0.6)
    axes.set_axisbelow(True)
