"""The scores of every explainer under every metric, sample by sample."""

from __future__ import annotations

import html
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..shown import count
from ..types import Outcome
from .exports import Exports
from .parts import (
    HEAVY,
    checked,
    error_of_mean,
    ids,
    plain,
    status,
    sure_columns,
    taken,
)
from .stats import DIRECTIONS, bootstrap_mean_ci, mean_and_std

if TYPE_CHECKING:
    import pandas as pd

PIPED_WIDTH = 100
"""Width in columns when printing to a file or a pipe."""


@dataclass(frozen=True, eq=False, repr=False)
class Results(Exports):
    """Per-sample scores of explainers under metrics, and their summaries.

    A result may be partial: a cell then holds the first n of the N samples, or is missing.

    Args:
      outcomes: (explainer, metric) -> `Outcome` with score [n] and curve [n, S] or None.
      directions: metric -> "higher" or "lower", which is better; defines the order of `metrics`.
      families: metric -> family.
      index: ids of the samples [N], integers or objects with distinct `str`.
      y: the classes explained [N], integers.
      asked: the number of questions asked of the model, in samples x steps: "output",
        "attribution", "hidden", and "naive" for one separate run per metric and explainer; where
        there was a tolerance, "saved": how many more the same run takes without it.
      settings: how it was computed. Values that JSON cannot hold are kept as text.

    Raises:
      ValueError, TypeError: parts that do not fit together; the message names them.

    >>> outcomes = {("A", "m"): Outcome(score=np.float32([1, 3])),
    ...             ("B", "m"): Outcome(score=np.float32([0, np.nan]))}
    >>> r = Results(outcomes, {"m": "lower"}, {"m": "complexity"}, np.arange(2), np.array([7, 7]))
    >>> print(r.headline)
    Results: 2 explainers x 1 metric, 2 samples, 1 of 4 scores undefined
    >>> r.ranking()["mean rank"].to_dict()
    {'B': 1.0, 'A': 2.0}
    """

    outcomes: Mapping[tuple[str, str], Outcome]
    directions: Mapping[str, str]
    families: Mapping[str, str]
    index: np.ndarray
    y: np.ndarray
    asked: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        index, y = ids(self.index), np.asarray(self.y)
        if y.dtype.kind not in "iu" or y.shape != index.shape:
            raise ValueError(
                f"y must be integers with the shape of index {index.shape}, "
                f"got {y.dtype} with shape {y.shape}"
            )
        for metric, direction in self.directions.items():
            if direction not in DIRECTIONS:
                raise ValueError(
                    f'directions[{metric!r}] must be "higher" or "lower", got {direction!r}'
                )
            if metric not in self.families:
                raise ValueError(f"families lacks the metric {metric!r}")
        outcomes = {}
        for (explainer, metric), outcome in self.outcomes.items():
            if metric not in self.directions:
                raise ValueError(f"directions lacks the metric {metric!r}")
            outcomes[explainer, metric] = checked(
                outcome, len(index), f"outcomes[{explainer!r}, {metric!r}]"
            )
        put = object.__setattr__
        put(self, "outcomes", outcomes)
        put(self, "directions", dict(self.directions))
        put(self, "families", {m: self.families[m] for m in self.directions})
        put(self, "index", index)
        put(self, "y", y)
        put(self, "asked", plain(self.asked))
        put(self, "settings", plain(self.settings))

    @property
    def explainers(self) -> tuple[str, ...]:
        """The names of the explainers, in the order of the outcomes."""
        return tuple(dict.fromkeys(e for e, _ in self.outcomes))

    @property
    def metrics(self) -> tuple[str, ...]:
        """The names of the metrics, in the order of `directions`."""
        return tuple(self.directions)

    @property
    def scores(self) -> dict[tuple[str, str], np.ndarray]:
        """(explainer, metric) -> scores [n], NaN where undefined."""
        return {cell: outcome.score for cell, outcome in self.outcomes.items()}

    @property
    def curves(self) -> dict[tuple[str, str], np.ndarray]:
        """(explainer, metric) -> curves [n, S], for the metrics that have curves."""
        return {c: o.curve for c, o in self.outcomes.items() if o.curve is not None}

    @property
    def points(self) -> dict[str, tuple[str, ...]]:
        """metric -> names of the points of its curve (e.g. layers), for metrics that name them."""
        found = self.settings.get("points")
        return {m: tuple(names) for m, names in found.items()} if isinstance(found, dict) else {}

    def __getitem__(self, cell: tuple[str, str]) -> Outcome:
        """The outcome of one (explainer, metric).

        Raises:
          KeyError: an unknown name; the message lists the known ones.
        """
        if cell in self.outcomes:
            return self.outcomes[cell]
        if not (isinstance(cell, tuple) and len(cell) == 2):
            raise KeyError(f"results[explainer, metric] takes two names, got {cell!r}")
        for what, name, known in (
            ("explainer", cell[0], self.explainers),
            ("metric", cell[1], self.metrics),
        ):
            if name not in known:
                raise KeyError(f"no {what} {name!r}; there are {', '.join(map(repr, known))}")
        raise KeyError(f"no scores of explainer {cell[0]!r} under metric {cell[1]!r} yet")

    def to_dataframe(self) -> pd.DataFrame:
        """One row per score: explainer, metric, sample (its id), score (float64, NaN undefined).

        And how sure it is (see `Outcome`): error, effective, asked (NaN if there is none) and
        status, "ok", "undefined", "heavy tails", "budget" or "not asked".
        """
        import pandas as pd

        outcomes = self.outcomes
        n = [len(o.score) for o in outcomes.values()]
        names = np.array(list(outcomes), dtype=object).reshape(-1, 2)
        empty, sure = [np.zeros(0)], sure_columns(list(outcomes.values()))
        texts = sure.pop("status")
        return pd.DataFrame(
            {
                "explainer": pd.Series(np.repeat(names[:, 0], n), dtype="str"),
                "metric": pd.Series(np.repeat(names[:, 1], n), dtype="str"),
                "sample": np.concatenate([self.index[:k] for k in n] or [self.index[:0]]),
                "score": np.concatenate([o.score for o in outcomes.values()] or empty).astype(
                    np.float64
                ),
                **sure,
                "status": pd.Series(texts, dtype="str"),
            }
        )

    def _matrix(self) -> np.ndarray:
        """Scores [N, cells] in float64, NaN where undefined or missing."""
        matrix = np.full((len(self.index), len(self.outcomes)), np.nan)
        for column, outcome in enumerate(self.outcomes.values()):
            matrix[: len(outcome.score), column] = outcome.score
        return matrix

    def summary(
        self, confidence: float = 0.95, n_bootstrap: int = 1000, seed: int = 0
    ) -> pd.DataFrame:
        """Summary statistics: one row per (explainer, metric), over its defined samples.

        Columns: explainer, metric, mean, std (ddof 1), ci_low and ci_high (percentile bootstrap
        of the mean; cells defined on the same samples share the resampled rows, so intervals are
        paired between explainers), n (defined), n_undefined, direction. In the unit of the metric.

        The interval is about other samples. `mc_error` is about these: half the width of a 95 %
        interval for the mean under infinitely many draws, or, for curves, by how much the mean may
        differ from that of all steps; NaN if the metric does not estimate it, 0 if nothing is
        unknown. `heavy_tails` is the share of samples for which the draws are too few to say.
        To a tolerance, `asked` are the evaluations of a sample, and `converged` is the share of
        samples that met it, or for which the mean did.

        Args:
          confidence: coverage of the interval, between 0 and 1.
          n_bootstrap: number of resamples.
          seed: random seed of the resampling; the same seed gives the same intervals.
        """
        import pandas as pd

        matrix = self._matrix()
        mean, std, n = mean_and_std(matrix)
        low, high = bootstrap_mean_ci(matrix, confidence, n_bootstrap, seed)
        cells = list(self.outcomes)
        return pd.DataFrame(
            {
                "explainer": pd.Series([e for e, _ in cells], dtype="str"),
                "metric": pd.Series([m for _, m in cells], dtype="str"),
                "mean": mean,
                "std": std,
                "ci_low": low,
                "ci_high": high,
                "n": n,
                "n_undefined": [o.n_undefined for o in self.outcomes.values()],
                "mc_error": [error_of_mean(o) for o in self.outcomes.values()],
                "heavy_tails": [
                    float(np.mean(status(o) == HEAVY)) if len(o.score) else 0.0
                    for o in self.outcomes.values()
                ],
                "asked": [taken(o)[0] for o in self.outcomes.values()],
                "converged": [taken(o)[1] for o in self.outcomes.values()],
                "direction": pd.Series([self.directions[m] for _, m in cells], dtype="str"),
            }
        )

    def means(self) -> pd.DataFrame:
        """Mean scores over the defined samples, explainers x metrics; NaN if none is defined."""
        import pandas as pd

        table = pd.DataFrame(
            np.nan,
            index=pd.Index(self.explainers, dtype="str", name="explainer"),
            columns=pd.Index(self.metrics, dtype="str", name="metric"),
        )
        for (explainer, metric), mean in zip(
            self.outcomes, mean_and_std(self._matrix())[0], strict=True
        ):
            table.loc[explainer, metric] = mean
        return table

    def ranking(self, mixed_features: bool = False) -> pd.DataFrame:
        """Ranks of the explainers, 1 for the best: explainers x metrics, and "mean rank".

        Explainers are ranked by mean score, according to the direction of each metric. Means that
        differ by no more than float32 rounding tie and share their average rank (`row_ranks`). An
        undefined mean has the rank NaN, and the mean rank is over the metrics that rank the
        explainer. Rows are sorted by mean rank, the best first.

        If maps have different features (`feature_groups`), it warns and ranks each explainer only
        among those with the same features (NaN if there is no other); the column "features" then
        shows the shape of the maps, and rows are sorted by group first.

        Args:
          mixed_features: whether to rank all explainers against each other nevertheless.
        """
        groups = [self.explainers] if mixed_features else self.feature_groups()
        if len(groups) > 1:
            self._warn_of_mixture("each is ranked among those with the same features only")
        ranks = self._ranked(groups)
        ranks["mean rank"] = mean_and_std(ranks.to_numpy().T)[0]
        if len(groups) == 1:
            return ranks.sort_values("mean rank", kind="stable", na_position="last")
        place = {e: i for i, group in enumerate(groups) for e in group}
        ranks["features"] = [self._shape_text(e) for e in ranks.index]
        ranks["group"] = [place[e] for e in ranks.index]
        ranks = ranks.sort_values(["group", "mean rank"], kind="stable", na_position="last")
        return ranks.drop(columns="group")

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write everything to one Parquet file, and return its path.

        One row per score; undefined scores are null with the status "undefined"; everything else
        is JSON under the key ``jaxeval`` of the schema metadata. Missing folders are created. An
        existing file is replaced atomically: an interruption leaves the old file or the new one.

        Raises:
          IsADirectoryError: `path` is a folder.
        """
        from . import parquet

        path = Path(path)
        parquet.write(self, path)
        return path

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Results:
        """Load the results that `save` wrote, exactly as saved.

        Raises:
          FileNotFoundError: there is no such file.
          ValueError: not a Parquet file, or not written by `save`; the message says what it lacks.
        """
        from . import parquet

        return cls(**parquet.read(Path(path)))

    @classmethod
    def from_dataframe(cls, frame: pd.DataFrame, **given: Any) -> Results:
        """Results from a long table: one row per explainer, metric and sample, with its score.

        Optional columns: settings (JSON text), which distinguishes settings of one metric
        ("Deletion(n_steps=8)"); seed: scores and curves are averaged over seeds, as repetitions of
        a sample are not further samples; label; curve; direction and family. A sample missing from
        one cell but not from others is undefined there.

        Args:
          frame: from `to_dataframe`, or from a Parquet data set.
          directions: metric -> "higher" or "lower", if there is no column "direction".
          families: metric -> family, if there is no column "family"; default: "metrics".
          settings, asked: as for `Results`.

        Raises:
          ValueError: missing columns or directions, or several models.

        >>> import pandas as pd
        >>> rows = {"explainer": ["A", "B"], "metric": ["m"] * 2, "sample": [7, 7], "score": [1, 2]}
        >>> Results.from_dataframe(pd.DataFrame(rows), directions={"m": "lower"}).headline
        'Results: 2 explainers x 1 metric, 1 sample'
        """
        from .long import from_frame

        return cls(**from_frame(frame, **given))

    def report(self, path: str | os.PathLike[str], **given: Any) -> Path:
        """Write a self-contained HTML report, and return its path.

        Arguments are those of `jaxeval.report.write`. Needs ``pip install "jaxeval[report]"``.
        """
        from ..report import write

        return write(self, path, **given)

    @property
    def headline(self) -> str:
        """One line: the numbers of explainers, metrics, samples and undefined scores."""
        n_scores = sum(len(o.score) for o in self.outcomes.values())
        undefined = sum(o.n_undefined for o in self.outcomes.values())
        complete = len(self.index) * len(self.explainers) * len(self.metrics)
        parts = [
            f"{count(len(self.explainers), 'explainer')} x {count(len(self.metrics), 'metric')}",
            count(len(self.index), "sample"),
        ]
        if n_scores < complete:
            parts.append(f"partial: {n_scores:,} of {complete:,} scores")
        if undefined:
            parts.append(f"{undefined:,} of {n_scores:,} scores undefined")
        return f"Results: {', '.join(parts)}"

    def __repr__(self) -> str:
        if not self.outcomes:
            return self.headline
        text = self._mean_table(
            lambda name: name, lambda best: best + "*", lambda other: other + " "
        )
        width = shutil.get_terminal_size((PIPED_WIDTH, 24)).columns
        table = text.to_string(line_width=width)
        return f"{self.headline}\nmean scores (* {self._best()})\n{table}"

    def _repr_html_(self) -> str:
        table = self._mean_table(html.escape, lambda best: f"<b>{best}</b>", lambda other: other)
        return (
            f"<p>{html.escape(self.headline)}<br>mean scores, the {html.escape(self._best())} in "
            f"bold</p>{table.to_html(escape=False)}"
        )
