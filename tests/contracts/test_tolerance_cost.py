"""What a tolerance costs: never more than it takes without, and what is shared stays shared."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

import jaxeval as je
from jaxeval.metric import refusal

N, F = 8, 36
RNG = np.random.default_rng(0)
X = RNG.random((N, 6, 6)).astype(np.float32)
W = RNG.normal(size=(F, 3)).astype(np.float32)


def hidden(w: Any, x: Any) -> Any:
    before = x.reshape(len(x), -1) @ w
    return jnp.tanh(before), {"before": before}


MODEL = je.Model(lambda w, x: hidden(w, x)[0], jnp.asarray(W), hidden=hidden, channel_axis=None)
STORED = {name: RNG.normal(size=X.shape).astype(np.float32) for name in "uv"}
EXPLAINERS: dict[str, Any] = {"saliency": je.explain.Saliency(), "gradient": je.explain.Gradient()}
KINDS = ("output", "attribution")
LIMITS = [
    pytest.param(0.3, "sample", marks=pytest.mark.slow),
    (0.3, "mean"),
    (1e-6, "mean"),
]


@functools.cache
def taking(per: str) -> dict[str, Any]:
    """Every metric that takes such a tolerance, with few steps and draws."""
    few: dict[str, Any] = {"n_runs": 40, "n_samples": 6, "subset_size": 5, "grid_size": 6}
    few |= {"patch_size": 2, "n_segments": 6}
    found: dict[str, Any] = {}
    for name, cls in je.METRICS.items():
        fields = {f.name for f in dataclasses.fields(cls)}
        given = {k: v for k, v in few.items() if k in fields}
        if "quantile" in fields:
            given["quantile"] = 0.9
        metric: Any = cls(**given)
        limited = metric.steps_are in ("curve", "draws", "binary")
        if limited and refusal(metric, je.Tolerance(absolute=1.0, per=per)) is None:
            found[name] = metric
    return found


def evaluate(metrics: Any, explains: bool = True, **given: Any) -> je.Results:
    segments = np.arange(F).reshape(1, 6, 6).repeat(N, 0) // 6
    explainers = EXPLAINERS if explains else STORED
    return je.evaluate(
        MODEL, X, explainers=explainers, metrics=metrics, progress=False, batch_size=64,
        extras={"segments": segments}, **given,
    )  # fmt: skip


def test_all_of_them_are_here():
    assert {"PixelFlipping", "SRG", "IROF", "PGI", "Infidelity", "RIS"} <= set(taking("sample"))
    assert set(taking("mean")) == {*taking("sample"), "ROAD"}


@pytest.mark.parametrize(("limit", "per"), LIMITS)
def test_together_they_take_no_more_than_without(limit: float, per: str):
    """All metrics of two explainers; what they share without a tolerance they share with it."""
    metrics = taking(per)
    exact = evaluate(metrics)
    got = evaluate(metrics, tolerance=limit, per=per, budget=None)
    for kind in KINDS:
        assert got.asked[kind] <= exact.asked[kind]
        assert got.asked[kind] + got.asked["saved"][kind] == exact.asked[kind]
    if limit > 0.1:
        assert got.asked["output"] < 0.8 * exact.asked["output"]
    assert "saved" not in exact.asked


@pytest.mark.parametrize("name", sorted(taking("mean")))
def test_none_takes_more_than_without(name: str):
    metrics = {name: taking("mean")[name]}
    explains = "attribution" in metrics[name].asks
    exact = evaluate(metrics, explains)
    got = evaluate(metrics, explains, tolerance=0.02, per="mean", budget=None)
    for kind in KINDS:
        assert got.asked[kind] <= exact.asked[kind]


def test_questions_of_all_explainers_are_asked_once():
    """Random subsets and noise do not depend on the map: two explainers take what one does."""
    metrics = {"fc": je.FaithfulnessCorrelation(subset_size=5), "mu": je.MuFidelity(grid_size=6)}
    one, two = (
        je.evaluate(
            MODEL, X, explainers=explainers, metrics=metrics, tolerance=1e-6, budget=72,
            per="mean", progress=False,
        )
        for explainers in ({"u": STORED["u"]}, STORED)
    )  # fmt: skip
    assert one.asked["output"] == two.asked["output"] == N * (1 + 2 * 72)


def test_what_more_draws_than_usual_take_is_said():
    """A budget beyond the metric's own number: negative savings."""
    limit = je.Tolerance(absolute=1e-6, budget=60)
    metric = je.PGI(n_samples=10, tolerance=limit)
    asked = evaluate({"gap": metric}, explains=False).asked
    assert asked["output"] == N * (1 + 2 * 60)
    assert asked["saved"]["output"] == -N * 2 * 50
