"""Results in other forms, and against other results."""

from __future__ import annotations

import importlib
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .compare import ROUNDING
from .paired import holm, signed_rank
from .parts import numbers
from .settings import SettingComparisons
from .stats import ARROWS, explainer_ranks

if TYPE_CHECKING:
    import pandas as pd

PARTS = ("error", "effective")


class Exports(SettingComparisons):
    """Tables for other packages, and comparisons with other results; a part of `Results`."""

    def _ranked(self, groups: Sequence[Sequence[str]]) -> pd.DataFrame:
        """Ranks by mean score within each group, explainers x metrics; NaN in a group of one."""
        means = self.means()
        ranks, directions = means.copy(), [self.directions[m] for m in self.metrics]
        ranks[:] = np.nan
        for group in groups:
            if len(group) > 1 or len(groups) == 1:
                own = list(group)
                ranks.loc[own] = explainer_ranks(means.loc[own].to_numpy(), directions, ROUNDING)
        return ranks

    def _best(self) -> str:
        if len(self.feature_groups()) == 1:
            return "best"
        return f"best among maps with the same features: {self._mixture()}"

    def _mean_table(self, name: Any, best: Any, other: Any) -> pd.DataFrame:
        """Mean scores as text; metrics are rows, as their names are long."""
        import pandas as pd

        means = self.means()
        groups = self.feature_groups()
        ranks = self._ranked(groups)
        first = pd.DataFrame(False, index=ranks.index, columns=ranks.columns)
        for group in map(list, groups):
            own = ranks.loc[group].to_numpy()
            first.loc[group] = own == np.nanmin(own, axis=0, initial=np.inf)
        best_of = first.to_numpy()
        cells = [
            [
                (best if best_of[i, j] else other)(f"{means.iat[i, j]:.4g}")
                for i in range(len(self.explainers))
            ]
            for j in range(len(self.metrics))
        ]
        rows = [f"{name(m)} {ARROWS[self.directions[m]]}" for m in self.metrics]
        return pd.DataFrame(cells, index=rows, columns=[name(e) for e in self.explainers])

    def to_xarray(self) -> Any:
        """An `xarray.Dataset` over the dimensions explainer, metric and sample.

        Variables, NaN where undefined or missing: score, error, effective (see `Outcome`);
        direction and family by metric; y by sample; and for every metric
        with curves ``curve: NAME`` over explainer, sample and a dimension of its own, whose
        coordinates are the names of its points, if it has any. Settings and what was asked are in
        `attrs`, as JSON.

        Raises:
          ImportError: xarray is not installed; the message says how to install it.
        """
        try:
            xarray: Any = importlib.import_module("xarray")
        except ImportError as e:
            raise ImportError(f'to_xarray needs xarray ({e}): pip install "jaxeval[xarray]"') from e
        explainers, metrics, n = list(self.explainers), list(self.metrics), len(self.index)
        dims = ("explainer", "metric", "sample")
        found: dict[str, Any] = {"score": (dims, self._cube().transpose(1, 2, 0))}
        for part in PARTS:
            cube = np.full((len(explainers), len(metrics), n), np.nan)
            for (e, m), outcome in self.outcomes.items():
                values = numbers(outcome, part)
                cube[explainers.index(e), metrics.index(m), : len(values)] = values
            found[part] = (dims, cube)
        found["direction"] = ("metric", [self.directions[m] for m in metrics])
        found["family"] = ("metric", [self.families[m] for m in metrics])
        found["y"] = ("sample", self.y)
        coordinates: dict[str, Any] = {"explainer": explainers, "metric": metrics}
        coordinates["sample"] = self.index
        for m in metrics:
            own = {e: c for (e, name), c in self.curves.items() if name == m}
            if not own:
                continue
            steps = max(c.shape[1] for c in own.values())
            cube = np.full((len(explainers), n, steps), np.nan)
            for e, curve in own.items():
                cube[explainers.index(e), : len(curve), : curve.shape[1]] = curve
            step = f"step: {m}"
            found[f"curve: {m}"] = (("explainer", "sample", step), cube)
            if m in self.points and len(self.points[m]) == steps:
                coordinates[step] = list(self.points[m])
        attrs = {
            "settings": json.dumps(self.settings, default=str),
            "asked": json.dumps(self.asked, default=str),
        }
        return xarray.Dataset(found, coordinates, attrs)

    def to_styler(self, digits: int = 3) -> Any:
        """A pandas `Styler` of the mean scores, explainers x metrics.

        Cells are shaded by rank, the best is bold; columns have arrows of their directions. Names
        are escaped. It can be written as HTML, LaTeX or Excel: ``results.to_styler().to_latex()``.

        Args:
          digits: significant digits.

        Raises:
          ImportError: jinja2 is not installed, which pandas needs for it; the message says how to
            install it.
        """
        table: Any = self.means().copy()
        ranks: Any = self.ranking()[list(self.metrics)].loc[table.index]
        columns = [f"{m} {ARROWS[self.directions[m]]}" for m in self.metrics]
        table.columns = ranks.columns = columns
        table.index.name = None
        try:
            styler = table.style
        except ImportError as e:
            raise ImportError(f'to_styler needs jinja2 ({e}): pip install "jaxeval[report]"') from e
        last = max(len(table), 2)

        def shade(column: Any) -> list[str]:
            own = ranks[column.name]
            best = own.min()
            return [
                ""
                if np.isnan(rank)
                else f"background-color: rgba(8, 69, 148, {0.45 * (last - rank) / (last - 1):.2f})"
                + ("; font-weight: bold" if rank == best else "")
                for rank in own
            ]

        return (
            styler.format(f"{{:.{digits}g}}", na_rep="–")
            .format_index(escape="html", axis=0)
            .format_index(escape="html", axis=1)
            .apply(shade, axis=0)
        )

    def compare(self, other: Any, alpha: float = 0.05) -> pd.DataFrame:
        """These results against others of the same samples: another model, seed or version.

        One row per (explainer, metric) that both have, paired by the samples' ids. Columns:
        explainer, metric, mean, other_mean (over samples defined in both), difference (mean minus
        other_mean), changed (the share of these samples whose scores differ by more than float32
        rounding), n, n_undefined (in one of them), n_only (samples that only one of them has),
        effect in [-1, 1] (of a signed-rank test; positive: these are better), p, p_holm (adjusted
        over all rows) and better: "this" or "other" if p_holm is below `alpha`, else "".

        Args:
          other: `Results`.
          alpha: familywise error rate over all rows.

        Raises:
          TypeError: other is no `Results`.
          ValueError: no sample, or no explainer and metric, in both; a metric whose direction
            differs; an alpha outside (0, 1); ids that occur twice.

        >>> import jaxeval as je, numpy as np
        >>> def results(scores):
        ...     outcome = je.Outcome(score=np.float32(scores))
        ...     parts = {"directions": {"m": "lower"}, "families": {"m": "f"}}
        ...     ids = np.arange(len(scores))
        ...     return je.Results({("A", "m"): outcome}, index=ids, y=ids, **parts)
        >>> row = results([1, 2, 3]).compare(results([2, 3, 4, 5])).iloc[0]
        >>> print(row["difference"], row["changed"], row["effect"], row["n"], row["n_only"])
        -1.0 1.0 1.0 3 1
        """
        import pandas as pd

        if not isinstance(other, Exports):
            raise TypeError(f"compare takes other results, got {type(other).__name__}")
        if not 0 < alpha < 1:
            raise ValueError(f"alpha must lie between 0 and 1, got {alpha!r}")
        for name, ids in (("these", self.index), ("the other", other.index)):
            if len(np.unique(ids)) < len(ids):
                raise ValueError(
                    f"{name} results have ids that occur twice: samples cannot be paired"
                )
        _, mine, theirs = np.intersect1d(self.index, other.index, return_indices=True)
        if not len(mine):
            raise ValueError("the results have no sample in common: give evaluate(index=) the ids")
        n_only = len(self.index) + len(other.index) - 2 * len(mine)
        rows = []
        for cell in self.outcomes:
            if cell not in other.outcomes:
                continue
            metric = cell[1]
            direction = self.directions[metric]
            if other.directions[metric] != direction:
                raise ValueError(
                    f"the direction of {metric!r} is {direction!r} here, and "
                    f"{other.directions[metric]!r} in the other results"
                )
            a, b = self._scores_of(cell)[mine], other._scores_of(cell)[theirs]
            pair = signed_rank(a, b, direction, tolerance=ROUNDING)
            both = ~(np.isnan(a) | np.isnan(b))
            means = [float(v[both].mean()) if pair.n else np.nan for v in (a, b)]
            rows.append(
                {
                    "explainer": cell[0],
                    "metric": metric,
                    "mean": means[0],
                    "other_mean": means[1],
                    "difference": means[0] - means[1],
                    "changed": 1 - pair.n_zero / pair.n if pair.n else np.nan,
                    "n": pair.n,
                    "n_undefined": pair.n_undefined,
                    "n_only": n_only,
                    "effect": pair.effect,
                    "p": pair.p,
                }
            )
        if not rows:
            raise ValueError("the results have no explainer and metric in common")
        frame = pd.DataFrame(rows)
        frame["p_holm"] = holm(frame["p"].to_numpy(float))
        better = np.where(frame["effect"] > 0, "this", "other")
        frame["better"] = np.where(frame["p_holm"] < alpha, better, "")
        return frame

    def _scores_of(self, cell: tuple[str, str]) -> np.ndarray:
        """Scores [N], NaN where undefined or missing."""
        scores = np.full(len(self.index), np.nan)
        found = self.outcomes[cell].score
        scores[: len(found)] = found
        return scores

    if TYPE_CHECKING:  # provided by `Results`
        y: np.ndarray
        asked: Any

        @property
        def curves(self) -> dict[tuple[str, str], np.ndarray]: ...
        @property
        def points(self) -> dict[str, tuple[str, ...]]: ...
        def ranking(self, mixed_features: bool = False) -> pd.DataFrame: ...
