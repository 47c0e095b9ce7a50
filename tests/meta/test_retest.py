"""How many random draws a metric needs."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest

import jaxeval as je
from jaxeval.meta.retest import drawn, enough, number_of, with_number
from tests.meta.world import EXPLAINERS, METRICS, MODEL, N, X


def test_the_setting_with_the_number_of_draws():
    noise = je.Noise(n_samples=7)
    for metric, path, n in (
        (je.FaithfulnessCorrelation(n_runs=9, subset_size=2), ("n_runs",), 9),
        (je.MaxSensitivity(n_samples=5), ("n_samples",), 5),
        (je.MaxSensitivity(noise=noise), ("noise", "n_samples"), 7),
        (je.QGE(metric=je.MaxSensitivity(noise=noise)), ("metric", "noise", "n_samples"), 7),
        (je.MPRT(n_seeds=2), ("n_seeds",), 2),
    ):
        assert drawn(metric) == path
        assert number_of(metric, path) == n
        assert number_of(with_number(metric, path, 3), path) == 3
        assert number_of(metric, path) == n
    given = je.FaithfulnessCorrelation(draws=np.zeros((4, 2), int), subset_size=2)
    for metric in (je.Sparseness(), je.PixelFlipping(), given):
        assert drawn(metric) is None


def test_how_many_are_enough():
    """Spearman and Brown: twice the draws raise a reliability of 1/2 to 2/3."""
    table = pd.DataFrame({"draws": [4, 8], "reliability": [1 / 3, 0.5]})
    assert enough(table, 0.5) == 8
    assert enough(table, 2 / 3) == 16
    assert enough(table, 0.9) == 72
    assert np.isnan(enough(table.assign(reliability=[0.0, -0.1]), 0.9))


def test_more_draws_are_more_reliable():
    meta = je.meta_evaluate(
        MODEL, X, explainers={k: EXPLAINERS[k] for k in ("gradient", "x grad")},
        metrics={k: METRICS[k] for k in ("flipping", "correlation")},
        tests=[je.ModelNoise()], n_perturbations=1, groups=1, progress=False,
    )  # fmt: skip
    table = meta.retest(draws=(0.5, 16), repeats=3, progress=False)
    assert table["metric"].tolist() == ["correlation"] * 2
    assert table["draws"].tolist() == [4, 128]
    assert table["reliability"].iloc[1] > table["reliability"].iloc[0]
    assert table["reliability"].iloc[1] > 0.8
    # The same repetitions by hand: ids that no perturbation of the clean samples has.
    metric = dataclasses.replace(METRICS["correlation"], n_runs=4)
    scores = []
    for r in range(3):
        maps = {e: je.attribute(EXPLAINERS[e], MODEL, X, meta.y) for e in meta.explainers}
        found = [
            metric(MODEL, X, meta.y, a, index=np.arange(N) + N * (1 + r)) for a in maps.values()
        ]
        scores.append(np.ravel(found))
    np.testing.assert_allclose(table["reliability"].iloc[0], je.meta.icc(scores), atol=1e-4)
    with pytest.raises(ValueError, match="'flipping' has no number of random draws"):
        meta.retest(metrics=["flipping"])
    with pytest.raises(ValueError, match="repeats must be at least 2"):
        meta.retest(repeats=1)
