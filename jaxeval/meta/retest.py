"""How many random draws does a metric need here, to give the same scores again?"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from ..api import evaluate_job
from ..progress import Bar, NoProgress
from .asking import OBSERVED, fresh, scores_of
from .compared import mean_of
from .statistics import icc, tau

if TYPE_CHECKING:
    import pandas as pd

    from .results import MetaResults

FIELDS = ("n_runs", "n_samples", "n_seeds")
"""The settings of metrics that say how many random draws a score is made of."""


def drawn(metric: Any) -> tuple[str, ...] | None:
    """The path of the setting with the number of draws; None if there is none, or draws are given.

    >>> import jaxeval as je
    >>> drawn(je.FaithfulnessCorrelation(n_runs=8, subset_size=2)), drawn(je.Sparseness())
    (('n_runs',), None)
    """
    names = {f.name for f in dataclasses.fields(metric)}
    if getattr(metric, "draws", None) is not None:
        return None
    for inner in names & {"noise", "metric"}:  # a shared `Noise`, the metric inside of `QGE`
        if getattr(metric, inner) is not None:
            path = drawn(getattr(metric, inner))
            return None if path is None else (inner, *path)
    return next(((name,) for name in FIELDS if name in names), None)


def number_of(metric: Any, path: tuple[str, ...]) -> int:
    """The number of draws."""
    for name in path:
        metric = getattr(metric, name)
    return int(metric)


def with_number(metric: Any, path: tuple[str, ...], n: int) -> Any:
    """The metric with another number of draws."""
    first, *rest = path
    inner = with_number(getattr(metric, first), tuple(rest), n) if rest else n
    return dataclasses.replace(metric, **{first: inner})


def allowed(metric: Any, path: tuple[str, ...], n: int) -> int:
    """n, or the next number of draws that the metric takes: a correlation needs two.

    >>> import jaxeval as je
    >>> allowed(je.FaithfulnessCorrelation(n_runs=9), ("n_runs",), 1)
    2
    """
    for number in range(n, number_of(metric, path)):
        try:
            with_number(metric, path, number)
        except ValueError:
            continue
        return number
    return max(n, number_of(metric, path))


def retest(
    meta: MetaResults,
    draws: Sequence[float] = (0.125, 0.25, 0.5, 1.0, 2.0),
    repeats: int = 4,
    reliability: float = 0.9,
    metrics: Sequence[str] | None = None,
    progress: bool = True,
) -> pd.DataFrame:
    r"""The reliability of scores of the clean samples, by the number of random draws.

    Metrics with random draws score the same maps `repeats` times with other random numbers. The
    reliability is ICC(A,1) of the repetitions over all (explainer, sample) cells: the share of the
    variance of scores that random numbers do not make. Where it is too small, comparisons of
    explainers are noise, and more draws are the cure. The number that would do is predicted by the
    formula of Spearman and Brown,

    .. math:: n = n_0 \frac{r (1 - r_0)}{r_0 (1 - r)}

    from the largest number tried, unless a number tried does. The formula holds for scores that are
    means over draws, and is a rule of thumb for others, such as correlations and maxima.

    Reference: Spearman 1910 and Brown 1910; McGraw and Wong 1996 for the ICC.

    Args:
      meta: from `meta_evaluate` in this process; saved results do not hold the model.
      draws: the numbers of draws to try, as multiples of each metric's own.
      repeats: how often each is repeated, at least 2.
      reliability: r, what is enough.
      metrics: names; default: all with a number of draws.

    Returns:
      One row per metric and number: metric, setting, draws, reliability, tau (Kendall's, of the
      explainers in two repetitions, over samples), enough (the number of draws predicted to reach
      r: NaN if no number helps), n_undefined.

    Raises:
      ValueError: no such metric, or results that were loaded from a file.
    """
    import pandas as pd

    if meta.setup is None:
        raise ValueError(
            "retest asks the model again, which loaded results do not hold: call it on what "
            "meta_evaluate returned"
        )
    if repeats < 2 or not 0 < reliability < 1:
        raise ValueError(
            "repeats must be at least 2 and reliability within (0, 1), got "
            f"{repeats!r} and {reliability!r}"
        )
    asked, job = meta.setup, meta.setup.job
    paths = {m: p for m, v in job.metrics.items() if m != OBSERVED and (p := drawn(v)) is not None}
    chosen = list(paths) if metrics is None else list(metrics)
    for m in chosen:
        if m not in paths:
            has = ", ".join(map(repr, paths)) or "none has"
            raise ValueError(f"metric {m!r} has no number of random draws; those that have: {has}")
    numbers = {
        m: sorted(
            {
                allowed(v, paths[m], max(1, round(f * number_of(v, paths[m]))))
                for f in draws
                for v in (job.metrics[m],)
            }
        )
        for m in chosen
    }
    rows = []
    bar = Bar("repeating", "evaluations of the data set") if progress else NoProgress()
    try:
        bar.start(repeats * max(map(len, numbers.values()), default=0))
        for i in range(max(map(len, numbers.values()), default=0)):
            at = {m: n[i] for m, n in numbers.items() if i < len(n)}
            tried = {m: with_number(job.metrics[m], paths[m], n) for m, n in at.items()}
            runs = []
            for r in range(repeats):
                data = dataclasses.replace(
                    job.data,
                    y=meta.y.astype(np.int32),
                    index=fresh(job.data.index, asked.stride, r),
                )
                again = dataclasses.replace(
                    job, data=data, metrics=tried, attributors=asked.kept_maps()
                )
                runs.append(evaluate_job(again))
                bar.advance(1)
            for m, n in at.items():
                scores = np.stack([scores_of(run, m, meta.explainers) for run in runs])
                rows.append((m, ".".join(paths[m]), n, *_reliability(scores)))
    finally:
        bar.stop()
    columns = ["metric", "setting", "draws", "reliability", "tau", "n_undefined"]
    rows.sort(key=lambda row: (chosen.index(row[0]), row[2]))
    table = pd.DataFrame(rows, columns=columns)
    needed = {m: enough(own, reliability) for m, own in table.groupby("metric")}
    table.insert(5, "enough", [needed[m] for m in table["metric"]])
    return table


def _reliability(scores: np.ndarray) -> tuple[float, float, int]:
    """(ICC, mean tau, number of undefined scores) of repetitions [R, L, N]."""
    whole = np.ones((1, scores.shape[2]), bool)
    taus = [tau(a, b[None], whole)[0] for a, b in combinations(scores, 2)]
    found = icc(scores.reshape(len(scores), -1))
    return found, float(mean_of(np.array(taus))), int(np.isnan(scores).sum())


def enough(table: Any, reliability: float) -> float:
    """The number of draws that reaches a reliability, from rows with draws and reliability."""
    reached = table[table["reliability"] >= reliability]
    if len(reached):
        return float(reached["draws"].min())
    last = table.iloc[table["draws"].argmax()]
    r = last["reliability"]
    if not 0 < r < 1:
        return float("nan")
    needed = last["draws"] * reliability * (1 - r) / (r * (1 - reliability))
    return float(np.ceil(needed * (1 - 1e-9)))  # a whole number that rounding has raised
