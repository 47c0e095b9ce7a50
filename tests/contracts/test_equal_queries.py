"""Equal queries are asked once, and the clean sample is never asked again."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxeval as je
from jaxeval import perturb
from jaxeval.engine import asking
from jaxeval.engine.steps import steps_of
from jaxeval.types import Answer, Sample

N, H = 4, 6
SHAPE = (2, H, H)
KEY = 5


def images() -> np.ndarray:
    """Inputs of which about half of the pixels are black; the last one is all black.

    Their entries are whole numbers, as are the weights: outputs are the same bits in every batch.
    """
    rng = np.random.default_rng(0)
    shown = rng.random((N, 1, H, H)) < [[[[0.6]]], [[[0.3]]], [[[1.0]]], [[[0.0]]]]
    return np.where(shown, rng.integers(1, 50, (N, *SHAPE)), 0).astype(np.float32)


def maps(seed: int, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(N, *shape)).astype(np.float32)


def weights() -> np.ndarray:
    return np.random.default_rng(9).integers(-3, 4, (2 * H * H, 3))


def model(params: Any, x: Any) -> Any:
    return jnp.maximum(jnp.reshape(x, (len(x), -1)) @ params, -3)


SEGMENTS = np.arange(H * H).reshape(1, H, H).repeat(N, 0) // 5
QUESTIONS = {
    "deletion": perturb.RankedDeletion(steps=None),
    "least first": perturb.RankedDeletion(steps=10, order="lerf"),
    "random order": perturb.RankedDeletion(steps=12, order="random"),
    "insertion": perturb.RankedDeletion(steps=15, insert=True),
    "by fives": perturb.RankedDeletion(features_in_step=5),
    "from the mean": perturb.RankedDeletion(steps=None, baseline="channel_mean"),
    "one value a step": perturb.RankedDeletion(steps=9, baseline="uniform_value"),
    "patches": perturb.RankedPatches(patch_size=2, n_regions=None),
    "ragged patches": perturb.RankedPatches(patch_size=4, n_regions=None, order="lerf"),
    "superpixels": perturb.RankedSegments(n_segments=8, baseline="black"),
    "each patch": perturb.EachPatch(patch_size=1),
    "each feature": perturb.SingleFeature(baseline="black"),
    "each feature twice": perturb.SingleFeature(n_samples=2, baseline="black"),
    "groups twice": perturb.RankedGroups(features_in_step=5, n_samples=2),
    "grid cells": perturb.RandomCells(n_runs=40, grid_size=3),
    "half of the cells": perturb.RandomCells(n_runs=40, grid_size=2, share=0.5),
}


def first_equal(queries: list[Any], clean: Any) -> list[int]:
    """For each query the first that equals it; -1 for the clean sample."""
    return [-1 if q == clean else queries.index(q) for q in queries]


@pytest.mark.parametrize("features", [SHAPE, SHAPE[1:], (1, H, H)], ids=str)
@pytest.mark.parametrize(
    ("name", "padded"),
    [(name, padded) for name, q in QUESTIONS.items() for padded in {False, bool(q.takes_padding)}],
)
def test_which_are_the_same(name: str, padded: bool, features: tuple[int, ...]):
    """As found by comparing the bytes of all queries."""
    question = QUESTIONS[name]
    valid = np.ones((1, H, H), bool)
    valid[:, :, 4:] = not padded
    x = images()
    spec = Sample(
        x=x[0],
        y=jnp.int32(0),
        key=None,
        position=jnp.int32(0),
        valid=valid if padded else None,
        extras={"segments": SEGMENTS[0]},
        features=features,
        channel_axis=0,
    )
    bound = question.bind(None, spec)
    n = bound.n_steps(spec)

    @jax.jit
    def ask(i: Any, x: Any, a: Any) -> Any:
        key = jax.random.fold_in(jax.random.key(KEY), i)
        s = dataclasses.replace(spec, x=x, a=jnp.where(spec.where, a, 0) if padded else a, key=key)
        plan = bound.plan(s, Answer())
        queries = jax.vmap(lambda step: bound.apply(s, plan, step))(jnp.arange(n))
        kept = jnp.where(s.valid, queries.x, s.x) if padded else queries.x
        return kept, queries.aux, bound.same(s, plan), bound.count(s, plan)

    for i, (row, a) in enumerate(zip(x, maps(1, features), strict=True)):
        kept, aux, same, count = jax.device_get(ask(i, row, a))
        marks = [b""] * n if aux is None else [v.tobytes() for v in aux]
        found = [q.tobytes() + m for q, m in zip(kept, marks, strict=True)]
        want = first_equal(found[:count], row.tobytes())
        assert first_equal(same[:count].tolist(), -1) == want, (name, i)


METRICS = {
    "flipping": je.PixelFlipping(n_steps=None),
    "flipping 10": je.PixelFlipping(n_steps=10),
    "insertion": je.Insertion(n_steps=12),
    "gain": je.SRG(n_steps=12),
    "selectivity": je.Selectivity(patch_size=2),
    "irof": je.IROF(n_segments=8, baseline="black"),
    "estimate": je.FaithfulnessEstimate(),
    "estimate 5": je.FaithfulnessEstimate(features_in_step=5),
    "correlation": je.MonotonicityCorrelation(baseline="black", n_samples=2),
    "groups": je.MonotonicityCorrelation(features_in_step=4, baseline="black", n_samples=2),
    "sensitivity": je.NonSensitivity(baseline="black", n_samples=2),
    "infidelity": je.Infidelity(perturbation="patches", patch_size=1),
    "completeness": je.Completeness(),
}
SETS = np.random.default_rng(4).integers(-1, 4, (N, 40, 2))
DRAWN = {
    "number": je.MuFidelity(n_runs=40, grid_size=2),
    "fewer": je.MuFidelity(n_runs=20, grid_size=2),
    "given": je.MuFidelity(grid_size=2, draws=SETS[0]),
    "given for each": je.MuFidelity(grid_size=2, draws=SETS),
    "to a tolerance": je.MuFidelity(grid_size=3, tolerance=je.Tolerance(absolute=0.1, budget=200)),
    "of the mean": je.MuFidelity(grid_size=3, tolerance=je.Tolerance(absolute=0.05, per="mean")),
}
OF_CELLS = {"u": maps(1), "v": maps(2), "w": maps(3, SHAPE[1:])}


def evaluate(asked: Any = None, **given: Any) -> je.Results:
    """All metrics; `asked` collects the inputs that the model is given."""

    def of_host(x: Any) -> Any:
        asked.extend(x)
        return np.tanh(x.reshape(len(x), -1).astype(np.float64) @ weights()).astype(np.float32)

    of_jax = je.Model(model, jnp.asarray(weights(), jnp.float32), channel_axis=1)
    given = {"metrics": METRICS, "explainers": OF_CELLS, "batch_size": 7} | given
    return je.evaluate(
        of_jax if asked is None else je.Model(lambda _, x: of_host(x), host=True, channel_axis=1),
        images(),
        np.array([0, 2, 1, 0]),
        extras={"segments": SEGMENTS},
        key=KEY,
        output="logit",
        progress=False,
        **given,
    )


def ask_all(monkeypatch: pytest.MonkeyPatch) -> None:
    def all_of(counts: Any, same: Any) -> Any:
        return steps_of(counts, None if same is None else 0 * same + np.arange(same.shape[1]))

    monkeypatch.setattr(asking, "steps_of", all_of)


@pytest.mark.parametrize("metrics", [METRICS, DRAWN], ids=["all", "drawn"])
def test_scores_are_those_of_asking_all(metrics: Any, monkeypatch: pytest.MonkeyPatch):
    """Bit for bit."""
    got = evaluate(metrics=metrics)
    ask_all(monkeypatch)
    want = evaluate(metrics=metrics)
    assert got.asked["output"] < 0.7 * want.asked["output"]
    assert got.asked["naive"] == want.asked["naive"]
    for cell in want.outcomes:
        for part in ("score", "curve"):
            a, b = (getattr(r.outcomes[cell], part) for r in (got, want))
            np.testing.assert_array_equal(a, b, str(cell))


@pytest.mark.parametrize("name", METRICS)
def test_a_host_model_is_asked_about_each_input_once(name: str):
    """By one explainer and metric; `asked` counts what the model is given."""
    seen: list[np.ndarray] = []
    got = evaluate(seen, metrics={name: METRICS[name]}, explainers={"u": OF_CELLS["u"]})
    assert len(seen) == got.asked["output"]
    black = np.zeros(SHAPE, np.float32).tobytes()  # of more than one sample
    rows = [row.tobytes() for row in seen if row.tobytes() != black]
    assert len(rows) == len(set(rows))


def test_single_features_are_asked_once_for_all_explainers():
    def asked(**explainers: Any) -> int:
        metrics = {k: METRICS[k] for k in ("estimate", "correlation", "sensitivity")}
        return evaluate(metrics=metrics, explainers=explainers).asked["output"]

    x = images().reshape(N, -1)
    changes = int((x != x.min(1, keepdims=True)).sum())
    assert asked(u=OF_CELLS["u"]) == asked(u=OF_CELLS["u"], v=OF_CELLS["v"]) == N + 2 * changes


def test_random_replacements_are_shared_by_explainers():
    metrics = {"c": je.MonotonicityCorrelation(n_samples=2), "s": je.NonSensitivity(n_samples=2)}
    got = evaluate(metrics=metrics, explainers={"u": maps(1), "v": maps(2)})
    assert got.asked["output"] == N + 2 * 2 * H * H * N


def test_given_replacements_are_all_asked():
    """They may replace features by other values than the baseline."""
    draws = np.random.default_rng(3).random(2 * H * H).astype(np.float32)
    metric = je.NonSensitivity(baseline="black", n_samples=1, draws=draws)
    got = evaluate(metrics={"s": metric}, explainers={"u": maps(1)})
    assert got.asked["output"] == N + 2 * H * H * N


def test_draws_of_few_cells_are_asked_once():
    """The four cells of a grid, from 40 draws and from 20 of them."""
    got = evaluate(metrics={k: DRAWN[k] for k in ("number", "fewer")})
    assert got.asked["output"] == N + 4 * N
    for name in ("given", "given for each"):
        given = evaluate(metrics={"m": DRAWN[name]})
        sets = SETS if name == "given for each" else [SETS[0]] * N
        wanted = sum(len({tuple(sorted(each)) for each in own}) for own in sets)
        assert given.asked["output"] == N + wanted


@pytest.mark.parametrize("batch_size", [1, pytest.param(64, marks=pytest.mark.slow)])
def test_on_any_batch_size(batch_size: int):
    metrics = METRICS | {k: DRAWN[k] for k in ("number", "given")}
    got, want = (evaluate(metrics=metrics, batch_size=n) for n in (batch_size, 7))
    assert got.asked == want.asked
    for cell in want.outcomes:
        np.testing.assert_allclose(
            got.outcomes[cell].score, want.outcomes[cell].score, 1e-4, 1e-5, err_msg=str(cell)
        )


def test_a_question_without_a_valid_step():
    """No square of four fits into what is not padding, in any sample: scores are NaN."""
    padding = np.ones((N, 1, H, H), bool)
    padding[:, :, 2:4, 2:4] = False
    metric = je.Infidelity(perturbation="square", patch_size=4, n_samples=5)
    got = evaluate(metrics={"i": metric}, explainers={"u": OF_CELLS["u"]}, padding=padding)
    assert np.isnan(got["u", "i"].score).all()
    assert got.asked["output"] == N


def test_labels_that_are_not_one_a_step_are_refused():
    @je.pytree
    class Short(perturb.Perturbation):
        def n_steps(self, sample: Any) -> int:
            return 3

        def same(self, sample: Any, plan: Any) -> Any:
            return jnp.array([0, 1])

    @je.pytree
    class Asks(je.Metric):
        family, direction, asks = "faithfulness", "higher", frozenset({"output"})

        def questions(self) -> Any:
            return Short()

        def reduce(self, sample: Any, reference: Any, measured: Any, valid: Any) -> Any:
            return je.Outcome(score=measured.sum())

    with pytest.raises(ValueError, match=r"Short\.same must give a label for each of the 3 steps"):
        evaluate(metrics={"m": Asks()}, explainers={"u": maps(1)})


def test_on_two_devices(two_devices: Any):
    metrics = {k: (METRICS | DRAWN)[k] for k in ("flipping", "estimate", "given for each")}
    got, want = evaluate(metrics=metrics, mesh=two_devices), evaluate(metrics=metrics)
    assert got.asked == want.asked
    for cell, outcome in want.outcomes.items():
        np.testing.assert_allclose(got.outcomes[cell].score, outcome.score, 1e-5, 1e-5)
