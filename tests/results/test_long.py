import json

import numpy as np
import pandas as pd
import pytest

from jaxeval.results import Results
from jaxeval.types import Outcome


@pytest.fixture
def original():
    rng = np.random.default_rng(0)
    outcomes = {
        (e, m): Outcome(
            score=rng.normal(size=6).astype(np.float32),
            curve=rng.normal(size=(6, 3)).astype(np.float32) if m == "flip" else None,
        )
        for e in "AB"
        for m in ("flip", "size")
    }
    outcomes["B", "size"].score[2] = np.nan
    directions = {"flip": "lower", "size": "higher"}
    return Results(
        outcomes, directions, dict.fromkeys(directions, "f"), np.arange(10, 16), np.ones(6, int)
    )


def test_a_long_table_goes_back_to_results(original):
    again = Results.from_dataframe(original.to_dataframe(), directions=original.directions)
    assert again.explainers == original.explainers
    assert again.metrics == original.metrics
    np.testing.assert_array_equal(again.index, original.index)
    for cell, score in original.scores.items():
        np.testing.assert_array_equal(again.scores[cell], score)


def test_a_parquet_file_goes_back_to_results(original, tmp_path):
    frame = pd.read_parquet(original.save(tmp_path / "r.parquet"))
    again = Results.from_dataframe(frame)  # it has columns of direction, family, label and curve
    assert (again.directions, again.families) == (original.directions, original.families)
    np.testing.assert_array_equal(again.y, original.y)
    for cell, outcome in original.outcomes.items():
        np.testing.assert_array_equal(again[cell].score, outcome.score)
        if outcome.curve is not None:
            np.testing.assert_array_equal(again[cell].curve, outcome.curve)


def rows(scores):
    """(explainer, metric, settings, seed, sample, score) rows of {(e, n_steps, seed): scores}."""
    return pd.DataFrame(
        [
            {
                "explainer": e,
                "metric": "Flip",
                "settings": json.dumps({"class": "Flip", "n_steps": n, "base": "black"}),
                "seed": seed,
                "sample": sample,
                "score": score,
                "status": "ok" if score is not None else "undefined",
            }
            for (e, n, seed), own in scores.items()
            for sample, score in enumerate(own)
        ]
    )


def test_settings_become_metrics_and_seeds_are_averaged():
    frame = rows(
        {
            ("A", 4, 0): [1.0, 2.0],
            ("A", 4, 1): [3.0, None],
            ("A", 8, 0): [0.0, None],
            ("A", 8, 1): [1.0, None],
            ("B", 4, 0): [7.0, 7.0],
            ("B", 8, 0): [8.0],
        }
    )
    found = Results.from_dataframe(frame, directions={"Flip": "lower"})
    assert found.metrics == ("Flip(n_steps=4)", "Flip(n_steps=8)")
    assert found["A", "Flip(n_steps=4)"].score.tolist() == [2, 2]
    np.testing.assert_array_equal(found["A", "Flip(n_steps=8)"].score, [0.5, np.nan])
    assert found["B", "Flip(n_steps=8)"].score.tolist() == [8]
    assert found.rank_stability().index.tolist() == [("Flip", "A"), ("Flip", "B")]
    assert found.sensitivity()["parameter"].tolist() == ["n_steps"]


@pytest.mark.parametrize(
    ("change", "given", "words"),
    [
        (lambda f: f.drop(columns="score"), {}, "lacks the columns score"),
        (lambda f: f, {}, "metric 'Flip' has no direction: give directions="),
        (lambda f: f.assign(direction=["lower", "higher"]), {}, "several values of 'direction'"),
        (lambda f: f.assign(model=["a", "b"]), {"directions": {"Flip": "lower"}}, "several models"),
    ],
)
def test_refused(change, given, words):
    frame = change(rows({("A", 4, 0): [1.0, 2.0]}))
    with pytest.raises(ValueError, match=words):
        Results.from_dataframe(frame, **given)
