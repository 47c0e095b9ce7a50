"""The sections of the page, as plain data for the template."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from .. import plot
from ..results import Results
from ..results.stability import groups_of
from ..shown import count
from . import tables
from .pictures import Picture, picture

PAIRS = 2000
"""Maximum number of paired tests on the page; `Results.wilcoxon` returns all."""

SPOKES = 16
"""Maximum number of metrics on a radar; if there are more, one per class is shown."""


def sections(
    results: Results, metric: str | None, n: int, given: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """All sections that are not empty.

    Args:
      metric, n: the metric that defines best and worst samples, and how many of each to show.
      given: x, attributions, index and channel_axis of the gallery; x is None without a gallery.
    """
    found = (
        scores(results),
        radar(results),
        curves(results),
        differences(results),
        metrics(results),
        stability(results),
        extremes(results, metric, n, given) if given["x"] is not None else None,
        cost(results),
        settings(results),
    )
    return [s for s in found if s is not None]


def section(key: str, heading: str, text: str = "", **parts: Any) -> dict[str, Any]:
    empty = {"tables": (), "pictures": (), "texts": (), "more": (), "facts": (), "described": ()}
    return {"key": key, "heading": heading, "text": text, **empty, **parts}


def lead(results: Results) -> str:
    """The introduction: what was evaluated, and how many scores are undefined."""
    n_undefined = sum(o.n_undefined for o in results.outcomes.values())
    n_scores = sum(len(o.score) for o in results.outcomes.values())
    counts = (
        count(len(results.explainers), "explainer"),
        count(len(results.metrics), "metric"),
        count(len(results.index), "sample"),
    )
    undefined = f"Undefined and left out: {n_undefined:,} of {count(n_scores, 'score')}."
    mixed = (
        f" Maps have different features ({results._mixture()}), so their scores cannot be "
        "compared: explainers are ranked and compared only among those with the same features."
        if len(results.feature_groups()) > 1
        else ""
    )
    return f"{counts[0]} under {counts[1]}, on {counts[2]}. " + (
        (undefined if n_undefined else f"{count(n_scores, 'score')}, all defined.") + mixed
    )


def scores(results: Results) -> dict[str, Any]:
    return section(
        "scores",
        "Scores",
        "Arrows show which direction is better: ↑ higher, ↓ lower. Click a heading to sort a "
        "table.",
        tables=[tables.ranks(results), tables.summary(results)],
    )


def radar(results: Results) -> dict[str, Any] | None:
    metrics = list(results.metrics)
    said = ""
    if len(metrics) > SPOKES:
        metrics, said = _one_a_class(results)[:SPOKES], ", the first setting of each"
    if len(metrics) < 3:
        return None
    order = list(results.ranking().index)
    shown = picture(
        lambda: plot.radar(results, metrics),
        f"Radar of {len(metrics)} metrics; by mean rank from the best: {', '.join(order)}.",
        f"Ranks under {len(metrics)} metrics{said}; outward is better.",
    )
    return section("radar", "Radar", pictures=[shown])


def _one_a_class(results: Results) -> list[str]:
    grouped = groups_of(results.metrics, results.settings)
    later = {m for names in grouped.values() for m in names[1:]}
    return [m for m in results.metrics if m not in later]


def curves(results: Results) -> dict[str, Any] | None:
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
        alt = f"Mean curves of {count(len(results.explainers), 'explainer')} under {m}" + (
            f"; {best} has the best mean score." if best is not None else "."
        )
        pictures.append(picture(draw, alt))
    if not pictures:
        return None
    return section(
        "curves", "Curves", "Means over samples; the figures name their bands.",
        pictures=pictures[:2], more=_more("more curves", pictures[2:]),
    )  # fmt: skip


def _more(heading: str, pictures: Sequence[Picture] = (), shown: Sequence[Any] = ()) -> list[Any]:
    """A collapsed part; none if it would be empty."""
    if not pictures and not shown:
        return []
    count = f" ({len(pictures)})" if pictures else ""
    return [{"heading": heading + count, "pictures": pictures, "tables": shown}]


def differences(results: Results) -> dict[str, Any] | None:
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
    return section(
        "differences",
        "Which explainers differ",
        "Critical-difference diagrams join explainers whose mean ranks do not differ significantly "
        "(Nemenyi's test). Paired tests compare two explainers sample by sample.",
        pictures=pictures[:first],
        tables=[tables.wins(results, pairs)],
        more=[
            *_more("critical differences per metric", pictures[first:]),
            *_more(
                f"{shown:,} of {count(len(pairs), 'paired test')}",
                shown=[tables.tests(pairs[:shown])],
            ),
        ],
    )


def _equals(p: str) -> str:
    return p if p.startswith("<") else f"= {p}"


def _comparable(results: Results, metric: str | None) -> bool:
    """Whether at least two comparable explainers have a score."""
    means: Any = results.means().loc[list(results.feature_groups()[0])]
    own = means.notna().any(axis=1) if metric is None else means[metric].notna()
    return int(own.sum()) > 1


def metrics(results: Results) -> dict[str, Any] | None:
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
    return section(
        "metrics",
        "Whether metrics agree",
        "Metrics of one family should rank explainers alike; if not, the ranking depends on the "
        "choice of metric.",
        pictures=[shown],
        tables=[tables.agreement(results)],
    )


def stability(results: Results) -> dict[str, Any] | None:
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
    return section(
        "stability",
        "How much settings matter",
        "If settings did not matter, every bar would have a single colour.",
        pictures=pictures,
        tables=[tables.sensitivity(results)],
    )


def telling(results: Results) -> str:
    """The default metric that defines best and worst samples."""
    faithful = [m for m in results.metrics if results.families[m] == "faithfulness"]
    return (faithful or list(results.metrics))[0]


def extremes(
    results: Results, metric: str | None, n: int, given: Mapping[str, Any]
) -> dict[str, Any]:
    metric = metric or telling(results)
    pictures, texts = [], []
    maps, x = given["attributions"], given["x"]
    of_text = not hasattr(x, "shape") and len(x) > 0 and isinstance(x[0], (list, tuple))
    of_text = of_text and all(isinstance(token, str) for token in x[0])
    named = hasattr(x, "columns") or results.settings.get("feature_names") is not None
    bars = getattr(x, "ndim", 0) == 2 and named
    rest = {k: v for k, v in given.items() if k not in ("attributions", "text")}
    for explainer in results.explainers:
        if explainer not in maps:
            continue
        ids = results.index if given["index"] is None else np.asarray(given["index"])
        best, worst = plot.extremes(results, explainer, metric, n, ids)
        if not len(best):
            continue
        if of_text:
            scores = results[explainer, metric].score
            shown = [*(("best", i) for i in best), *(("worst", i) for i in worst)]
            rows = [i for _, i in shown]
            place = {v: i for i, v in enumerate(results.index.tolist())}
            titles = [f"{what} {ids[i]}: {scores[place[ids[i].item()]]:#.3g}" for what, i in shown]
            own = {k: np.asarray(v)[rows] for k, v in given["text"].items() if v is not None}
            colours = plot.text(
                [x[i] for i in rows], np.asarray(maps[explainer])[rows], titles=titles, **own
            )
            texts.append({"heading": explainer, "text": colours})
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
        raise ValueError(f"attributions has {unknown[0]!r}, which is no explainer of the results")
    return section(
        "gallery",
        "Best and worst samples",
        f"By {metric}: each sample with its score, its input and its map. "
        f"{'Orange' if of_text or bars else 'Red'} is positive, blue negative.",
        pictures=pictures,
        texts=texts,
    )


def _ids(ids: np.ndarray) -> str:
    return ", ".join(map(str, ids.tolist()))


def cost(results: Results) -> dict[str, Any] | None:
    shown, facts = tables.costs(results), tables.facts(results)
    if shown is None and not facts:
        return None
    return section(
        "cost", "Cost", "Questions shared by several metrics and explainers are asked once.",
        tables=[] if shown is None else [shown], facts=facts,
    )  # fmt: skip


def settings(results: Results) -> dict[str, Any]:
    facts = [
        *tables.environment(results),
        ("families", ", ".join(dict.fromkeys(results.families.values()))),
    ]
    lists = [
        {"heading": what, "rows": rows}
        for what in ("metrics", "explainers")
        if (rows := tables.described(results, what))
    ]
    return section("settings", "Settings and environment", facts=facts, described=lists)
