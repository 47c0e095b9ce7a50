"""`MetaResults`: the scores of metrics under perturbations, and what they say of the metrics."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..check import did_you_mean
from ..results.parts import plain
from ..results.stats import ARROWS, resamples
from ..shown import card, count
from .alpha import _alpha, midranks
from .compared import mean_of, once
from .measures import MEASURES, RANKABLE, Tested, counts_of, measures_of

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False, repr=False)
class MetaResults:
    """The result of `meta_evaluate`. L explainers, N samples, P perturbations, T levels.

    Args:
      explainers: their names.
      directions: metric -> "higher" or "lower", which is better; controls included.
      families: metric -> family; "control" for controls.
      tests: test -> its class and settings, as plain data.
      clean: metric -> clean scores [L, N].
      scores: (metric, test, kind) -> scores [P, L, N]; kind is "minor", "disruptive" or "common"
        (minor, with the seeds of the clean scores); or "levels": [P, T, L, N].
      predicted: (test, kind) -> predicted classes [P, N] under the perturbation, NaN if unknown;
        ("", "clean") -> [1, N]. Empty for a model of plain values, which predicts no class: then
        all samples count.
      index, y: ids of the samples [N], and the classes that are explained.
      groups: the number of groups of perturbations.
      reasons: (metric, test) -> why the test says nothing about the metric.
      asked: the evaluations of the model, as `Results.asked`: "output", "attribution", "hidden";
        "tests": the same by test; "noise tests": the clean scores and those of `ModelNoise` and
        `InputNoise`; "metaquantus": what MetaQuantus' procedure asks for these.
      settings: how it was computed.
      setup: what was asked, for `retest`; not saved.
    """

    explainers: tuple[str, ...]
    directions: Mapping[str, str]
    families: Mapping[str, str]
    tests: Mapping[str, Any]
    clean: Mapping[str, np.ndarray]
    scores: Mapping[tuple[str, str, str], np.ndarray]
    predicted: Mapping[tuple[str, str], np.ndarray]
    index: np.ndarray
    y: np.ndarray
    groups: int
    reasons: Mapping[tuple[str, str], str] = field(default_factory=dict)
    asked: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    setup: Any = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "asked", plain(self.asked))
        object.__setattr__(self, "settings", plain(self.settings))

    @property
    def metrics(self) -> tuple[str, ...]:
        """The names of the metrics, controls last."""
        return tuple(self.directions)

    @property
    def controls(self) -> tuple[str, ...]:
        """The names of the controls."""
        return tuple(m for m in self.metrics if self.families[m] == "control")

    @property
    def kept(self) -> dict[tuple[str, str], np.ndarray]:
        """(test, kind) -> which samples keep their predicted class, bool [P, N]."""
        first = self.predicted.get(("", "clean"))
        return {k: v == first for k, v in self.predicted.items() if k[0]}

    @property
    def changed(self) -> dict[tuple[str, str], np.ndarray]:
        """(test, kind) -> which samples change their predicted class, bool [P, N]."""
        first = self.predicted.get(("", "clean"))
        return {
            k: (v != first) & ~np.isnan(v) & ~np.isnan(first)
            for k, v in self.predicted.items()
            if k[0] and first is not None
        }

    def tested(self, metric: str, test: str) -> Tested:
        """The scores of one metric under one test.

        Raises:
          KeyError: an unknown name; the message lists the known ones.
        """
        for what, name, known in (("metric", metric, self.metrics), ("test", test, self.tests)):
            if name not in known:
                raise KeyError(f"no {what} {name!r}; there are {', '.join(map(repr, known))}")
        found = {k: v for (m, t, k), v in self.scores.items() if (m, t) == (metric, test)}
        shape = {k: (len(v), v.shape[-1]) for k, v in found.items()}
        kept, changed = self.kept, self.changed

        def used(samples: Mapping[Any, np.ndarray], kind: str) -> Any:
            if kind not in found:
                return None
            return samples.get((test, kind), np.ones(shape[kind], bool))

        return Tested(
            self.directions[metric],
            self.groups,
            self.clean[metric],
            minor=found.get("minor"),
            kept=used(kept, "minor"),
            disruptive=found.get("disruptive"),
            changed=used(changed, "disruptive"),
            common=found.get("common"),
            kept_common=used(kept, "common"),
            levels=self.levels(test),
            noisy=found.get("levels"),
        )

    def levels(self, test: str) -> tuple[float, ...] | None:
        """The levels of noise of a `MapNoise`; None for other tests."""
        levels = self.tests[test].get("levels")
        return None if levels is None else tuple(levels)

    # -- what it says ------------------------------------------------------------------------------

    def table(self) -> pd.DataFrame:
        """One row per metric and test, with all measures; see docs/meta.md.

        Columns: metric, test, family, direction, control; IAC_NR, IAC_AR, IEC_NR, IEC_AR, MC,
        MC_std (the criteria of MetaQuantus); tau, agree, effect (of minor perturbations), react,
        abs_react, noise, recovery, alpha; n_minor and n_disruptive, the samples that count per
        perturbation; n_undefined, the undefined scores; reason, why the test says nothing about the
        metric, or why a measure is NaN.
        """
        import pandas as pd

        return pd.DataFrame(self._rows)

    @functools.cached_property
    def _rows(self) -> list[dict[str, Any]]:
        """The rows of the table."""
        rows = []
        for metric in self.metrics:
            scores = self.clean[metric]
            alpha = _alpha(midranks(scores), once(scores.shape[1]))[0]
            for test in self.tests:
                tested, reason = self.tested(metric, test), self.reasons.get((metric, test), "")
                found = {} if reason else measures_of(tested, once(scores.shape[1]))
                values = {m: float(found[m][0]) if m in found else np.nan for m in MEASURES}
                values["alpha"] = float(alpha)
                counts = counts_of(tested)
                rows.append(
                    {
                        "metric": metric,
                        "test": test,
                        "family": self.families[metric],
                        "direction": self.directions[metric],
                        "control": metric in self.controls,
                        **values,
                        **counts,
                        "reason": reason or self._why(counts),
                    }
                )
        return rows

    def _why(self, counts: Mapping[str, float]) -> str:
        if counts["n_disruptive"] == 0:
            return "no disruptive perturbation changed a class"
        return "no minor perturbation kept a class" if counts["n_minor"] == 0 else ""

    def means(self) -> pd.DataFrame:
        """The measures of each metric, averaged over the tests that define them (MC: MC-bar)."""
        import pandas as pd

        rows = {m: self._over_tests(m, once(len(self.index)), MEASURES) for m in self.metrics}
        frame = {m: {name: v[0] for name, v in found.items()} for m, found in rows.items()}
        table = pd.DataFrame.from_dict(frame, orient="index").reindex(columns=list(MEASURES))
        return table.rename_axis("metric")

    def _over_tests(
        self, metric: str, weights: np.ndarray, wanted: tuple[str, ...]
    ) -> dict[str, np.ndarray]:
        """{measure: its mean over tests [B]}."""
        tests = [t for t in self.tests if (metric, t) not in self.reasons]
        each = [measures_of(self.tested(metric, t), weights, wanted) for t in tests]
        none = np.full(len(weights), np.nan)
        found = {m: mean_of(np.stack([e.get(m, none) for e in each] or [none]), 0) for m in wanted}
        if "alpha" in wanted:
            found["alpha"] = _alpha(midranks(self.clean[metric]), weights)
        return found

    def ranking(
        self,
        by: str = "MC",
        confidence: float = 0.95,
        n_bootstrap: int = 1000,
        seed: int = 0,
    ) -> pd.DataFrame:
        """Metrics by one measure, averaged over tests, the best first.

        Columns: rank, value, ci_low and ci_high (percentile bootstrap over the samples; all metrics
        share the resamples), control, not_better_than: the controls whose measure is not exceeded,
        as the interval of the paired difference reaches 0. Such a metric has shown nothing.
        Intervals of MC and IAC lie low, as samples that occur twice make p-values smaller.

        Args:
          by: one of `RANKABLE`: "MC", its parts, "tau", "agree", "react",
            "abs_react", "recovery", "alpha".
          confidence: coverage of the intervals.
          n_bootstrap: number of resamples.
          seed: random seed of the resampling.

        Raises:
          ValueError: an unknown measure, or numbers out of range.
        """
        import pandas as pd

        if by not in RANKABLE:
            raise ValueError(
                f"by={by!r}: must be one of {', '.join(map(repr, RANKABLE))}"
                f"{did_you_mean(by, RANKABLE)}"
            )
        if not 0 < confidence < 1:
            raise ValueError(f"confidence must lie between 0 and 1, got {confidence!r}")
        if n_bootstrap < 1:
            raise ValueError(f"n_bootstrap must be at least 1, got {n_bootstrap!r}")
        n = len(self.index)
        values = {m: self._over_tests(m, once(n), (by,))[by][0] for m in self.metrics}
        drawn: dict[str, list[np.ndarray]] = {m: [] for m in self.metrics}
        for weights in resamples(n, n_bootstrap, seed):
            for m in self.metrics:
                drawn[m].append(self._over_tests(m, weights, (by,))[by])
        resampled = {m: np.concatenate(v) for m, v in drawn.items()}
        edges = [(1 - confidence) / 2, (1 + confidence) / 2]
        rows = []
        for m in self.metrics:
            low, high = _quantiles(resampled[m], edges)
            equal = [
                c
                for c in self.controls
                if c != m
                and not _quantiles(resampled[m] - resampled[c], edges)[0] > 0
                # A control without a value has not been exceeded, and not been met either.
                and not np.isnan(values[c])
            ]
            defined = not np.isnan(values[m])
            rows.append((values[m], low, high, m in self.controls, ", ".join(equal) * defined))
        table = pd.DataFrame(
            rows,
            index=pd.Index(self.metrics, name="metric"),
            columns=["value", "ci_low", "ci_high", "control", "not_better_than"],
        )
        table.insert(0, "rank", table["value"].rank(ascending=False, method="average"))
        return table.sort_values("rank", kind="stable", na_position="last")

    def retest(
        self,
        draws: Sequence[float] = (0.125, 0.25, 0.5, 1.0, 2.0),
        repeats: int = 4,
        reliability: float = 0.9,
        metrics: Sequence[str] | None = None,
        progress: bool = True,
    ) -> pd.DataFrame:
        """How many random draws does each metric need here? See `jaxeval.meta.retest`."""
        from .retest import retest

        return retest(self, draws, repeats, reliability, metrics, progress)

    # -- files and text ----------------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write everything but `setup` to one Parquet file, atomically, and return its path.

        One row per score: metric, test, kind, perturbation, level, explainer, sample, score.
        """
        from .store import write

        return write(self, Path(path))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> MetaResults:
        """Load what `save` wrote.

        Raises:
          FileNotFoundError: there is no such file.
          ValueError: it was not written by `save`.
        """
        from .store import read

        return cls(**read(Path(path)))

    def report(self, path: str | os.PathLike[str], **given: Any) -> Path:
        """Write a self-contained HTML page, and return its path.

        Arguments are those of `jaxeval.report.write_meta`. Needs
        ``pip install "jaxeval[report]"``.
        """
        from ..report import write_meta

        return write_meta(self, path, **given)

    @property
    def headline(self) -> str:
        """One line: the numbers of metrics, explainers, tests, perturbations and samples."""
        n = max((len(v) for v in self.scores.values()), default=0)
        return "MetaResults: " + " x ".join(
            (
                count(len(self.metrics) - len(self.controls), "metric"),
                count(len(self.explainers), "explainer"),
                count(len(self.tests), "test"),
                f"{count(n, 'perturbation')} of each kind, {count(len(self.index), 'sample')}",
            )
        )

    def __repr__(self) -> str:
        shown = self._shown().to_string(na_rep="–")
        return f"{self.headline}\nmeans over tests\n{shown}"

    def _repr_html_(self) -> str:
        table = self._shown()
        rows = [
            (name, *("–" if np.isnan(v) else f"{v:.2f}" for v in values))
            for name, *values in table.itertuples()
        ]
        return card(f"{self.headline}; means over tests", rows, ("metric", *table.columns))

    def _shown(self) -> pd.DataFrame:
        """The means over tests that are printed."""
        shown = ["MC", "MC_std", "tau", "agree", "react", "recovery", "alpha"]
        table: Any = self.means()[shown]
        table.index = [f"{m} {ARROWS[self.directions[m]]}" for m in self.metrics]
        return table.round(2)


def _quantiles(values: np.ndarray, edges: list[float]) -> tuple[float, float]:
    """Quantiles of the defined values; NaN if there are fewer than two."""
    values = values[~np.isnan(values)]
    if len(values) < 2:
        return np.nan, np.nan
    low, high = np.quantile(values, edges)
    return float(low), float(high)
