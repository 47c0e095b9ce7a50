"""Results as one HTML page that needs nothing else."""

from __future__ import annotations

import dataclasses
import os
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .. import plot
from ..results import Results
from ..results.atomic import replace_whole
from ..results.stability import groups_of
from ..version import __version__
from . import tables
from .pictures import Picture, picture

PAIRS = 2000
"""Paired tests that a page lists; `Results.wilcoxon` has them all."""

HERE = Path(__file__).parent
SPOKES = 16
"""Metrics up to which a radar can be read; beyond them, one a class."""


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
        return _rendered(environment, results, title, metric, n, gallery)


def _rendered(
    environment: Any,
    results: Results,
    title: str,
    metric: str | None,
    n: int,
    gallery: Mapping[str, Any],
) -> str:
    return environment.get_template("page.html").render(
        title=title,
        version=__version__,
        lead=_lead(results),
        sections=[
            s
            for s in (
                _scores(results),
                _radar(results),
                _curves(results),
                _differences(results),
                _metrics(results),
                _stability(results),
                _gallery(results, metric, n, gallery) if gallery["x"] is not None else None,
                _cost(results),
                _settings(results),
            )
            if s is not None
        ],
        css=(HERE / "page.css").read_text(encoding="utf-8"),
        script=(HERE / "page.js").read_text(encoding="utf-8"),
    )


def _pieces(text: str) -> list[str]:
    """The text cut where a line may break: IntegratedGradients after Integrated."""
    return re.split(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[_(,=/])(?=\w)", text)


def _section(key: str, heading: str, text: str = "", **parts: Any) -> dict[str, Any]:
    empty = {"tables": (), "pictures": (), "more": (), "facts": (), "described": ()}
    return {"key": key, "heading": heading, "text": text, **empty, **parts}


def _lead(results: Results) -> str:
    """What the page is about, in two sentences."""
    n_undefined = sum(o.n_undefined for o in results.outcomes.values())
    n_scores = sum(len(o.score) for o in results.outcomes.values())
    counts = (
        _count(len(results.explainers), "explainer"),
        _count(len(results.metrics), "metric"),
        _count(len(results.index), "sample"),
    )
    undefined = f"{n_undefined:,} of {n_scores:,} scores are undefined and left out."
    mixed = (
        f" Maps have different features ({results._mixture()}), under which scores do not compare: "
        "explainers are ranked and compared among those with the same features only."
        if len(results.feature_groups()) > 1
        else ""
    )
    return f"{counts[0]} under {counts[1]}, on {counts[2]}. " + (
        (undefined if n_undefined else f"All {n_scores:,} scores are defined.") + mixed
    )


def _count(n: int, noun: str) -> str:
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def _scores(results: Results) -> dict[str, Any]:
    return _section(
        "scores",
        "Scores",
        "An arrow says what is better: ↑ higher, ↓ lower. A heading sorts its table.",
        tables=[tables.ranks(results), tables.summary(results)],
    )


def _radar(results: Results) -> dict[str, Any] | None:
    metrics = list(results.metrics)
    said = ""
    if len(metrics) > SPOKES:
        metrics, said = _one_a_class(results)[:SPOKES], ", the first settings of each"
    if len(metrics) < 3:
        return None
    order = list(results.ranking().index)
    shown = picture(
        lambda: plot.radar(results, metrics),
        f"Radar of {len(metrics)} metrics; by mean rank from the best: {', '.join(order)}.",
        f"Ranks under {len(metrics)} metrics{said}; outward is better.",
    )
    return _section("radar", "Radar", pictures=[shown])


def _one_a_class(results: Results) -> list[str]:
    grouped = groups_of(results.metrics, results.settings)
    later = {m for names in grouped.values() for m in names[1:]}
    return [m for m in results.metrics if m not in later]


def _curves(results: Results) -> dict[str, Any] | None:
    having = [m for m in results.metrics if any(m == own for _, own in results.curves)]
    pictures = []
    for m in having:
        draw: Callable[[], Any] = (
            (lambda m=m: plot.randomisation(results, m))
            if m in results.points
            else (lambda m=m: plot.curves(results, m))
        )
        ranks: Any = results.ranking()[m]
        alike = len(results.feature_groups()) == 1
        best = ranks.idxmin() if alike and ranks.notna().any() else None
        alt = f"Mean curves of {len(results.explainers)} explainers under {m}" + (
            f"; {best} has the best mean score." if best is not None else "."
        )
        pictures.append(picture(draw, alt))
    if not pictures:
        return None
    return _section(
        "curves", "Curves", "The mean over samples, with its band.",
        pictures=pictures[:2], more=_more("more curves", pictures[2:]),
    )  # fmt: skip


def _more(heading: str, pictures: Sequence[Picture] = (), shown: Sequence[Any] = ()) -> list[Any]:
    """A part that is folded away; none where there is nothing in it."""
    if not pictures and not shown:
        return []
    count = f" ({len(pictures)})" if pictures else ""
    return [{"heading": heading + count, "pictures": pictures, "tables": shown}]


def _differences(results: Results) -> dict[str, Any] | None:
    if len(results.explainers) < 2:
        return None
    pictures = []
    for metric in (None, *results.metrics):
        if metric is None and len(results.metrics) < 3:
            continue
        found = results.friedman(metric) if _comparable(results, metric) else None
        if found is None or not found.n or len(found.ranks) < 2:
            continue
        over = f"{len(results.metrics)} metrics" if metric is None else f"the samples of {metric}"
        order = ", ".join(f"{e} {r:.2f}" for e, r in found.ranks.items())
        p = tables.p_value(found.p)
        pictures.append(
            picture(
                lambda found=found: plot.critical_difference(found),
                f"Critical-difference diagram over {over}. Mean ranks: {order}.",
                f"Friedman χ²({found.df}) = {tables.number(found.statistic)}, p {_equals(p)}"
                + (f"; left out: {out}" if (out := found.left_out_text()) else ""),
            )
        )
    pairs: Any = results.wilcoxon()
    first = 1 if len(results.metrics) > 2 else 2
    shown = min(len(pairs), PAIRS)
    return _section(
        "differences",
        "Which explainers differ",
        "A critical-difference diagram joins explainers whose mean ranks Nemenyi's test cannot "
        "tell apart. Paired tests compare two explainers sample by sample.",
        pictures=pictures[:first],
        tables=[tables.wins(results, pairs)],
        more=[
            *_more("critical differences, metric by metric", pictures[first:]),
            *_more(
                f"{shown:,} of {len(pairs):,} paired tests", shown=[tables.tests(pairs[:shown])]
            ),
        ],
    )


def _equals(p: str) -> str:
    return p if p.startswith("<") else f"= {p}"


def _comparable(results: Results, metric: str | None) -> bool:
    """Whether at least two explainers that can be compared have a score."""
    means: Any = results.means().loc[list(results.feature_groups()[0])]
    own = means.notna().any(axis=1) if metric is None else means[metric].notna()
    return int(own.sum()) > 1


def _metrics(results: Results) -> dict[str, Any] | None:
    if len(results.metrics) < 2 or len(results.explainers) < 2:
        return None
    rho = results.correlations()
    off = rho.to_numpy()[~np.eye(len(rho), dtype=bool)]
    mean = f" Their mean is {np.nanmean(off):.2f}." if np.isfinite(off).any() else ""
    shown = picture(
        lambda: plot.correlation(results),
        f"Heat map of Spearman correlations between {len(rho)} metrics.{mean}",
        "Spearman's correlation over explainers, averaged over samples.",
    )
    return _section(
        "metrics",
        "Whether metrics agree",
        "Metrics of one family should rank explainers alike; where they do not, the choice of the "
        "metric decides.",
        pictures=[shown],
        tables=[tables.agreement(results)],
    )


def _stability(results: Results) -> dict[str, Any] | None:
    groups = groups_of(results.metrics, results.settings)
    if not groups or len(results.explainers) < 2:
        return None
    stable = results.rank_stability()
    pictures = [
        picture(
            lambda g=g: plot.rank_stability(stable, g),
            f"Stacked bars: how often each explainer holds each rank over {len(names)} settings "
            f"of {g}.",
            f"{g}: {len(names)} settings.",
        )
        for g, names in groups.items()
    ]
    return _section(
        "stability",
        "How much settings matter",
        "Were they of no matter, each bar would have one colour.",
        pictures=pictures,
        tables=[tables.sensitivity(results)],
    )


def telling(results: Results) -> str:
    """The metric by which samples are the best or worst, where none is named."""
    faithful = [m for m in results.metrics if results.families[m] == "faithfulness"]
    return (faithful or list(results.metrics))[0]


def _gallery(
    results: Results, metric: str | None, n: int, given: Mapping[str, Any]
) -> dict[str, Any]:
    metric = metric or telling(results)
    pictures = []
    maps = given["attributions"]
    rest = {k: v for k, v in given.items() if k != "attributions"}
    for explainer in results.explainers:
        if explainer not in maps:
            continue
        ids = results.index if given["index"] is None else np.asarray(given["index"])
        best, worst = plot.extremes(results, explainer, metric, n, ids)
        if not len(best):
            continue
        pictures.append(
            picture(
                lambda e=explainer: plot.best_and_worst(
                    results, e, metric, attributions=maps[e], n=n, **rest
                ),
                f"Inputs and maps of {explainer}: best samples {_ids(ids[best])}, worst samples "
                f"{_ids(ids[worst])}.",
                explainer,
            )
        )
    if unknown := [e for e in maps if e not in results.explainers]:
        raise ValueError(f"attributions names {unknown[0]!r}, which the results do not have")
    return _section(
        "gallery",
        "Best and worst samples",
        f"By {metric}: the sample and its score above, its input, its map. Red is positive, blue "
        "negative.",
        pictures=pictures,
    )


def _ids(ids: np.ndarray) -> str:
    return ", ".join(map(str, ids.tolist()))


def _cost(results: Results) -> dict[str, Any] | None:
    shown, facts = tables.costs(results), tables.facts(results)
    if shown is None and not facts:
        return None
    return _section(
        "cost", "Cost", "Equal questions of different metrics and explainers are asked once.",
        tables=[] if shown is None else [shown], facts=facts,
    )  # fmt: skip


def _settings(results: Results) -> dict[str, Any]:
    facts = [
        *tables.environment(results),
        ("families", ", ".join(dict.fromkeys(results.families.values()))),
    ]
    lists = [
        {"heading": what, "rows": rows}
        for what in ("metrics", "explainers")
        if (rows := tables.described(results, what))
    ]
    return _section("settings", "Settings and environment", facts=facts, described=lists)
