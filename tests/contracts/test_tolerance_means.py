"""The mean score of a cell to a tolerance."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

import jaxeval as je
from jaxeval.engine import means
from jaxeval.engine.means import doubling, half_width, van_der_corput

RNG = np.random.default_rng(0)
N, F = 30, 36
X = RNG.random((N, 6, 6)).astype(np.float32)
W = RNG.normal(size=(F, 12)).astype(np.float32)
V = RNG.normal(size=(12, 3)).astype(np.float32)
Y = np.arange(N) % 3
MAPS = {"u": RNG.normal(size=X.shape).astype(np.float32), "v": X}


def apply(params: Any, x: Any) -> Any:
    return jnp.tanh(x.reshape(len(x), -1) @ params[0] / 3) @ params[1]


MODEL = je.Model(apply, (jnp.asarray(W), jnp.asarray(V)), channel_axis=None)
CURVES: dict[str, Any] = {
    "flipping": je.PixelFlipping(n_steps=None, baseline=0.0),
    "gain": je.SRG(n_steps=None, baseline=0.0),
    "road": je.ROAD(),
}
DRAWN: dict[str, Any] = {
    "gap": je.PGI(),
    "correlation": je.FaithfulnessCorrelation(subset_size=10),
}


def to(metric: Any, tolerance: float, **given: Any) -> Any:
    limit = je.Tolerance(absolute=tolerance, per="mean", **given)
    return dataclasses.replace(metric, tolerance=limit)


METRICS = {
    "flipping": to(CURVES["flipping"], 0.02),
    "gain": to(CURVES["gain"], 0.05),
    "road": to(CURVES["road"], 0.06),
    "gap": to(DRAWN["gap"], 0.01),
    "correlation": to(DRAWN["correlation"], 0.03),
}


def evaluate(metrics: Any = METRICS, **given: Any) -> je.Results:
    given = {"explainers": MAPS, "batch_size": 128, "index": np.arange(N)} | given
    x, y = given.pop("x", X), given.pop("y", Y)
    return je.evaluate(MODEL, x, y, metrics=metrics, progress=False, **given)


@functools.cache
def usual() -> je.Results:
    return evaluate()


@functools.cache
def truth() -> dict[tuple[str, str], float]:
    many = {
        **CURVES,
        "gap": je.PGI(n_samples=1500),
        "correlation": je.FaithfulnessCorrelation(subset_size=10, n_runs=3000),
    }
    return {cell: float(o.score.mean()) for cell, o in evaluate(many).outcomes.items()}


def off(results: je.Results) -> dict[tuple[str, str], float]:
    return {c: abs(float(o.score.mean()) - truth()[c]) for c, o in results.outcomes.items()}


def within(keys: Any, metrics: Any = METRICS) -> dict[str, float]:
    """The share of runs in which the mean was within the tolerance."""
    found: dict[str, list[bool]] = {m: [] for m in metrics}
    for key in keys:
        for (_, m), v in off(evaluate(metrics, key=key)).items():
            found[m].append(v <= metrics[m].tolerance.absolute)
    return {m: float(np.mean(v)) for m, v in found.items()}


def test_means_are_within_the_tolerance():
    """Of 15 keys and 2 explainers; and fewer questions are asked."""
    found = within(range(15))
    assert min(found.values()) >= 0.9, found
    got = usual()
    for (_, m), outcome in got.outcomes.items():
        assert (outcome.status == 0).all()
        assert len(set(outcome.asked)) == 1 or m in CURVES
        assert outcome.asked.mean() < (0.7 * F if m in CURVES else 500)
    row: Any = got.summary().set_index(["explainer", "metric"])
    assert (row["mc_error"] <= [METRICS[m].tolerance.absolute for _, m in row.index]).all()
    assert (row["converged"] == 1).all()


@pytest.mark.parametrize("independent", [True, False])
def test_the_two_estimates_are_independent(independent: bool, monkeypatch: pytest.MonkeyPatch):
    """Two that start at nearly the same place agree, and say nothing of the error."""
    real = means.starts

    def alike(keys: np.ndarray) -> np.ndarray:
        return real(keys)[:, :1] + np.array([0, 0.02])

    if not independent:
        monkeypatch.setattr(means, "starts", alike)
    metrics, found, said = {"flipping": to(CURVES["flipping"], 0.2)}, [], []
    for key in range(12):
        got = evaluate(metrics, key=key, explainers={"u": MAPS["u"]})
        found.append(off(got)["u", "flipping"])
        said.append(got.summary(n_bootstrap=2)["mc_error"][0] / 1.96)
    ratio = np.sqrt(np.mean(np.square(found)) / np.mean(np.square(said)))
    assert ratio < 1.6 if independent else ratio > 1.6, ratio


@pytest.mark.parametrize("batch_size", [1, 7])
def test_the_batch_decides_nothing(batch_size: int):
    few: dict[str, Any] = {"x": X[:8], "y": Y[:8], "index": np.arange(8)}
    few["explainers"] = {"u": MAPS["u"][:8]}
    metrics = {k: METRICS[k] for k in ("gain", "gap")}
    assert_same(evaluate(metrics, batch_size=batch_size, **few), evaluate(metrics, **few))


def assert_same(got: je.Results, want: je.Results, cells: Any = None, back: bool = False) -> None:
    order = slice(None, None, -1) if back else slice(None)
    for cell in cells or want.outcomes:
        for part in ("score", "error", "asked", "status"):
            a, b = (getattr(r[cell], part) for r in (got, want))
            if a is None and b is None:  # of a number of draws that is given
                continue
            np.testing.assert_allclose(a[order], b, 1e-3, 1e-5, err_msg=f"{cell}: {part}")


def test_order_devices_and_company_decide_nothing(two_devices: Any):
    back = {e: a[::-1] for e, a in MAPS.items()}
    got = evaluate(x=X[::-1], y=Y[::-1], index=np.arange(N)[::-1], explainers=back)
    assert_same(got, usual(), back=True)
    assert_same(evaluate(mesh=two_devices), usual())
    for name in ("gain", "correlation"):
        alone = evaluate({name: METRICS[name]}, explainers={"u": MAPS["u"]})
        assert_same(usual(), alone, [("u", name)])
    both = evaluate({**METRICS, "all": CURVES["flipping"], "own": je.Deletion(tolerance=0.05)})
    assert_same(both, usual(), list(usual().outcomes))


@pytest.mark.parametrize("name", DRAWN)
def test_beside_the_same_question_asked_otherwise(name: str):
    """By number, and to other tolerances and budgets: each as on its own."""
    each = je.Tolerance(absolute=0.2, budget=100)
    metrics = {
        "number": DRAWN[name],
        "each": dataclasses.replace(DRAWN[name], tolerance=each),
        "mean": METRICS[name],
        "other mean": to(DRAWN[name], 0.1, budget=150),
    }
    own = {"explainers": {"u": MAPS["u"]}}
    got = evaluate(metrics, **own)
    for k, metric in metrics.items():
        assert_same(got, evaluate({k: metric}, **own), [("u", k)])


def test_so_little_that_all_is_asked_changes_nothing():
    strict = {k: to(CURVES[k], 1e-9) for k in ("flipping", "gain", "road")}
    got, want = evaluate(strict), evaluate({k: CURVES[k] for k in strict})
    for cell, outcome in want.outcomes.items():
        np.testing.assert_allclose(got[cell].score, outcome.score, 1e-5, 1e-6)
        assert (got[cell].error == 0).all()
    assert got.asked["output"] == want.asked["output"]


def test_a_budget_that_is_too_small_is_said():
    got = evaluate({"gap": to(DRAWN["gap"], 1e-6, budget=8)})
    assert (got["u", "gap"].status == 1).all()
    assert (got["u", "gap"].asked == 8).all()


def test_the_run_s_tolerance_for_means():
    metrics = {**CURVES, "largest": je.MaxSensitivity(n_samples=3), "sparse": je.Sparseness()}
    explainers = {"s": je.explain.Saliency()}
    got = evaluate(metrics, explainers=explainers, tolerance=0.05, per="mean")
    assert got["s", "largest"].asked is None
    assert got["s", "sparse"].asked is None
    assert got["s", "road"].asked is not None


def test_samples_without_a_score_are_left_out():
    maps = MAPS["u"].copy()
    maps[3] = np.nan
    with pytest.warns(UserWarning, match="NaN"):
        got = evaluate(explainers={"u": maps})
    for cell, outcome in got.outcomes.items():
        assert np.isnan(outcome.score[3])
        rest = np.delete(outcome.score, 3)
        assert np.isfinite(rest).all(), cell


def test_what_two_estimates_say_of_their_mean():
    assert list(doubling(2, 14)) == [2, 3, 4, 6, 8, 12, 14]
    assert sorted(van_der_corput(8)) == [k / 8 for k in range(8)]
    many = [np.full(400, 0.01)]
    assert half_width(many, [np.ones(400)], 2.0) == pytest.approx(2 * 0.1 / 20)
    few = [np.where(np.arange(400) < 3, 0.01, 0.0)]  # three samples decide: not trusted
    plain = 2 * np.sqrt(few[0].sum()) / 400
    assert half_width(few, [np.ones(400)], 2.0) == pytest.approx(plain * np.sqrt(10))
    assert half_width([np.zeros(400)], [np.ones(400)], 2.0) == np.inf
