"""What a meta-evaluation asks: the clean scores, and those under each perturbation."""

from __future__ import annotations

import dataclasses
import functools
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..api import evaluate_job
from ..engine.explainers import Attributor, Stored
from ..engine.job import Job
from ..engine.plan import countable, specify
from ..engine.shapes import features_of
from ..metric import Metric, own_limit
from ..results import Results
from ..trace.params import trained
from ..types import Answer, Outcome, Sample, pytree, static
from .perturbations import KINDS, InputNoise, MapNoise, MetaTest, ModelNoise

OBSERVED = "(class and map)"
"""The name of `Observed` among the metrics."""
SEEDS = ("fresh", "common", "both")
MOST_MAPS = 2**30
"""Bytes of maps that are scored in one call; at least the maps of one perturbation are."""


@pytree
class Observed(Metric):
    """No metric: the predicted class as the score, and the map as the curve if `maps`."""

    family = "complexity"
    direction = "higher"
    asks = frozenset({"output"})
    takes_padding = True

    normalise: str | None = static(None)
    maps: bool = static(False)

    def reduce(self, sample: Sample, reference: Answer, measured: Any, valid: Any) -> Outcome:
        predicted = reference.predicted.astype(jnp.float32)
        return Outcome(score=predicted, curve=sample.a.ravel() if self.maps else None)


class Unit(NamedTuple):
    """One perturbation of one kind of a test; `CLEAN` is none.

    `kind` is "minor", "disruptive", "levels", or "common": a minor one with the seeds of the clean
    scores.
    """

    test: str
    kind: str
    p: int

    @property
    def key(self) -> str:
        return f"{self.test}-{self.kind}-p{self.p:03d}" if self.test else "clean"


CLEAN = Unit("", "clean", 0)


def kinds_of(test: MetaTest, seeds: str) -> tuple[str, ...]:
    """The kinds of units of a test."""
    return (*test.kinds, "common") if seeds == "both" and "minor" in test.kinds else test.kinds


def units(tests: Mapping[str, MetaTest], n_perturbations: int, seeds: str) -> list[Unit]:
    """All units but the clean one."""
    return [
        Unit(name, kind, p)
        for name, test in tests.items()
        for kind in kinds_of(test, seeds)
        for p in range(n_perturbations)
    ]


def unmoved(test: MetaTest, metric: Metric) -> str:
    """Why a test cannot tell anything about a metric; "" if it can."""
    if isinstance(test, MapNoise) and "attribution" in metric.asks:
        return "it compares the map with maps made anew, which have no such noise"
    if isinstance(test, InputNoise) and test.maps == "kept" and blind(metric):
        return "it scores the map alone, which the test keeps"
    return ""


def blind(metric: Metric) -> bool:
    """Whether a metric asks the model nothing. (It may still read x: see `Asked.frozen`.)"""
    return metric.questions() is None and not metric.asks


def check_tests(job: Job, tests: Mapping[str, MetaTest], n_perturbations: int) -> None:
    """Check that the tests can perturb this model, its inputs and these explainers' maps.

    Raises:
      ValueError, TypeError: one cannot; the message names it and says what to do.
    """
    for name, metric in job.metrics.items():
        limit = own_limit(metric)
        if limit is not None and limit.per != "sample":
            raise ValueError(
                f"metric {name!r}: tests compare the scores of single samples, of which "
                f"Tolerance(per={limit.per!r}) says little: give one per sample"
            )
    for name, test in tests.items():
        if not isinstance(test, MetaTest):
            raise TypeError(
                f"test {name!r} must be a jaxeval.ModelNoise, InputNoise or MapNoise, got "
                f"{type(test).__name__}"
            )
        for part, n in test.n_given().items():
            if n != n_perturbations:
                raise ValueError(
                    f"draws{part} of test {name!r} hold {n} perturbations: give "
                    f"{n_perturbations}, or n_perturbations={n}"
                )
        if isinstance(test, ModelNoise):
            _check_model(job, name, test)
        if test.re_explains:
            _check_explainers(job, name, test)
        if isinstance(test, InputNoise):
            if job.model.tokens is not None:
                raise ValueError(
                    f"test {name!r} adds noise to real-valued inputs, and this model reads token "
                    "ids: leave it out, tests=[je.ModelNoise(), je.MapNoise()], or give what "
                    "jaxeval.embedded(model, ids, inputs) returns"
                )
            test.check_draws(job.data.x)
        if isinstance(test, MapNoise):
            known = {e: a.features for e, a in job.attributors.items() if a.features is not None}
            test.check_draws(known, job.n)


def _check_model(job: Job, name: str, test: ModelNoise) -> None:
    if job.model.host:
        raise ValueError(
            f"test {name!r} changes the model's parameters, which a host model does not show: "
            "leave it out, tests=[je.InputNoise(), je.MapNoise()]"
        )
    if not trained(job.model):
        raise ValueError(
            f"test {name!r} changes the model's parameters, but this model has none: give "
            "jaxeval.Model(apply, params), or leave the test out"
        )
    test.check_draws(job.model)


def _check_explainers(job: Job, name: str, test: MetaTest) -> None:
    changed = "models" if isinstance(test, ModelNoise) else "inputs"
    for e, attributor in job.attributors.items():
        if attributor.explainer is None:
            raise ValueError(
                f"test {name!r} explains changed {changed}, but explainer {e!r} is an array of "
                "attributions: give the explainer itself, or leave the test out"
            )
        if isinstance(test, ModelNoise) and attributor.on_host:
            raise ValueError(
                f"test {name!r} changes the model's parameters, but explainer {e!r} is a host "
                "callable, which may go on explaining the unchanged model: give a traceable "
                "explainer, or leave the test out"
            )


class Asked:
    """Scores the clean samples of a job, and the same under perturbations.

    Args:
      job: of the samples, whose metrics include `OBSERVED`.
      tests: {name: test}.
      seeds: "fresh": metrics and explainers draw anew for each perturbation; "common": they draw as
        for the clean samples.
      stride: what is added to the samples' ids for the next perturbation's draws: more than any id.
    """

    def __init__(self, job: Job, tests: Mapping[str, MetaTest], seeds: str, stride: int):
        self.job, self.tests, self.seeds, self.stride = job, dict(tests), seeds, stride
        self.root = jax.random.fold_in(job.options.key, 2)

    @functools.cached_property
    def keeps_maps(self) -> bool:
        """Whether a test scores maps of the clean samples again."""
        return any(not test.re_explains for test in self.tests.values())

    @functools.cached_property
    def clean(self) -> Results:
        """The clean scores."""
        return evaluate_job(self._with(Observed(maps=self.keeps_maps)))

    def _with(self, observed: Observed) -> Job:
        bound = dataclasses.replace(self.job.metrics[OBSERVED], maps=observed.maps)  # type: ignore
        return dataclasses.replace(self.job, metrics={**self.job.metrics, OBSERVED: bound})

    @functools.cached_property
    def maps(self) -> dict[str, np.ndarray]:
        """{explainer: maps of the clean samples [n, ...]}."""
        shapes = self.clean.settings["features"]
        found = self.clean
        if not self.keeps_maps:
            noted = self._with(Observed(maps=True))
            found = evaluate_job(
                dataclasses.replace(noted, metrics={OBSERVED: noted.metrics[OBSERVED]})
            )
        curves = {e: o.curve for (e, m), o in found.outcomes.items() if m == OBSERVED}
        return {e: np.asarray(v).reshape(len(v), *shapes[e]) for e, v in curves.items()}

    def __call__(self, unit: Unit) -> Results:
        """The scores under one perturbation.

        Those of `MapNoise` are under the explainers' names with `at_level`.
        """
        if unit == CLEAN:
            return self.clean
        return next(self._asked([unit]))[1]

    def all(self, n_perturbations: int) -> Iterator[tuple[list[Unit], Results]]:
        """(units, their scores) of all units, several of `MapNoise` at a time."""
        waiting = units(self.tests, n_perturbations, self.seeds)
        size = sum(v.nbytes for v in self.maps.values()) if self.keeps_maps else 0
        while waiting:
            first, many = waiting[0], 1
            if first.kind == "levels":
                levels = len(self.tests[first.test].levels)  # type: ignore[attr-defined]
                many = max(1, MOST_MAPS // (size * levels))
            together = [u for u in waiting[:many] if u[:2] == first[:2]]
            yield from self._asked(together)
            waiting = waiting[len(together) :]

    def _asked(self, together: Sequence[Unit]) -> Iterator[tuple[list[Unit], Results]]:
        job = self._perturbed(together)
        with warnings.catch_warnings():
            # Scores that are undefined under a perturbation are counted in the table.
            warnings.simplefilter("ignore", UserWarning)
            yield list(together), evaluate_job(job)

    def _perturbed(self, together: Sequence[Unit]) -> Job:
        """The job of units of one test and kind."""
        first = together[0]
        test, job = self.tests[first.test], self.job
        metrics = {m: v for m, v in job.metrics.items() if not unmoved(test, v) or blind(v)}
        ids = job.data.index
        if first.kind in KINDS and self.seeds != "common":
            ids = fresh(ids, self.stride, first.p)
        # A batch size chosen anew might differ, and compile new programs.
        options = dataclasses.replace(
            job.options, batch_size=job.options.batch_size or self.clean.settings["batch_size"]
        )
        data = dataclasses.replace(job.data, y=self.clean.y.astype(np.int32), index=ids)
        kind = "minor" if first.kind == "common" else first.kind
        job = dataclasses.replace(job, metrics=metrics, data=data, options=options)
        if isinstance(test, ModelNoise):
            model = test.model(job.model, jax.random.fold_in(self.root, 0), kind, first.p)
            return dataclasses.replace(job, model=model)
        if isinstance(test, InputNoise):
            own, key = self.job.data.index, jax.random.fold_in(self.root, 1)
            x = test.inputs(data.x, specify(job)[0], key, own, kind, first.p)
            job = dataclasses.replace(job, data=dataclasses.replace(data, x=x))
            return (
                job if test.re_explains else dataclasses.replace(job, attributors=self.kept_maps())
            )
        assert isinstance(test, MapNoise)
        # The classes are those of the clean samples.
        scored = {m: v for m, v in metrics.items() if m != OBSERVED}
        noisy = self._noisy_maps(test, together)
        return dataclasses.replace(job, attributors=noisy, metrics=scored or metrics)

    def kept_maps(self) -> dict[str, Attributor]:
        """Explainers whose maps of the samples are those of the clean ones."""
        return {
            e: Stored(e, self.maps[e], a.then if isinstance(a, Stored) else a)
            for e, a in self.job.attributors.items()
        }

    def _noisy_maps(self, test: MapNoise, together: Sequence[Unit]) -> dict[str, Attributor]:
        """The blended maps as explainers; without noise, one map serves all perturbations."""
        found: dict[str, Attributor] = {}
        key, ids = jax.random.fold_in(self.root, 2), self.job.data.index
        valid, spec = specify(self.job)
        valid = countable(self.job, valid)
        for e, maps in self.maps.items():
            counts = None
            if valid is not None:
                own = dataclasses.replace(spec, features=maps.shape[1:])
                counts = features_of(valid, own).reshape(len(maps), -1)
            for unit in together:
                order = test.permutations(e, maps.shape[1:], key, ids, unit.p, counts)
                for i, level in enumerate(test.levels):
                    name = at_level(e, i, unit.p if level else None)
                    if name not in found:
                        found[name] = Stored(name, test.blended(maps, order, level, counts))
        return found


def fresh(ids: np.ndarray, stride: int, p: int) -> np.ndarray:
    """The ids from which metrics and explainers draw under perturbation p: id + stride (1 + p)."""
    return (ids.astype(np.uint64) + np.uint64(stride * (1 + p))).astype(np.uint32)


def at_level(explainer: str, level: int, p: int | None) -> str:
    """The name of an explainer's maps at the i-th level of noise, of perturbation p."""
    return f"{explainer} (level {level}" + ("" if p is None else f", p{p:03d}") + ")"


def predicted(results: Results) -> np.ndarray:
    """The predicted classes [n]; NaN where the outputs are NaN, or the maps of all explainers."""
    found = np.full(len(results.index), np.nan)
    for (_, m), outcome in results.outcomes.items():
        if m == OBSERVED:
            found = np.where(np.isnan(found), outcome.score, found)
    return found


def scores_of(results: Results, metric: str, explainers: Sequence[str]) -> np.ndarray:
    """The scores [L, n] of one metric."""
    return np.stack([results.outcomes[e, metric].score for e in explainers])
