"""How sure scores are: errors in tables, in summaries and in files."""

from __future__ import annotations

import numpy as np
import pytest

from jaxeval import Outcome, Results
from jaxeval.results.store import averaged

N = 5


def results(seed: int = 0) -> Results:
    rng = np.random.default_rng(seed)
    score = rng.normal(size=N).astype(np.float32)
    score[3] = np.nan
    error = np.where(np.isnan(score), np.nan, rng.random(N)).astype(np.float32)
    drawn = Outcome(
        score=score,
        error=error,
        effective=np.where(np.isnan(score), np.nan, 20.0).astype(np.float32),
        heavy_tails=np.array([False, True, False, True, False]),
    )
    curve = Outcome(score=score, error=error)
    plain = Outcome(score=score)
    return Results(
        {("e", "drawn"): drawn, ("e", "curve"): curve, ("e", "plain"): plain},
        dict.fromkeys(("drawn", "curve", "plain"), "lower"),
        dict.fromkeys(("drawn", "curve", "plain"), "faithfulness"),
        np.arange(N),
        np.zeros(N, int),
    )


def test_the_error_of_a_mean():
    """Draws of samples are independent, what curves leave out has a sign in common."""
    r = results()
    summary = r.summary().set_index("metric")
    error = r["e", "drawn"].error
    error = error[~np.isnan(error)].astype(float)
    assert summary.loc["drawn", "mc_error"] == pytest.approx(np.sqrt((error**2).sum()) / 4)
    assert summary.loc["curve", "mc_error"] == pytest.approx(error.mean())
    assert np.isnan(summary.loc["plain", "mc_error"])
    # An undefined score has no tails.
    assert summary["heavy_tails"].to_dict() == {"drawn": 1 / N, "curve": 0, "plain": 0}


def test_in_the_table():
    frame = results().to_dataframe()
    statuses = ["ok", "heavy tails", "ok", "undefined", "ok"]
    assert frame.loc[frame["metric"] == "drawn", "status"].tolist() == statuses
    assert frame.loc[frame["metric"] == "plain", "error"].isna().all()
    np.testing.assert_array_equal(
        frame.loc[frame["metric"] == "curve", "error"], results()["e", "curve"].error.astype(float)
    )


def test_saved_and_loaded(tmp_path):
    r = results()
    again = Results.load(r.save(tmp_path / "r.parquet"))
    for cell, outcome in r.outcomes.items():
        for part in ("error", "effective"):
            a, b = getattr(outcome, part), getattr(again.outcomes[cell], part)
            assert (a is None) == (b is None)
            if a is not None:
                np.testing.assert_array_equal(a, b)
                assert a.dtype == b.dtype
    heavy = again["e", "drawn"].heavy_tails
    assert heavy.tolist() == [False, True, False, False, False]
    assert again["e", "plain"].heavy_tails is None


def test_from_a_table():
    r = results()
    again = Results.from_dataframe(r.to_dataframe(), directions=r.directions)
    for metric in ("drawn", "curve"):
        np.testing.assert_allclose(again["e", metric].error, r["e", metric].error, rtol=1e-6)
    assert again["e", "plain"].error is None


def test_over_seeds():
    """Seeds draw anew, so that the error of their mean falls; what curves leave out stays."""
    one, two = results(1), results(2)
    mean = averaged([one, two])
    a, b = (r["e", "drawn"].error for r in (one, two))
    np.testing.assert_allclose(mean["e", "drawn"].error, np.sqrt(a**2 + b**2) / 2, rtol=1e-6)
    a, b = (r["e", "curve"].error for r in (one, two))
    np.testing.assert_allclose(mean["e", "curve"].error, (a + b) / 2, rtol=1e-6)
    np.testing.assert_array_equal(mean["e", "drawn"].effective[:3], 40)


def test_errors_fit_their_scores():
    outcome = Outcome(score=np.zeros(2), error=np.zeros(3))
    with pytest.raises(ValueError, match="error must have the shape of its score"):
        Results({("e", "m"): outcome}, {"m": "lower"}, {"m": "x"}, np.arange(2), np.zeros(2, int))
