"""Maps with different features are not compared, unless one asks for it."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from jaxeval.results import Results
from jaxeval.types import Outcome

SHAPES = {
    "pixels": [8, 8],
    "A": [3, 8, 8],
    "B": [3, 8, 8],
    "other pixels": [1, 8, 8],
    "C": [3, 8, 8],
}
METRICS = {"x": "lower", "y": "higher", "z": "lower"}


def results(shapes=SHAPES, metrics=METRICS, n: int = 6) -> Results:
    """Explainer i scores i under every metric, but for noise."""
    rng = np.random.default_rng(0)
    outcomes = {
        (e, m): Outcome(score=i + rng.uniform(0, 0.1, n).astype(np.float32))
        for i, e in enumerate(shapes)
        for m in metrics
    }
    families = dict.fromkeys(metrics, "f")
    classes = {m: {"class": "Flip", "n": i} for i, m in enumerate(metrics)}
    said = {"features": shapes, "metrics": classes}
    return Results(outcomes, metrics, families, np.arange(n), np.zeros(n, int), settings=said)


def alike() -> Results:
    return results({e: [3, 8, 8] for e in ("A", "B", "C")})


@pytest.fixture
def no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def test_groups_by_the_number_of_features():
    """[8, 8] and [1, 8, 8] are the same features."""
    assert results().feature_groups() == [("A", "B", "C"), ("pixels", "other pixels")]
    assert alike().feature_groups() == [("A", "B", "C")]
    assert results({"A": [3, 8, 8], "B": [64]}).feature_groups() == [("A",), ("B",)]


def test_results_that_know_nothing_of_features_are_one_group(no_warnings):
    r = results()
    r = Results(r.outcomes, r.directions, r.families, r.index, r.y)
    assert r.feature_groups() == [tuple(SHAPES)]
    assert r.ranking().loc["pixels", "x"] == 1


def test_ranking_is_within_like_features():
    with pytest.warns(UserWarning, match=r"'pixels', 'other pixels' of 8 x 8 or 1 x 8 x 8") as seen:
        table = results().ranking()
    assert "reduce_channels" in str(seen[0].message)
    assert seen[0].filename == __file__
    assert table["x"].to_dict() == {"A": 1, "B": 2, "C": 3, "pixels": 1, "other pixels": 2}
    assert list(table.index[:3]) == ["B", "A", "C"] or set(table.index[:3]) == {"A", "B", "C"}
    assert table.loc["pixels", "features"] == "8 x 8"


def test_an_explainer_alone_has_no_rank():
    with pytest.warns(UserWarning, match="different features"):
        table = results({"A": [3, 8, 8], "B": [8, 8]}).ranking()
    assert table[list(METRICS)].isna().all(axis=None)


def test_ranking_of_all_when_asked(no_warnings):
    table = results().ranking(mixed_features=True)
    assert table["x"].to_dict() == {e: i + 1 for i, e in enumerate(SHAPES)}
    assert "features" not in table


def test_paired_tests_leave_mixed_pairs_out(no_warnings):
    with pytest.warns(UserWarning, match="pairs of them are left out"):
        pairs = results().wilcoxon("x")
    assert {frozenset(p) for p in zip(pairs["a"], pairs["b"], strict=True)} == {
        frozenset(p) for p in (("A", "B"), ("A", "C"), ("B", "C"), ("pixels", "other pixels"))
    }
    assert len(results().wilcoxon("x", mixed_features=True)) == 10


def test_friedman_compares_the_largest_group(no_warnings):
    with pytest.warns(UserWarning, match="'pixels', 'other pixels' left out"):
        found = results().friedman("x")
    assert set(found.ranks.index) == {"A", "B", "C"}
    assert found.other_features == ("pixels", "other pixels")
    assert "'pixels', 'other pixels' with other features" in repr(found)
    assert len(results().friedman("x", mixed_features=True).ranks) == 5
    refused = pytest.raises(ValueError, match="'B' has maps with other feat")
    with pytest.warns(UserWarning, match="left out"), refused:
        results({"A": [3, 8, 8], "B": [8, 8]}).friedman("x")


@pytest.mark.parametrize("what", ["agreement", "correlations", "rank_stability", "sensitivity"])
def test_other_comparisons_of_explainers(what, no_warnings):
    """The same as of the largest group alone."""
    r = results()
    chosen = {c: o for c, o in r.outcomes.items() if c[0] in "ABC"}
    alone = Results(chosen, r.directions, r.families, r.index, r.y, settings=r.settings)
    want = getattr(alone, what)()
    with pytest.warns(UserWarning, match="left out"):
        got = getattr(r, what)()
    assert got.equals(want)
    everything = getattr(r, what)(mixed_features=True)
    assert what == "correlations" or not everything.equals(want)


def test_what_is_printed_says_so(no_warnings):
    text = repr(results())
    assert "best among maps with the same features: 'A', 'B', 'C' of 3 x 8 x 8; 'pixels'" in text
    row = next(line for line in text.splitlines() if line.startswith("x"))
    assert [cell.endswith("*") for cell in row.split()[2:]] == [True, True, False, False, False]


def test_features_survive_a_file(tmp_path):
    r = Results.load(results().save(tmp_path / "r.parquet"))
    assert r.feature_groups() == results().feature_groups()
