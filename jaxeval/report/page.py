"""Results as one self-contained HTML page."""

from __future__ import annotations

import dataclasses
import os
import re
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import ArrayLike

from ..results import Results
from ..results.atomic import replace_whole
from ..version import __version__
from . import meta as of_meta
from .sections import lead, sections

if TYPE_CHECKING:
    from ..meta import MetaResults

HERE = Path(__file__).parent


def write(results: Results, path: str | os.PathLike[str], **given: Any) -> Path:
    """Write the page to `path` atomically, and return the path.

    Args:
      results: of an evaluation.
      path: the file; missing folders are created, an existing file is replaced.
      given: arguments of `html`.

    Raises:
      ImportError: jinja2 or matplotlib is not installed; the message says how to install it.
      ValueError: no scores yet, or inputs and maps that do not match.
    """
    return _written(html(results, **given), path)


def write_meta(
    meta: MetaResults,
    path: str | os.PathLike[str],
    title: str = "Meta-evaluation of metrics",
) -> Path:
    """Write the page of a meta-evaluation alone to `path` atomically, and return the path.

    Raises:
      ImportError: jinja2 or matplotlib is not installed; the message says how to install it.
    """
    return _written(_page(title, of_meta.lead(meta), lambda: of_meta.sections(meta)), path)


def _written(text: str, path: str | os.PathLike[str]) -> Path:
    path = Path(path)
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
    meta: MetaResults | None = None,
    counted: ArrayLike | None = None,
    features: ArrayLike | None = None,
    rationale: ArrayLike | None = None,
) -> str:
    """The page as text; the same arguments give the same bytes.

    Styles, the script (which sorts tables) and pictures are embedded; nothing is loaded.

    Args:
      results: of an evaluation.
      title: the page's title.
      x: inputs [n, ...] for the gallery of best and worst samples; of texts, their tokens, a list
        of strings for each. None: no gallery.
      attributions: explainer -> maps [n, ...] for these inputs.
      index: ids of the samples in x; default: those of the results.
      channel_axis: the channel axis of x, None, or "auto", as for `plot.attributions`.
      metric: the metric that defines best and worst samples; default: the first faithfulness
        metric, else the first metric.
      n: number of best and of worst samples per explainer.
      mixed_features: whether to compare explainers whose maps have different features. If not, the
        page says so and compares only those with the same features.
      meta: a meta-evaluation of the metrics, which gets sections of its own.
      counted: of texts, which tokens count, bool [n, T]; special tokens are grey. Default: all, or
        those of words if `features` are given.
      features: of texts, the word of each token, int [n, T]: its pieces are shown as one.
      rationale: of texts, the tokens that a person marked, bool [n, T]; they are underlined.

    Raises:
      ImportError: jinja2 or matplotlib is not installed; the message says how to install it.
      ValueError: no scores yet, or inputs and maps that do not match.
    """
    if not results.outcomes:
        raise ValueError("the results hold no scores yet, so there is nothing to report")
    if (x is None) != (attributions is None):
        raise ValueError("a gallery needs both x and attributions")
    if mixed_features:
        rest = {k: v for k, v in results.settings.items() if k != "features"}
        results = dataclasses.replace(results, settings=rest)
    gallery = {"x": x, "attributions": attributions, "index": index, "channel_axis": channel_axis}
    gallery["text"] = {"counted": counted, "features": features, "rationale": rationale}

    def found() -> list[dict[str, Any]]:
        tested = [] if meta is None else of_meta.sections(meta)
        *scored, last = sections(results, metric, n, gallery)
        return [*scored, *tested, last]

    return _page(title, lead(results), found)


def _page(title: str, text: str, found: Callable[[], list[dict[str, Any]]]) -> str:
    """The page of these sections, which are made once it is known that it can be written."""
    try:
        import jinja2
        import markupsafe  # a dependency of jinja2
    except ImportError as e:
        raise ImportError(
            f'reports need jinja2, which cannot be imported ({e}): pip install "jaxeval[report]"'
        ) from e
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
            lead=text,
            sections=found(),
            css=(HERE / "page.css").read_text(encoding="utf-8"),
            script=(HERE / "page.js").read_text(encoding="utf-8"),
        )


def _pieces(text: str) -> list[str]:
    """The text split where a line may break: IntegratedGradients after Integrated."""
    return re.split(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[_(,=/])(?=\w)", text)
