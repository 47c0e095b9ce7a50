"""Statistics of results: which explainers differ, and whether metrics agree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .agreement import kendalls_w, mean_spearman
from .features import Features
from .friedman import Friedman, compared
from .paired import holm, signed_rank

if TYPE_CHECKING:
    import pandas as pd

ROUNDING = 1e-6
"""float32 scores that differ by less than this share of the largest magnitude tie."""

LEVELS = ("sample", "mean")
OVER = ("explainers", "samples", "means")


class Comparisons(Features):
    """Statistics over explainers and metrics; a part of `Results`.

    The sample is the unit of observation; undefined scores are left out and counted. Scores of a
    sample, and mean scores, tie if they differ by no more than float32 rounding (1e-6 of the
    largest magnitude among them; see `row_ranks`). Only explainers whose maps have the same
    features (`Results.feature_groups`) are compared: others are left out with a warning, unless
    ``mixed_features=True``.
    """

    if TYPE_CHECKING:  # provided by `Results`
        directions: Mapping[str, str]
        families: Mapping[str, str]
        settings: Mapping[str, Any]
        outcomes: Mapping[tuple[str, str], Any]
        index: np.ndarray

        @property
        def explainers(self) -> tuple[str, ...]: ...
        @property
        def metrics(self) -> tuple[str, ...]: ...
        def means(self) -> pd.DataFrame: ...

    def _cube(self, metrics: Sequence[str] | None = None) -> np.ndarray:
        """Scores [N, E, M], NaN where undefined or missing."""
        metrics = list(self.metrics if metrics is None else metrics)
        cube = np.full((len(self.index), len(self.explainers), len(metrics)), np.nan)
        for i, explainer in enumerate(self.explainers):
            for j, metric in enumerate(metrics):
                if (outcome := self.outcomes.get((explainer, metric))) is not None:
                    cube[: len(outcome.score), i, j] = outcome.score
        return cube

    def _signs(self, metrics: Sequence[str]) -> np.ndarray:
        """1 if higher is better, -1 if lower is."""
        return np.array([1.0 if self.directions[m] == "higher" else -1.0 for m in metrics])

    def _chosen(self, metrics: str | Sequence[str] | None) -> list[str]:
        chosen = [metrics] if isinstance(metrics, str) else list(metrics or self.metrics)
        if missing := [m for m in chosen if m not in self.directions]:
            known = ", ".join(map(repr, self.metrics))
            raise ValueError(f"no metric {missing[0]!r}; there are {known}")
        return chosen

    def decided(self, metric: str) -> pd.DataFrame:
        """What a ranking to a tolerance knows of each two explainers.

        1: that of the row is better, -1: that of the column is; 0: their means differ by no more
        than the tolerance; NaN: not known. With the confidence asked for, all of a metric's entries
        are right, about other samples like these, too.

        Raises:
          ValueError: the results are of no ``evaluate(..., per="ranking")``.
        """
        import pandas as pd

        (metric,) = self._chosen(metric)
        found = self.settings.get("decided") or {}
        if metric not in found:
            raise ValueError(
                f"no ranking of {metric!r} was asked for: give evaluate(..., tolerance=0.02, "
                'per="ranking"), or compare all scores by wilcoxon()'
            )
        names, rows = found[metric]["explainers"], found[metric]["better"]
        values = [[np.nan if v is None else float(v) for v in row] for row in rows]
        return pd.DataFrame(values, index=names, columns=names)

    def wilcoxon(
        self,
        metric: str | Sequence[str] | None = None,
        alpha: float = 0.05,
        zeros: str = "wilcox",
        mixed_features: bool = False,
    ) -> pd.DataFrame:
        """Which of two explainers is better: paired signed-rank tests, per metric.

        One row per metric and pair of explainers (a, b). Columns: those of `paired.Paired` (n,
        n_undefined, n_zero, advantage, effect, statistic, p; positive: a is better); p_holm,
        adjusted over the pairs of the metric (Holm 1979); and better, the name of the better
        explainer if p_holm is below `alpha`, else "".

        Args:
          metric: one or several names; default: all.
          alpha: familywise error rate over the pairs of a metric.
          zeros: how to treat samples without a difference: "wilcox" leaves them out, "pratt"
            includes them in the ranking.
          mixed_features: whether to include pairs whose maps have different features.

        Raises:
          ValueError: an unknown metric, an alpha outside (0, 1), an unknown treatment of zeros.

        Reference: Wilcoxon 1945; Holm 1979; Demšar 2006.
        """
        import pandas as pd

        if not 0 < alpha < 1:
            raise ValueError(f"alpha must lie between 0 and 1, got {alpha!r}")
        names = self.explainers
        group = dict.fromkeys(names, 0)
        if not mixed_features and len(groups := self.feature_groups()) > 1:
            group = {e: i for i, own in enumerate(groups) for e in own}
            self._warn_of_mixture("pairs of them are left out")
        frames = []
        for m in self._chosen(metric):
            scores = self._cube([m])[..., 0]
            rows = []
            for i in range(len(names)):
                for j in range(i + 1, len(names)):
                    if group[names[i]] != group[names[j]]:
                        continue
                    pair = signed_rank(
                        scores[:, i], scores[:, j], self.directions[m], zeros, ROUNDING
                    )
                    rows.append({"metric": m, "a": names[i], "b": names[j], **pair._asdict()})
            frame = pd.DataFrame(rows, columns=_PAIRED)
            frame["p_holm"] = holm(frame["p"].to_numpy(float))
            won = np.where(frame["effect"] > 0, frame["a"], frame["b"])
            frame["better"] = np.where(frame["p_holm"] < alpha, won, "")
            frames.append(frame)
        return pd.concat(frames, ignore_index=True)

    def friedman(
        self, metric: str | None = None, alpha: float = 0.05, mixed_features: bool = False
    ) -> Friedman:
        """Whether explainers differ, and which ones: Friedman test and Nemenyi's difference.

        With a metric, each sample ranks the explainers. Without one, each metric ranks them by
        mean score, so that explainers are compared over metrics. Blocks in which an explainer is
        undefined are left out, and an explainer without any score is not compared; the result
        lists both.

        Args:
          metric: the metric whose samples are the blocks; None: the metrics are the blocks.
          alpha: significance level of the critical difference.
          mixed_features: whether to include explainers whose maps have other features than most.

        Raises:
          ValueError: an unknown metric, fewer than two explainers that can be compared, alpha
            outside (0, 1).

        Reference: Friedman 1937; Nemenyi 1963; Demšar 2006.
        """
        chosen, alike = self._chosen(metric), self._alike(mixed_features)
        if metric is None:
            scores = alike.means().to_numpy().T * self._signs(chosen)[:, None]
        else:
            scores = alike._cube(chosen)[..., 0] * self._signs(chosen)
        return compared(
            scores,
            alike.explainers,
            metric,
            blocks=chosen if metric is None else self.index.tolist(),
            other_features=tuple(e for e in self.explainers if e not in alike.explainers),
            alpha=alpha,
            tolerance=ROUNDING,
        )

    def agreement(
        self,
        metrics: Sequence[str] | None = None,
        level: str = "mean",
        n_permutations: int = 9999,
        seed: int = 0,
        mixed_features: bool = False,
    ) -> pd.DataFrame:
        """Whether metrics rank explainers alike: Kendall's W, per family and over all metrics.

        One row per family with at least two metrics, and "all". Columns: w, statistic
        (chi-square), df, p (by permutation), n_metrics, n_explainers (explainers that every metric
        ranks; the others are left out), and n_samples.

        Args:
          metrics: names; default: all.
          level: "mean": metrics rank by mean score. "sample": they rank on each sample
            separately, and w and n_explainers are means over the n_samples samples for which W is
            defined; statistic, df and p are NaN then.
          n_permutations: number of permutations for p; 0: p from chi-square.
          seed: random seed of the permutations.
          mixed_features: whether to include explainers whose maps have other features than most.

        Raises:
          ValueError: an unknown metric or level.

        Reference: Kendall and Babington Smith 1939; Legendre 2005.
        """
        import pandas as pd

        chosen = self._chosen(metrics)
        if level not in LEVELS:
            raise ValueError(f'level must be "sample" or "mean", got {level!r}')
        families = dict.fromkeys(self.families[m] for m in chosen)
        rows = {f: [m for m in chosen if self.families[m] == f] for f in families}
        rows = {f: ms for f, ms in rows.items() if len(ms) > 1} | {"all": chosen}
        alike = self._alike(mixed_features)
        table = {
            name: alike._concordance(own, level, n_permutations, seed) for name, own in rows.items()
        }
        return pd.DataFrame.from_dict(table, orient="index").rename_axis("family")

    def _concordance(
        self, metrics: Sequence[str], level: str, n_permutations: int, seed: int
    ) -> dict[str, Any]:
        if level == "mean":
            scores = self.means()[list(metrics)].to_numpy().T * self._signs(metrics)[:, None]
            found = kendalls_w(scores, n_permutations, seed, ROUNDING)
            w, statistic, df, p, _, n_explainers = found
            n_samples = len(self.index)
        else:
            cube = np.moveaxis(self._cube(metrics) * self._signs(metrics), -1, 1)
            each = [kendalls_w(sample, 0, tolerance=ROUNDING) for sample in cube]
            each = [v for v in each if not np.isnan(v.w)]
            w, n_explainers = (
                (float(np.mean([v.w for v in each])), float(np.mean([v.n_items for v in each])))
                if each
                else (np.nan, 0)
            )
            statistic, df, p, n_samples = np.nan, np.nan, np.nan, len(each)
        return {
            "w": w,
            "statistic": statistic,
            "df": df,
            "p": p,
            "n_metrics": len(metrics),
            "n_explainers": n_explainers,
            "n_samples": n_samples,
        }

    def correlations(
        self,
        metrics: Sequence[str] | None = None,
        over: str = "explainers",
        counts: bool = False,
        mixed_features: bool = False,
    ) -> Any:
        """Spearman's rank correlation between metrics, metrics x metrics.

        Scores of "lower is better" metrics are negated, so a positive correlation means that two
        metrics agree. NaN where it is never defined (fewer than two explainers, or constant
        scores).

        Args:
          metrics: names; default: all.
          over: "explainers": over the explainers' scores on one sample, averaged over samples.
            "means": over the explainers' mean scores. "samples": over one explainer's scores on
            the samples, averaged over explainers (do metrics find the same samples hard?).
          counts: whether to return also the number of samples (1 for "means", explainers for
            "samples") that each entry is averaged over.
          mixed_features: whether to include explainers whose maps have other features than most.

        Returns:
          A data frame; with `counts`, two.

        Raises:
          ValueError: an unknown metric or kind.

        Reference: Spearman 1904; Tomsett et al. 2020, "Sanity checks for saliency metrics".
        """
        import pandas as pd

        chosen = self._chosen(metrics)
        if over not in OVER:
            raise ValueError(f"over must be one of {', '.join(map(repr, OVER))}, got {over!r}")
        signs = self._signs(chosen)
        alike = self._alike(mixed_features or over == "samples")
        if over == "means":
            scores = alike.means()[chosen].to_numpy()[None] * signs
        else:
            scores = alike._cube(chosen) * signs
            scores = np.swapaxes(scores, 0, 1) if over == "samples" else scores
        names = pd.Index(chosen, dtype="str", name="metric")
        rho, n = (
            pd.DataFrame(values, index=names, columns=names)
            # Samples are not repetitions of each other: only equal scores tie.
            for values in mean_spearman(scores, 0.0 if over == "samples" else ROUNDING)
        )
        return (rho, n) if counts else rho


_PAIRED = [
    *("metric", "a", "b", "n", "n_undefined", "n_zero"),
    *("advantage", "effect", "statistic", "p"),
]
