"""Similarities and norms that the caller chooses, against SciPy and NumPy."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import jaxeval as je

RNG = np.random.default_rng(0)
X = RNG.normal(size=(3, 8)).astype(np.float32)
W = jnp.asarray(RNG.normal(size=(8, 2)).astype(np.float32))
MODEL = je.Model(lambda w, x: jnp.tanh(x @ w) ** 3, W, channel_axis=None)
Y = np.array([0, 1, 1])
A = RNG.normal(size=(3, 8)).astype(np.float32)
SUBSETS = np.stack([RNG.permutation(8)[:3] for _ in range(12)])


@pytest.mark.parametrize("name", ["pearson", "spearman", "kendall", "sum"])
def test_faithfulness_by_other_correlations(name):
    of = {
        "pearson": lambda u, v: stats.pearsonr(u, v)[0],
        "spearman": lambda u, v: stats.spearmanr(u, v)[0],
        "kendall": lambda u, v: stats.kendalltau(u, v)[0],
        "sum": lambda u, v: (u * v).sum(),
    }[name]
    metric = je.FaithfulnessCorrelation(
        n_runs=12, subset_size=3, baseline=0.0, draws=SUBSETS, normalise=None,
        similarity=(lambda u, v: (u * v).sum()) if name == "sum" else name,
    )  # fmt: skip
    got = je.score(metric, MODEL, X, Y, A)
    z = np.asarray(MODEL(X), np.float64)
    for row in range(3):
        gone = np.tile(X[row], (12, 1))
        np.put_along_axis(gone, SUBSETS, 0, 1)
        drops = z[row, Y[row]] - np.asarray(MODEL(gone), np.float64)[:, Y[row]]
        sums = A[row][SUBSETS].astype(np.float64).sum(1)
        np.testing.assert_allclose(got.score[row], of(sums, drops), rtol=1e-4, atol=1e-5)
    assert (got.error is None) == (name != "pearson")


@pytest.mark.parametrize("metric", [je.MaxSensitivity, je.AvgSensitivity])
@pytest.mark.parametrize(
    ("top", "below", "ord_top", "ord_below"),
    [
        ("l2", "l2", 2, 2),
        ("l1", "linf", 1, np.inf),
        ("linf", lambda v: jnp.abs(v).sum(), np.inf, 1),
    ],
)
def test_sensitivity_in_other_norms(metric, top, below, ord_top, ord_below):
    noise = RNG.uniform(-0.1, 0.1, size=(4, 8)).astype(np.float32)
    explainer = je.explain.InputXGradient()
    given = {"norm_numerator": top, "norm_denominator": below, "draws": noise, "n_samples": 4}
    got = je.score(metric(**given), MODEL, X, Y, explainer=explainer).score
    clean = np.asarray(je.attribute(explainer, MODEL, X, Y), np.float64)
    changes = [
        np.linalg.norm(np.asarray(je.attribute(explainer, MODEL, X + n, Y)) - clean, ord_top, 1)
        / np.linalg.norm(clean, ord_below, 1)
        for n in noise
    ]
    of = np.max if metric is je.MaxSensitivity else np.mean
    np.testing.assert_allclose(got, of(changes, axis=0), rtol=1e-3)


def test_sensitivity_by_another_similarity():
    noise = RNG.uniform(-0.1, 0.1, size=(2, 8)).astype(np.float32)
    explainer = je.explain.InputXGradient()
    base = {"draws": noise, "n_samples": 2}
    plain = je.score(je.MaxSensitivity(**base), MODEL, X, Y, explainer=explainer).score
    twice = je.MaxSensitivity(**base, similarity=lambda a, b: 2 * (a - b))
    got = je.score(twice, MODEL, X, Y, explainer=explainer).score
    np.testing.assert_allclose(got, 2 * plain, rtol=1e-5)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: je.FaithfulnessCorrelation(similarity="pearsn"), "Did you mean 'pearson'"),
        (lambda: je.MaxSensitivity(norm_numerator="l3"), "one of 'l2', 'l1', 'linf'"),
        (lambda: je.MaxSensitivity(similarity="cosine"), "one of 'difference'"),
    ],
)
def test_unknown_names_are_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()
