"""A score that is undefined is NaN, and counted."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.cases import ROWS, metric_of
from tests.contracts.runs import evaluate, score, together
from tests.world import K, N, world


@pytest.mark.rows
@together
def test_a_model_that_says_the_same_of_everything():
    """Constant outputs and zero gradients: NaN where a score is undefined, never a crash."""
    w = world()
    params = jax.tree.map(jnp.zeros_like, w.model.params)
    got = evaluate(model=dataclasses.replace(w.model, params=params))
    undefined = {
        "FaithfulnessCorrelation",
        "FaithfulnessEstimate",
        "SensitivityN",
        "MaxSensitivity",
        "AvgSensitivity",
        "Sparseness",
        "Complexity",
        "MPRT",
        "SmoothMPRT",
        "EfficientMPRT",
        "ClassSensitivity",
        "RandomLogit",
        "RelevanceMassAccuracy",
        "AttributionLocalisation",
        "Focus",
        "MSTC",
    } & set(ROWS)
    for (_, row), outcome in got.outcomes.items():
        nans = int(np.isnan(outcome.score).sum())
        assert outcome.n_undefined == nans
        assert not np.isinf(outcome.score).any()
        if row in undefined:
            assert nans == N, row
    for row in {"PixelFlipping", "Deletion", "Insertion"} & set(ROWS):
        np.testing.assert_allclose(got["entries", row].score, 1 / K, rtol=1e-6)
    table = got.summary()
    assert table["n_undefined"].sum() == sum(o.n_undefined for o in got.outcomes.values())


@pytest.mark.rows
@together
def test_inputs_that_are_constant():
    """x = 0 everywhere: black is white is 0, and nothing changes when features go."""
    w = world()
    got = evaluate(x=np.zeros_like(w.x))
    for (_, row), outcome in got.outcomes.items():
        assert not np.isinf(outcome.score).any()
        if row == "FaithfulnessEstimate":
            assert np.isnan(outcome.score).all()
        if row == "RegionPerturbation":
            np.testing.assert_allclose(outcome.score, 0, atol=1e-7)


def test_a_constant_map_has_no_correlation():
    """Sums of equally many equal attributions are equal, however they are rounded."""
    w = world()
    for value in (1.0, 0.1, -1 / 3):
        a = np.full_like(w.maps["smooth"], value)
        for normalise in ("max", "second_moment", None):
            m = dataclasses.replace(metric_of("FaithfulnessCorrelation"), normalise=normalise)
            out = score(m, None, a)
            assert out.n_undefined == N, f"{value}, {normalise}: {out.score}"
