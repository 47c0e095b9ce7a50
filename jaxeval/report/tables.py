"""The tables of the page, as plain data for the template."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ..results import Results
from ..results.stats import ARROWS

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Cell:
    """A table cell: its text, sort key (None: last), CSS class, style, and a second line."""

    text: str
    key: float | str | None = None
    kind: str = ""
    note: str = ""
    style: str = ""


@dataclass(frozen=True)
class TableOf:
    """A table: rows of cells, of which the first is the row's heading."""

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    kind: str = field(default="")


def number(value: Any, digits: int = 3) -> str:
    """A number in a few characters; a dash if undefined.

    >>> number(0.123456), number(float("nan")), number(12345), number(-0.5)
    ('0.123', '–', '12,345', '−0.500')
    """
    if isinstance(value, (int, np.integer)) and not isinstance(value, bool):
        return f"{value:,}".replace("-", "−")
    if value is None or np.isnan(value):
        return "–"
    if np.isinf(value):
        return "∞" if value > 0 else "−∞"
    text = f"{value:.0f}" if 10**digits <= abs(value) < 1e6 else f"{value:#.{digits}g}"
    return (text.rstrip(".") or "0").replace("-", "−")


def p_value(p: float) -> str:
    """A p-value as printed in papers.

    >>> p_value(0.0000123), p_value(0.031)
    ('< 0.001', '0.031')
    """
    return "–" if np.isnan(p) else "< 0.001" if p < 0.001 else f"{p:.3f}"


def value(v: Any, text: str | None = None, kind: str = "number") -> Cell:
    """A cell with a number, which is also its sort key."""
    key = None if v is None or np.isnan(v) else float(v)
    return Cell(text or number(v), key, kind)


def each(frame: pd.DataFrame) -> list[Any]:
    """The rows, with columns as attributes."""
    return list(frame.itertuples(index=False))


def name(text: Any) -> Cell:
    return Cell(str(text), str(text))


def summary(results: Results) -> TableOf:
    """Mean, intervals, standard deviation and numbers of samples, per explainer and metric."""
    rows = []
    found = results.summary()
    sure = bool(found["mc_error"].notna().any())
    limited = bool(found["converged"].notna().any())
    for v in each(found):
        interval = f"{number(v.ci_low)} … {number(v.ci_high)}" if v.n > 1 else "–"
        rows.append(
            [
                name(v.explainer),
                Cell(f"{v.metric} {ARROWS[v.direction]}", v.metric),
                value(v.mean),
                Cell(interval, None if np.isnan(v.ci_low) else float(v.ci_low), "number"),
                value(v.std),
                value(v.n),
                value(v.n_undefined, kind="number warn" if v.n_undefined else "number"),
            ]
        )
        if sure:
            rows[-1].insert(4, _error(v))
        if limited:
            rows[-1] += [_share(v.asked, "{:,.0f}"), _share(v.converged, "{:.0%}")]
    columns = ["explainer", "metric", "mean", "95 % interval", "std", "samples", "undefined"]
    caption = "Mean scores over the defined samples, with bootstrap intervals"
    if sure:
        columns.insert(4, "error")
        caption += (
            ". Error: of the mean on these samples, from random draws (95 %) or from steps left "
            "out; marked where more than 5 % of the samples have heavy tails"
        )
    if limited:
        columns += ["asked", "tolerance met"]
        caption += (
            ". Asked: evaluations of a sample; tolerance met: by how many of the samples that were "
            "asked"
        )
    return TableOf(caption, columns, rows)


def _share(number: float, form: str) -> Cell:
    return value(number, "–" if np.isnan(number) else form.format(number))


def _error(v: Any) -> Cell:
    text = "–" if np.isnan(v.mc_error) else f"± {number(v.mc_error)}"
    return value(v.mc_error, text, "number warn" if v.heavy_tails > 0.05 else "number")


def ranks(results: Results) -> TableOf:
    """The heat map of ranks, with mean scores."""
    means: Any = results.means()
    table: Any = results.ranking()
    last = max(len(table), 2)
    rows = []
    for explainer, own in table.iterrows():
        cells = [name(f"{explainer} ({own['features']})" if "features" in own else explainer)]
        for metric in (*results.metrics, "mean rank"):
            rank = own[metric]
            mean = "" if metric == "mean rank" else number(means.loc[explainer, metric])
            cells.append(
                Cell(
                    "–" if np.isnan(rank) else f"{rank:.2f}" if not mean else f"{rank:g}",
                    None if np.isnan(rank) else float(rank),
                    "rank",
                    mean,
                    _shade(rank, last),
                )
            )
        rows.append(cells)
    columns = [
        "explainer",
        *(f"{m} {ARROWS[results.directions[m]]}" for m in results.metrics),
        "mean rank",
    ]
    alike = " among maps with the same features" if "features" in table else ""
    caption = f"Ranks by mean score{alike}, 1 is best; below each, the mean score"
    return TableOf(caption, columns, rows, "heat")


def _shade(rank: float, last: int) -> str:
    """Dark blue for the first rank, light for the last, with a readable text colour."""
    if np.isnan(rank):
        return ""
    at = (rank - 1) / (last - 1)
    dark, pale = np.array([8, 69, 148]), np.array([222, 235, 247])
    red, green, blue = np.rint(dark + (pale - dark) * at**0.8).astype(int)
    linear = (np.array([red, green, blue]) / 255) ** 2.2
    text = "#ffffff" if linear @ [0.2126, 0.7152, 0.0722] < 0.179 else "#000000"
    return f"background:rgb({red},{green},{blue});color:{text}"


def wins(results: Results, pairs: pd.DataFrame) -> TableOf:
    """How many others each explainer beats and loses to, under each metric."""
    groups = results.feature_groups()
    others = len(groups[0]) - 1
    rows = []
    decided = [v for v in each(pairs) if v.better]
    won_by = Counter((v.metric, v.better) for v in decided)
    lost_by = Counter((v.metric, v.a if v.better == v.b else v.b) for v in decided)
    for explainer in results.explainers:
        cells, total = [name(explainer)], 0
        for metric in results.metrics:
            won, lost = won_by[metric, explainer], lost_by[metric, explainer]
            total += won - lost
            cells.append(Cell(f"{won} : {lost}", float(won - lost), "number"))
        rows.append([*cells, Cell(f"{total:+d}".replace("-", "−"), float(total), "number")])
    columns = ["explainer", *results.metrics, "balance"]
    return TableOf(
        f"Won : lost against {'up to ' if len(groups) > 1 else ''}{others} "
        f"other{'s' if others != 1 else ''} by the signed-rank test (p < 0.05, Holm-adjusted)",
        columns,
        sorted(rows, key=lambda row: -float(row[-1].key or 0)),
    )


def tests(pairs: pd.DataFrame) -> TableOf:
    """Every paired test."""
    rows = [
        [
            Cell(v.metric, v.metric),
            name(v.a),
            name(v.b),
            value(v.effect, None if np.isnan(v.effect) else f"{v.effect:+.2f}".replace("-", "−")),
            value(v.p, p_value(v.p)),
            value(v.p_holm, p_value(v.p_holm)),
            name(v.better or "–"),
            value(v.n),
            value(v.n_zero),
            value(v.n_undefined, kind="number warn" if v.n_undefined else "number"),
        ]
        for v in each(pairs)
    ]
    columns = [
        *("metric", "a", "b", "effect", "p", "p (Holm)", "better", "pairs", "equal", "undefined")
    ]
    return TableOf(
        "Paired signed-rank tests; an effect of +1 means that a is better on every sample",
        columns,
        rows,
    )


def agreement(results: Results) -> TableOf:
    """Kendall's W per family and over all metrics."""
    found: Any = results.agreement()
    rows = [
        [
            name("all metrics" if family == "all" else family),
            value(row["w"]),
            value(row["p"], p_value(row["p"])),
            value(int(row["n_metrics"])),
            value(int(row["n_explainers"])),
        ]
        for family, row in found.iterrows()
    ]
    columns = ["metrics", "Kendall's W", "p", "number", "explainers"]
    return TableOf("Agreement between metrics (Kendall's W); 1: all rank alike", columns, rows)


def sensitivity(results: Results, groups: Mapping[str, Sequence[str]] | None = None) -> TableOf:
    """How much each parameter of a metric changes."""
    rows = [
        [
            name(v.metric),
            name(v.parameter),
            value(v.n_values),
            value(v.score_change),
            value(v.score_share, None if np.isnan(v.score_share) else f"{v.score_share:.0%}"),
            value(v.kendall_tau),
            value(v.reversals, None if np.isnan(v.reversals) else f"{v.reversals:.0%}"),
            value(v.first_changes, None if np.isnan(v.first_changes) else f"{v.first_changes:.0%}"),
        ]
        for v in each(results.sensitivity(groups=groups))
    ]
    columns = [
        *("metric", "parameter", "values", "score changes by", "share of variance"),
        *("Kendall's τ", "pairs that swap", "another first"),
    ]
    return TableOf("Effect of changing one parameter", columns, rows)


def costs(results: Results) -> TableOf | None:
    """The numbers of questions asked of the model."""
    asked = results.asked
    naive = asked.get("naive")
    naive = naive if isinstance(naive, Mapping) else {}
    rows = []
    for kind, count in asked.items():
        if isinstance(count, (int, float)) and (count or naive.get(kind)):
            alone = naive.get(kind)
            ratio = alone / count if alone and count else np.nan
            rows.append(
                [
                    name(KINDS.get(kind, kind)),
                    value(count),
                    value(alone),
                    value(ratio, "–" if np.isnan(ratio) else f"{ratio:.1f} ×"),
                ]
            )
    columns = ["question", "asked", "one metric and explainer at a time", "saved"]
    return (
        TableOf("Questions asked of the model, in samples × steps", columns, rows) if rows else None
    )


KINDS = {"output": "outputs", "attribution": "explanations", "hidden": "hidden layers"}


def facts(results: Results) -> list[tuple[str, str]]:
    """Time and rate, as (name, text)."""
    settings, asked = results.settings, results.asked
    found: list[tuple[str, str]] = []
    seconds = settings.get("seconds")
    if isinstance(seconds, (int, float)) and seconds > 0:
        found.append(("time", f"{seconds:,.1f} s"))
        questions = sum(v for v in asked.values() if isinstance(v, (int, float)))
        n_scores = sum(len(o.score) for o in results.outcomes.values())
        rate = [f"{n_scores / seconds:,.0f} scores"]
        if questions:
            rate.insert(0, f"{questions / seconds:,.0f} questions")
        found.append(("rate", " and ".join(rate) + " per second"))
    return found


def environment(results: Results) -> list[tuple[str, str]]:
    """How it was computed, as (name, text); metrics and explainers are listed separately."""
    found = []
    for key, v in results.settings.items():
        if v is None or key in ("metrics", "explainers", "points", "seconds"):
            continue
        if isinstance(v, Mapping):
            text = ", ".join(f"{k} {plain(u)}" for k, u in v.items())
        else:
            text = plain(v)
        found.append((key.replace("_", " "), text))
    return found


def described(results: Results, what: str) -> list[tuple[str, str, str]]:
    """(name, class, settings) of each metric or explainer."""
    found = results.settings.get(what)
    rows = []
    for key, v in found.items() if isinstance(found, Mapping) else ():
        if isinstance(v, Mapping):
            fields = ", ".join(f"{k}={plain(u)}" for k, u in v.items() if k != "class")
            rows.append((key, str(v.get("class", "")), fields))
        else:
            rows.append((key, plain(v), ""))
    return rows


def plain(v: Any) -> str:
    """A setting as text."""
    return v if isinstance(v, str) else json.dumps(v, ensure_ascii=False)
