"""`meta_evaluate`: which metrics can be trusted on this model and these samples."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from ..by_name import explainers_by_name, metrics_by_name
from ..check import warn
from ..describe import describe
from ..engine.job import Job, named, read_job
from ..engine.options import Options
from ..engine.plan import check_job
from ..progress import Bar, NoProgress
from ..results import Results
from .asking import (
    CLEAN,
    OBSERVED,
    SEEDS,
    Asked,
    Observed,
    Unit,
    at_level,
    blind,
    check_tests,
    kinds_of,
    predicted,
    scores_of,
    units,
    unmoved,
)
from .controls import CONTROLS, control
from .perturbations import InputNoise, MapNoise, MetaTest, ModelNoise
from .results import MetaResults

ASKED = ("output", "attribution", "hidden")
FEW = 0.1
"""The share of samples that must change class under a disruptive perturbation, without a warning,
or keep it under a minor one."""


def meta_evaluate(
    model: Any,
    x: Any,
    y: Any = None,
    *,
    explainers: Any,
    metrics: Any,
    tests: Any = None,
    n_perturbations: int = 15,
    groups: int = 3,
    seeds: str = "fresh",
    controls: bool = True,
    mask: Any = None,
    padding: Any = None,
    index: Any = None,
    extras: Mapping[str, Any] | None = None,
    inputs: Mapping[str, Any] | None = None,
    features: Any = None,
    background: Any = None,
    reduce_channels: str | None = None,
    key: Any = 0,
    batch_size: int | None = None,
    mesh: Any = None,
    output: Any = None,
    outputs: str | None = None,
    precision: str = "highest",
    progress: bool = True,
) -> MetaResults:
    """How far metrics can be trusted: do their scores withstand and react to perturbations?

    Metrics score explainers on the clean samples, and again under perturbations of the model, the
    inputs and the maps. A metric should give nearly the same scores under minor perturbations, and
    worse ones under disruptive ones. The same class is explained everywhere: that predicted for the
    clean sample, or the given y. Minor perturbations are judged by the samples whose predicted
    class they keep, disruptive ones by those whose class they change.

    Each distinct question is asked once, as in `evaluate`; the perturbed models compile nothing.

    Reference: Hedström et al. 2023, "The meta-evaluation problem in explainable AI: identifying
    reliable estimators with MetaQuantus", TMLR. docs/meta.md explains the measures, and
    docs/metaquantus.md what differs from MetaQuantus.

    Args:
      tests: what is perturbed: a list of `ModelNoise`, `InputNoise` and `MapNoise`, or a dict of
        them by name. Default: one of each.
      n_perturbations: P, the number of perturbations of each kind.
      groups: G; P must be a multiple of it. MC_std is the deviation between groups.
      seeds: whence metrics and explainers draw under a perturbation. "fresh": from ids of their own
        (`id + (max id + 1) (1 + p)`), so that scores are computed anew; "common": as for the clean
        samples; "both": fresh, and minor perturbations a second time with common ones, whose
        difference is the column "noise".
      controls: whether independent random scores and constant ones stand beside the metrics.

    The other arguments are those of `evaluate`.

    Raises:
      ValueError, TypeError: invalid arguments, or a test that cannot perturb this model or these
        explainers, before anything is compiled.

    >>> import jax, jax.numpy as jnp, jaxeval as je
    >>> params = {"w": jax.random.normal(jax.random.key(0), (6, 3))}
    >>> model = je.Model(lambda p, x: x @ p["w"], params, channel_axis=None)
    >>> x = jax.random.normal(jax.random.key(1), (8, 6))
    >>> meta = je.meta_evaluate(
    ...     model, x, explainers={"x grad": je.explain.InputXGradient(), "x": x},
    ...     metrics={"flipping": je.PixelFlipping(n_steps=6, baseline=0.0)},
    ...     tests=[je.MapNoise(levels=(0, 1))], n_perturbations=3, progress=False,
    ... )
    >>> meta.table()["metric"].tolist()
    ['flipping', 'Random', 'Constant']
    """
    tests = read_tests(tests)
    check_numbers(n_perturbations, groups, seeds)
    options = Options(
        key=key, batch_size=batch_size, mesh=mesh, output=output, outputs=outputs,
        precision=precision, background=background, reduce_channels=reduce_channels,
    )  # fmt: skip
    given = {
        "mask": mask, "padding": padding, "index": index, "extras": extras, "inputs": inputs,
        "features": features,
    }  # fmt: skip
    explainers = explainers_by_name(explainers)
    metrics = with_observed(metrics_by_name(metrics), controls)
    job = read_job(model, x, y, explainers, metrics, options, **given)
    check_tests(job, tests, n_perturbations)
    check_job(job)
    asked = Asked(job, tests, seeds, stride_of(job.data.index, n_perturbations))
    bar = Bar("perturbing", "evaluations of the data set") if progress else NoProgress()
    try:
        bar.start(1 + len(units(tests, n_perturbations, seeds)))
        results = [([CLEAN], asked.clean)]
        bar.advance(1)
        for some, found in asked.all(n_perturbations):
            results.append((some, found))
            bar.advance(len(some))
    finally:
        bar.stop()
    meta = gathered(job, tests, results, n_perturbations, groups, seeds, controls, setup=asked)
    warn_of_few(meta)
    return meta


def read_tests(tests: Any) -> dict[str, MetaTest]:
    """{name: test}; the default is one of each."""
    if tests is None:
        tests = [ModelNoise(), InputNoise(), MapNoise()]
    found = named("tests", tests)
    for name, test in found.items():
        if isinstance(test, type) and issubclass(test, MetaTest):
            raise TypeError(
                f"test {name!r} is the class {test.__name__}: give an instance, {test.__name__}()"
            )
    return found


def check_numbers(n_perturbations: Any, groups: Any, seeds: Any) -> None:
    for name, value in (("n_perturbations", n_perturbations), ("groups", groups)):
        if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or value < 1:
            raise ValueError(f"{name} must be an integer >= 1, got {value!r}")
    if n_perturbations % groups:
        raise ValueError(
            f"n_perturbations={n_perturbations} must be a multiple of groups={groups}, so that all "
            "groups are of one size"
        )
    if seeds not in SEEDS:
        raise ValueError(f"seeds={seeds!r}: must be one of {', '.join(map(repr, SEEDS))}")


def with_observed(metrics: Any, controls: bool) -> dict[str, Any]:
    """The metrics by name, and what else is noted of a run.

    Raises:
      ValueError: a metric has the name of a control.
    """
    metrics = named("metrics", metrics)
    for name in CONTROLS if controls else ():
        if name in metrics:
            raise ValueError(
                f"metrics has the name {name!r}, which is that of a control: give the metric "
                "another, or controls=False"
            )
    return {**metrics, OBSERVED: Observed()}


def stride_of(index: np.ndarray, n_perturbations: int) -> int:
    """What sets the ids of perturbations apart: more than any id."""
    stride = int(index.max()) + 1
    if stride * (1 + n_perturbations) > 2**32:
        raise ValueError(
            f"index holds ids up to {stride - 1}, which leaves no 32-bit ids for "
            f"{n_perturbations} perturbations: give smaller ids"
        )
    return stride


def gathered(
    job: Job,
    tests: Mapping[str, MetaTest],
    results: Iterable[tuple[Sequence[Unit], Results]],
    n_perturbations: int,
    groups: int,
    seeds: str,
    controls: bool,
    setup: Any = None,
) -> MetaResults:
    """The results of all units as one.

    Args:
      job: of the samples, or of some of them.
      results: (units, their scores), the clean ones first.
    """
    found = iter(results)
    _, clean = next(found)
    if len(clean.feature_groups()) > 1:
        warn(
            f"the explainers' maps have different features: {clean._mixture()}. IEC, tau, agree "
            "and alpha compare scores of explainers, which mean the same for equal features only: "
            'give reduce_channels="sum" for one feature per pixel in all maps'
        )
    explainers = clean.explainers
    metrics = [m for m in clean.metrics if m != OBSERVED]
    parts: dict[tuple[str, str, str], dict[int, np.ndarray]] = {}
    classes: dict[tuple[str, str], dict[int, np.ndarray]] = {("", "clean"): {0: predicted(clean)}}
    asked: dict[str, dict[str, int]] = {name: dict.fromkeys(ASKED, 0) for name in tests}
    for some, result in found:
        for kind, n in asked[some[0].test].items():
            asked[some[0].test][kind] = n + result.asked[kind]
        for unit in some:
            if unit.kind != "levels":
                classes.setdefault(unit[:2], {})[unit.p] = predicted(result)
            for m in metrics:
                if m in result.metrics:
                    whole = _scores(result, m, explainers, unit, tests[unit.test])
                    parts.setdefault((m, *unit[:2]), {})[unit.p] = whole
    scores = {k: np.stack([v[p] for p in sorted(v)]) for k, v in parts.items()}
    reasons = {
        (m, t): why
        for t, test in tests.items()
        for m in metrics
        if (why := unmoved(test, job.metrics[m])) and _still(job.metrics[m], clean, scores, m, t)
    }
    if controls:
        _add_controls(scores, job, clean, tests, n_perturbations, seeds)
    valued = job.model.outputs == "values"
    own = dict.fromkeys(CONTROLS if controls else (), "control")
    return MetaResults(
        explainers=explainers,
        directions={m: clean.directions[m] for m in metrics} | dict.fromkeys(own, "higher"),
        families={m: clean.families[m] for m in metrics} | own,
        tests={name: describe(test) for name, test in tests.items()},
        clean={m: scores_of(clean, m, explainers) for m in metrics}
        | {c: _control(c, job, clean, ()) for c in own},
        scores=scores,
        predicted={}
        if valued
        else {k: np.stack([v[p] for p in sorted(v)]) for k, v in classes.items()},
        index=clean.index,
        y=clean.y,
        groups=groups,
        reasons=reasons,
        asked=_asked(clean, asked, tests, n_perturbations),
        settings={
            **{k: v for k, v in clean.settings.items() if k != "points"},
            "metrics": {m: v for m, v in clean.settings["metrics"].items() if m != OBSERVED},
            "n_perturbations": n_perturbations,
            "seeds": seeds,
        },
        setup=setup,
    )


def _scores(
    result: Results, metric: str, explainers: Sequence[str], unit: Unit, test: MetaTest
) -> np.ndarray:
    """The scores [L, n] of one unit, or [T, L, n]."""
    if not isinstance(test, MapNoise):
        return scores_of(result, metric, explainers)
    return np.stack(
        [
            scores_of(
                result, metric, [at_level(e, i, unit.p if level else None) for e in explainers]
            )
            for i, level in enumerate(test.levels)
        ]
    )


def _still(metric: Any, clean: Results, scores: Mapping[Any, np.ndarray], m: str, t: str) -> bool:
    """Whether no score moved. A metric that asks the model nothing may yet read the input."""
    if not blind(metric):
        return True
    first = scores_of(clean, m, clean.explainers)
    moved = (v for (name, test, _), v in scores.items() if (name, test) == (m, t))
    return all(np.array_equal(v, np.broadcast_to(first, v.shape), equal_nan=True) for v in moved)


def _control(name: str, job: Job, clean: Results, at: tuple[int, ...]) -> np.ndarray:
    key = np.asarray(jax.random.key_data(job.options.key), np.uint32).ravel()[-2:]
    return control(name, key, clean.index, len(clean.explainers), at)


def _add_controls(
    scores: dict[tuple[str, str, str], np.ndarray],
    job: Job,
    clean: Results,
    tests: Mapping[str, MetaTest],
    n_perturbations: int,
    seeds: str,
) -> None:
    """Add the controls' scores. With common seeds, those of noise tests are the clean ones."""
    for t, (name, test) in enumerate(tests.items()):
        for k, kind in enumerate(kinds_of(test, seeds)):
            common = kind == "common" or (kind != "levels" and seeds == "common")
            levels = range(len(test.levels)) if isinstance(test, MapNoise) else (0,)
            for c in CONTROLS:
                found = np.stack(
                    [
                        np.stack(
                            [
                                _control(c, job, clean, () if common else (1 + t, k, p, i))
                                for i in levels
                            ]
                        )
                        for p in range(n_perturbations)
                    ]
                )
                scores[c, name, kind] = found if kind == "levels" else found[:, 0]


def _asked(
    clean: Results,
    by_test: Mapping[str, Mapping[str, int]],
    tests: Mapping[str, MetaTest],
    n_perturbations: int,
) -> dict[str, Any]:
    first = {k: clean.asked[k] for k in ASKED}
    noise = [t for t, test in tests.items() if not isinstance(test, MapNoise)]

    def total(names: Iterable[str]) -> dict[str, int]:
        return {k: first[k] + sum(by_test[t][k] for t in names) for k in ASKED}

    # One metric and explainer at a time, without what is only noted.
    alone, cells = dict(clean.asked["naive"]), len(clean.explainers) * len(clean.index)
    alone["output"] -= cells
    made = [e for e, v in clean.settings["explainers"].items() if v != "stored attributions"]
    alone["attribution"] -= len(clean.index) * sum(e in clean.explainers for e in made)
    times = 2 * len(noise) * (1 + n_perturbations)
    return {
        **total(tests),
        "tests": {"clean": first, **{t: dict(v) for t, v in by_test.items()}},
        "noise tests": total(noise),
        "metaquantus": {k: times * alone[k] for k in ASKED},
    }


def warn_of_few(meta: MetaResults) -> None:
    """Warn of tests under which few samples change their class, or keep it; or none has one."""
    if not meta.predicted and any(meta.levels(t) is None for t in meta.tests):
        warn(
            "a model of plain values predicts no class that perturbations could keep or change: "
            "all samples count under minor and under disruptive perturbations"
        )
    for what, samples, kind in (
        ("change", meta.changed, "disruptive"),
        ("keep", meta.kept, "minor"),
    ):
        for (test, own), used in samples.items():
            if own != kind:
                continue
            if used.mean() < FEW or used.sum(1).min() == 0:
                warn(
                    f"{kind} perturbations of {test!r} {what} the predicted class of "
                    f"{used.sum(1).mean():.1f} of {used.shape[1]} samples on average (at least "
                    f"{used.sum(1).min()}), and only these count: "
                    + (
                        f"give a larger disruptive=, now {meta.tests[test]['disruptive']}"
                        if kind == "disruptive"
                        else f"give a smaller minor=, now {meta.tests[test]['minor']}"
                    )
                )
