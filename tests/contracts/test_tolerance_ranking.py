"""The ranking of explainers to a tolerance."""

from __future__ import annotations

import functools
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

import jaxeval as je
from jaxeval.engine.racing import Race, looks_of

RNG = np.random.default_rng(0)
N, F = 60, 36
X = RNG.random((N, 6, 6)).astype(np.float32)
W = RNG.normal(size=(F, 12)).astype(np.float32)
V = RNG.normal(size=(12, 3)).astype(np.float32)
Y = np.arange(N) % 3
MAPS = {"u": RNG.normal(size=X.shape).astype(np.float32), "v": X, "w": X + 1e-6}
LIMIT = je.Tolerance(absolute=0.02, per="ranking")


def apply(params: Any, x: Any) -> Any:
    return jnp.tanh(x.reshape(len(x), -1) @ params[0] / 3) @ params[1]


MODEL = je.Model(apply, (jnp.asarray(W), jnp.asarray(V)), channel_axis=None)
METRICS: dict[str, Any] = {"f": je.PixelFlipping(n_steps=9, baseline=0.0), "s": je.Sparseness()}
EXPLAINERS = {**MAPS, "g": je.explain.InputXGradient()}


def evaluate(metrics: Any = METRICS, **given: Any) -> je.Results:
    given = {"explainers": EXPLAINERS, "index": np.arange(N)} | given
    x, y = given.pop("x", X), given.pop("y", Y)
    return je.evaluate(MODEL, x, y, metrics=metrics, progress=False, **given)


@functools.cache
def ranked() -> je.Results:
    return evaluate(tolerance=0.02, per="ranking")


def test_scores_are_those_of_all_samples_and_fewer_are_asked(tmp_path: Any):
    got, want = ranked(), evaluate()
    assert got.asked["output"] < want.asked["output"]
    some = False
    for cell, outcome in want.outcomes.items():
        asked = got[cell].status == 0
        some |= not asked.all()
        np.testing.assert_allclose(got[cell].score[asked], outcome.score[asked], 1e-4, 1e-6)
        assert np.isnan(got[cell].score[~asked]).all()
        assert (got[cell].status[~asked] == 3).all()
        assert got[cell].n_undefined == 0
    assert some
    frame = got.to_dataframe()
    assert set(frame["status"]) == {"ok", "not asked"}
    again = je.Results.load(got.save(tmp_path / "r.parquet"))
    for cell, outcome in got.outcomes.items():
        np.testing.assert_array_equal(again[cell].status, outcome.status)
        np.testing.assert_array_equal(again[cell].asked, outcome.asked)
    assert again.decided("f").equals(got.decided("f"))


def test_what_is_decided():
    decided, want = ranked().decided("f"), evaluate().means()["f"]
    assert list(decided) == list(decided.index) == list(EXPLAINERS)
    values = decided.to_numpy()
    np.testing.assert_array_equal(values, -values.T)
    assert decided.loc["v", "w"] == 0  # the same map
    assert decided.loc["g", "u"] == 1  # lower is better
    for p in EXPLAINERS:
        for q in EXPLAINERS:
            if abs(decided.loc[p, q]) == 1:
                assert np.sign(want[q] - want[p]) == decided.loc[p, q]
    with pytest.raises(ValueError, match='per="ranking"'):
        evaluate().decided("f")


def test_order_devices_and_batches_decide_nothing(two_devices: Any):
    back = {e: a[::-1] for e, a in MAPS.items()}
    given: dict[str, Any] = {"explainers": MAPS, "tolerance": 0.02, "per": "ranking"}
    want = evaluate(**given)
    turned = given | {"explainers": back}
    got = evaluate(x=X[::-1], y=Y[::-1], index=np.arange(N)[::-1], **turned)
    for cell, outcome in want.outcomes.items():
        np.testing.assert_array_equal(got[cell].status[::-1], outcome.status)
        np.testing.assert_allclose(got[cell].score[::-1], outcome.score, 1e-4, 1e-6)
    for other in ({"mesh": two_devices}, {"batch_size": 7}):
        got = evaluate(**given, **other)
        assert got.settings["decided"] == want.settings["decided"]
        for cell, outcome in want.outcomes.items():
            np.testing.assert_allclose(got[cell].score, outcome.score, 1e-4, 1e-6)


def test_one_metric_s_own_ranking_beside_others():
    flipping = je.PixelFlipping(n_steps=9, baseline=0.0, tolerance=LIMIT)
    metrics = {"f": flipping, "s": je.Sparseness()}
    got = evaluate(metrics)
    assert got["u", "s"].status is None
    assert np.isfinite(got["u", "s"].score).all()
    for e in EXPLAINERS:
        np.testing.assert_array_equal(got[e, "f"].status, ranked()[e, "f"].status)


@pytest.mark.parametrize(
    ("metric", "says"),
    [
        (je.Sufficiency(), "defined over the whole data set"),
        (je.PGI(draws=np.zeros((3, 6, 6), np.float32)), "draws= are given"),
        (je.PGI(tolerance=je.Tolerance(absolute=0.1, per="mean")), "by itself"),
    ],
)
def test_refused_with_the_way_out(metric: Any, says: str):
    with pytest.raises(ValueError, match=says):
        evaluate({**METRICS, "m": metric}, tolerance=0.02, per="ranking")
    with pytest.raises(ValueError, match="absolute="):
        evaluate(tolerance=je.Tolerance(relative=0.1, per="ranking"))


@pytest.mark.parametrize("corrected", [True, False])
def test_explainers_that_do_not_differ_are_not_ranked(corrected: bool):
    """Six equal explainers with noise, raced 200 times: some pair is wrong in few races.

    Plain 95 % intervals at every look would be wrong in most.
    """
    rng, wrong, looks = np.random.default_rng(7), 0, looks_of(300)
    for _ in range(200):
        scores = rng.normal(size=(300, 1)) + 0.3 * rng.normal(size=(300, 6))
        race = Race(6, len(looks), LIMIT, "higher")
        if not corrected:
            race.critical = 1.96
        for look in looks:
            race.look(scores[:look])
        wrong += bool((np.abs(race.decided) == 1).any())
    assert wrong <= 10 if corrected else wrong > 60


def test_differences_that_do_not_matter():
    rng = np.random.default_rng(1)
    base = rng.normal(size=(100, 1))
    scores = base + np.array([0, 0.005, 0.5]) + 0.01 * rng.normal(size=(100, 3))
    race = Race(3, 1, LIMIT, "lower")
    race.look(scores)
    np.testing.assert_array_equal(race.decided, [[0, 0, 1], [0, 0, 1], [-1, -1, 0]])
    assert not race.open.any()
