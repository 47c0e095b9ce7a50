"""How sure scores are, where the score of infinitely many draws is known in closed form."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

import jaxeval as je
from jaxeval import ops

N, F = 400, 24


def linear(p: Any, x: Any) -> Any:
    return jnp.stack([x @ p, jnp.zeros(len(x))], 1)


RNG = np.random.default_rng(0)
W = RNG.normal(size=F).astype(np.float32)
X = RNG.normal(size=(N, F)).astype(np.float32)
A = (W + RNG.normal(size=(N, F))).astype(np.float32)
MODEL = je.Model(linear, jnp.asarray(W))
STD = 0.5


def correlation() -> np.ndarray:
    """Of random subsets of one size, the correlation is that of the single features."""
    drops = W * (X - 1.0)
    return np.array([np.corrcoef(a, d)[0, 1] for a, d in zip(A, drops, strict=True)])


def gap(top: bool) -> np.ndarray:
    """E|sum_T w u|, normal with the weights of the features with noise."""
    first = np.argsort(-np.abs(A), axis=1, kind="stable")[:, : F // 4]
    chosen = np.zeros((N, F), bool)
    np.put_along_axis(chosen, first, True, 1)
    power = np.where(chosen == top, W.astype(float) ** 2, 0).sum(1)
    return STD * np.sqrt(2 / np.pi * power)


GIVEN = {"output": "logit", "normalise": None}
KNOWN = {
    "FaithfulnessCorrelation": (
        je.FaithfulnessCorrelation(n_runs=60, subset_size=6, baseline=1.0, **GIVEN),
        correlation,
    ),
    "SensitivityN": (
        je.SensitivityN(n_runs=20, sizes=[3, 6, 12], baseline=1.0, **GIVEN),
        correlation,
    ),
    "PGI": (je.PGI(n_samples=40, std=STD, top_fraction=0.25, **GIVEN), lambda: gap(True)),
    "PGU": (je.PGU(n_samples=40, std=STD, top_fraction=0.25, **GIVEN), lambda: gap(False)),
    "Infidelity": (
        je.Infidelity(n_samples=60, std=STD, **GIVEN),
        lambda: STD**2 * ((A - W).astype(float) ** 2).sum(1),
    ),
}


@pytest.mark.parametrize("name", KNOWN)
def test_intervals_hold_the_limit(name: str):
    """In about 95 % of the samples; the mean of all is within its own error, or nearly."""
    metric, known = KNOWN[name]
    y = np.zeros(N, int)
    results = je.evaluate(
        MODEL, X, y, explainers={"a": A}, metrics={"m": metric}, key=1, progress=False
    )
    out, wanted = results["a", "m"], known()
    inside = np.abs(out.score - wanted) <= out.error
    assert 0.9 <= inside.mean() <= 0.995
    # No wider than needed: the standard deviation of what is off is half of the error.
    assert np.sqrt(np.mean((out.score - wanted) ** 2)) > 0.3 * out.error.mean()
    assert out.heavy_tails.mean() < 0.2
    mean_error = results.summary()["mc_error"][0]
    assert abs(float(np.mean(out.score - wanted))) < 2 * mean_error + 0.02 * np.std(wanted)


def test_heavy_tails_are_said():
    """One draw in two hundred decides the score, which most sets of draws do not show."""
    rng = np.random.default_rng(2)
    v = (rng.random((300, 100)) < 0.005).astype(np.float32)
    shown = v.any(1)
    error, effective, heavy = (
        np.array([ops.half_width(ops.mean_influence(row))[k] for row in v[:60]]) for k in range(3)
    )
    assert heavy[shown[:60]].all()
    assert (effective[shown[:60]] < 5).all()
    assert (np.abs(v.mean(1)[:60] - 0.005) <= error)[shown[:60]].all()


def test_half_width_is_students():
    """Normal values: as SciPy's interval for their mean."""
    v = np.random.default_rng(4).normal(3, 2, 50)
    error, effective, heavy = ops.half_width(ops.mean_influence(v))
    low, high = scipy.stats.t.interval(0.95, 49, loc=v.mean(), scale=scipy.stats.sem(v))
    np.testing.assert_allclose(error, (high - low) / 2, rtol=1e-4)
    i = v - v.mean()
    np.testing.assert_allclose(effective, (i**2).sum() ** 2 / (i**4).sum(), rtol=1e-5)
    assert not heavy


@pytest.mark.parametrize("degrees", [2, 3, 5, 10, 30, 1000])
def test_students_quantile(degrees: int):
    want = scipy.stats.t.ppf(0.975, degrees)
    np.testing.assert_allclose(ops.students_quantile(degrees), want, rtol=0.02)


def test_influence_on_a_correlation():
    """What leaving out one draw changes, times the number of draws, to first order."""
    rng = np.random.default_rng(5)
    n = 400
    u = rng.normal(size=n)
    v = u + rng.normal(size=n)
    whole = np.corrcoef(u, v)[0, 1]
    left = [np.corrcoef(np.delete(u, i), np.delete(v, i))[0, 1] for i in range(n)]
    got = ops.pearson_influence(u, v)
    np.testing.assert_allclose(got, (n - 1) * (whole - np.array(left)), atol=0.06)
    some = np.arange(n) < 300
    np.testing.assert_allclose(
        ops.pearson_influence(u, v, some)[:300],
        ops.pearson_influence(u[:300], v[:300]),
        atol=1e-5,
    )


@pytest.mark.parametrize("kind", ["PixelFlipping", "Deletion", "Insertion", "SRG"])
def test_curves_say_how_far_all_steps_are(kind: str):
    """The score with all steps lies within the error; with all steps, the error is 0."""
    x = np.random.default_rng(6).normal(size=(60, 64)).astype(np.float32)
    w = np.random.default_rng(7).normal(size=(64, 16)).astype(np.float32)

    def network(p: Any, x: Any) -> Any:
        h = jnp.tanh(x @ p)
        return jnp.stack([h[:, :8].sum(1), h[:, 8:].sum(1)], 1)

    model = je.Model(network, jnp.asarray(w))
    y = np.zeros(60, int)
    cls = getattr(je, kind)
    few, all_ = (
        je.score(cls(n_steps=n, baseline=0.0), model, x, y, explainer=je.explain.InputXGradient())
        for n in (8, None)
    )
    assert (np.abs(few.score - all_.score) <= few.error).mean() >= 0.9
    assert (few.error > 0).all()
    assert (all_.error == 0).all()
    assert few.error.mean() < 20 * np.abs(few.score - all_.score).mean()


def test_of_undefined_scores_nothing_is_known():
    a = A.copy()
    a[3, 0] = np.nan
    out = je.score(KNOWN["PGI"][0], MODEL, X, np.zeros(N, int), a)
    assert np.isnan([out.score[3], out.error[3], out.effective[3]]).all()
    assert np.isfinite(np.delete(out.error, 3)).all()


def test_finite_sets_have_no_error():
    metrics = {
        "estimate": je.FaithfulnessEstimate(baseline=0.0),
        "correlation": je.MonotonicityCorrelation(n_samples=1, baseline=0.0),
    }
    y = np.zeros(N, int)
    results = je.evaluate(MODEL, X, y, explainers={"a": A}, metrics=metrics, progress=False)
    for name in metrics:
        assert (results["a", name].error == 0).all()


def test_the_jackknife_of_replacements():
    """It holds the score of many replacements."""
    given = {"baseline": "uniform", **GIVEN}
    few, many = (
        je.score(
            je.MonotonicityCorrelation(n_samples=n, **given), MODEL, X[:60], np.zeros(60, int),
            A[:60], key=n,
        )
        for n in (12, 200)
    )  # fmt: skip
    assert 0.85 <= (np.abs(few.score - many.score) <= few.error).mean() <= 1


@pytest.mark.parametrize("n", [2, 3, 7])
@pytest.mark.parametrize("kind", ["FaithfulnessCorrelation", "MuFidelity", "SensitivityN"])
def test_correlations_of_a_few_draws_are_not_sure(kind: str, n: int):
    """Two draws always lie on a line, and their correlation would seem to be exact."""
    fields = {"FaithfulnessCorrelation": {"subset_size": 6}, "SensitivityN": {"sizes": [3, 6]}}
    metric = getattr(je, kind)(n_runs=n, **fields.get(kind, {"grid_size": 6}))
    out = je.score(metric, MODEL, X[:5], np.zeros(5, int), A[:5])
    assert np.isfinite(out.score).any()
    assert np.isnan(out.error).all()


def test_scaled_to_is_least_squares():
    rng = np.random.default_rng(8)
    u, v = rng.normal(size=(2, 50)).astype(np.float32)
    some = rng.random(50) < 0.6
    for where in (None, some):
        at = slice(None) if where is None else where
        beta = np.linalg.lstsq(u[at, None].astype(float), v[at].astype(float), rcond=None)[0][0]
        np.testing.assert_allclose(ops.scaled_to(u, v, where), beta * u, rtol=1e-5, atol=1e-6)
    assert (ops.scaled_to(jnp.zeros(3), jnp.ones(3)) == 0).all()
