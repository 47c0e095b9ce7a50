"""How much the settings of metrics change scores and the ranks of explainers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from . import stability
from .compare import LEVELS, ROUNDING, Comparisons
from .stats import mean_and_std, row_ranks

if TYPE_CHECKING:
    import pandas as pd


class SettingComparisons(Comparisons):
    """Statistics over the settings of a metric; a part of `Results`."""

    def rank_stability(
        self,
        groups: Mapping[str, Sequence[str]] | None = None,
        level: str = "mean",
        mixed_features: bool = False,
    ) -> pd.DataFrame:
        """How often each explainer holds each rank over the settings of a metric.

        Rows (group, explainer). Columns 1, 2, …: the share of rankings in which the explainer
        holds that rank, among those that rank it (ties share their ranks evenly, so rows sum to
        1); mean rank; std (ddof 1); n, the number of rankings; n_undefined, the number without a
        rank for it. If the settings of a metric do not matter, all shares are 0 or 1.

        Args:
          groups: name -> metrics that are settings of the same metric; default: metrics of the
            same class (`settings["metrics"]`), if there are at least two.
          level: "mean": one ranking per setting, by mean score; "sample": one per setting and
            sample.
          mixed_features: whether to include explainers whose maps have other features than most.

        Raises:
          ValueError: no metric with several settings, an unknown metric or level.
        """
        import pandas as pd

        if level not in LEVELS:
            raise ValueError(f'level must be "sample" or "mean", got {level!r}')
        parts, alike = [], self._alike(mixed_features)
        for group, names in self._groups(groups).items():
            ranks = alike._ranks(names, level)
            shares = stability.rank_shares(ranks)
            mean, std, n = mean_and_std(ranks.T)
            part = pd.DataFrame(shares, columns=range(1, len(shares) + 1))
            part["mean rank"], part["std"] = mean, std
            part["n"], part["n_undefined"] = n, ranks.shape[1] - n
            part.index = pd.MultiIndex.from_product(
                [[group], alike.explainers], names=["metric", "explainer"]
            )
            parts.append(part)
        return pd.concat(parts)

    def _ranks(self, metrics: Sequence[str], level: str) -> np.ndarray:
        """Ranks [E, rankings], 1 for the best."""
        if level == "mean":
            means = self.means()[list(metrics)].to_numpy() * self._signs(metrics)
            return row_ranks(-means.T, ROUNDING).T
        scores = np.moveaxis(self._cube(metrics) * self._signs(metrics), 1, -1)
        return row_ranks(-scores, ROUNDING).reshape(-1, len(self.explainers)).T

    def _groups(self, groups: Mapping[str, Sequence[str]] | None) -> dict[str, list[str]]:
        found = (
            stability.groups_of(self.metrics, self.settings)
            if groups is None
            else {name: self._chosen(metrics) for name, metrics in groups.items()}
        )
        if not found:
            raise ValueError(
                "no metric has several settings: evaluate it under several names, or give "
                "groups={name: [metrics]} to say which metrics belong together"
            )
        return found

    def sensitivity(
        self,
        per: str = "parameter",
        groups: Mapping[str, Sequence[str]] | None = None,
        mixed_features: bool = False,
    ) -> pd.DataFrame:
        """How much scores and rankings change with each parameter of a metric.

        per="parameter": one row per metric class and varying parameter, over all pairs of settings
        that differ in this parameter only. Columns: n_values, n_pairs; score_change, the mean
        absolute difference of an explainer's mean score, in the unit of the metric; score_share,
        the share of the variance of an explainer's scores over all settings that lies between
        values of the parameter (eta squared, mean over explainers; 1 if nothing else matters);
        kendall_tau between the rankings (1: no change); reversals, the share of pairs of
        explainers that swap; first_changes, the share of pairs of settings with different best
        explainers.

        per="value": one row per metric class, parameter and value. Columns: n_settings; mean, the
        mean score over explainers and settings; change, mean minus the mean over all values;
        kendall_tau and rank_change (mean absolute difference) between mean ranks with this value
        and over all settings; first, the best explainers. On a full grid the other parameters take
        the same values for each value.

        Values are JSON text. Undefined scores are left out of means; a mean of nothing is NaN.

        Args:
          per: "parameter" or "value".
          groups, mixed_features: as for `rank_stability`.

        Raises:
          ValueError: no metric with several settings, or an unknown `per`.
        """
        import pandas as pd

        if per not in ("parameter", "value"):
            raise ValueError(f'per must be "parameter" or "value", got {per!r}')
        described = self.settings.get("metrics", {})
        rows, alike = [], self._alike(mixed_features)
        for group, names in self._groups(groups).items():
            own = {m: stability.fields_of(described.get(m)) for m in names}
            means, ranks = alike.means()[names].to_numpy(), alike._ranks(names, "mean")
            changing = stability.varied(own)
            settings = [{p: own[m].get(p, "–") for p in changing} for m in names]
            for parameter, values in changing.items():
                key = {"metric": group, "parameter": parameter}
                if per == "parameter":
                    found = stability.by_parameter(means, ranks, settings, parameter)
                    rows.append({**key, **found})
                    continue
                has = [s[parameter] for s in settings]
                for value in values:
                    found = stability.by_value(means, ranks, alike.explainers, has, value)
                    rows.append({**key, "value": value, **found})
        return pd.DataFrame(rows)
