"""Results as one HTML page that needs nothing else."""

from __future__ import annotations

import dataclasses
import os
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import ArrayLike

from ..results import Results
from ..results.atomic import replace_whole
from ..version import __version__
from .sections import lead, sections

HERE = Path(__file__).parent


def write(results: Results, path: str | os.PathLike[str], **given: Any) -> Path:
    """Write the page to `path`, wholly or not at all, and return it.

    Args:
      results: of an evaluation.
      path: of the page; missing folders are made, a file that is there is replaced.
      given: as of `html`.

    Raises:
      ImportError: jinja2 or matplotlib is not installed; says how to get it.
      ValueError: no scores yet, or inputs and maps that do not fit.
    """
    path = Path(path)
    text = html(results, **given)
    replace_whole(path, lambda file: file.write(text.encode()))
    return path


def html(
    results: Results,
    title: str = "Evaluation of explanations",
    x: ArrayLike | None = None,
    attributions: Mapping[str, ArrayLike] | None = None,
    index: ArrayLike | None = None,
    channel_axis: Any = "auto",
    metric: str | None = None,
    n: int = 3,
    mixed_features: bool = False,
) -> str:
    """The page as text: the same arguments give the same bytes.

    It holds its styles, its script (which sorts tables) and its pictures, and asks for nothing
    from anywhere.

    Args:
      results: of an evaluation.
      title: of the page.
      x: inputs [n, ...] for the gallery of best and worst samples; none is drawn without.
      attributions: explainer -> maps [n, ...] of these inputs.
      index: ids of the samples in x; by default those of the results.
      channel_axis: the axis of x that holds channels, None, or "auto", as of `plot.attributions`.
      metric: by whose scores samples are the best or worst; by default the first of
        faithfulness, else the first.
      n: best and worst samples an explainer.
      mixed_features: compare explainers whose maps have different features, too. Without it the
        page says so, and compares those with the same features.

    Raises:
      ImportError: jinja2 or matplotlib is not installed; says how to get it.
      ValueError: no scores yet, or inputs and maps that do not fit.
    """
    try:
        import jinja2
        import markupsafe  # which jinja2 brings
    except ImportError as e:
        raise ImportError(
            f'reports need jinja2, which cannot be imported ({e}): pip install "jaxeval[report]"'
        ) from e
    if not results.outcomes:
        raise ValueError("the results hold no scores yet, so there is nothing to report")
    if (x is None) != (attributions is None):
        raise ValueError("a gallery needs both x and attributions")
    if mixed_features:
        rest = {k: v for k, v in results.settings.items() if k != "features"}
        results = dataclasses.replace(results, settings=rest)
    gallery = {"x": x, "attributions": attributions, "index": index, "channel_axis": channel_axis}
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["soft"] = lambda text: markupsafe.Markup("<wbr>").join(_pieces(text))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "the explainers' maps have different features")
        return environment.get_template("page.html").render(
            title=title,
            version=__version__,
            lead=lead(results),
            sections=sections(results, metric, n, gallery),
            css=(HERE / "page.css").read_text(encoding="utf-8"),
            script=(HERE / "page.js").read_text(encoding="utf-8"),
        )


def _pieces(text: str) -> list[str]:
    """The text cut where a line may break: IntegratedGradients after Integrated."""
    return re.split(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[_(,=/])(?=\w)", text)
