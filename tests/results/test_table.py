import numpy as np
import pandas as pd
import pytest

from jaxeval.results import Results, bootstrap_mean_ci
from jaxeval.types import Outcome


def results(scores, directions, n=None, **given):
    """Results of {(explainer, metric): scores}, labels all zero."""
    outcomes = {c: s if isinstance(s, Outcome) else Outcome(score=s) for c, s in scores.items()}
    n = max((len(o.score) for o in outcomes.values()), default=0) if n is None else n
    given = {"index": np.arange(n), "y": np.zeros(n, np.int32), **given}
    return Results(outcomes, directions, dict.fromkeys(directions, "complexity"), **given)


@pytest.fixture
def mixed():
    """Two metrics of opposite directions; B is best on both, C undefined on one."""
    rng = np.random.default_rng(0)
    base = rng.normal(size=40).astype(np.float32)
    holes = base.copy()
    holes[::5] = np.nan
    return results(
        {
            ("A", "up"): Outcome(score=base, curve=np.stack([base, base], axis=1)),
            ("A", "down"): base,
            ("B", "up"): Outcome(score=base + 1, curve=np.stack([base, base], axis=1)),
            ("B", "down"): base - 1,
            ("C", "up"): Outcome(score=holes - 2, curve=np.stack([base, base], axis=1)),
            ("C", "down"): np.full(40, np.nan, np.float32),
        },
        {"down": "lower", "up": "higher"},
        index=np.arange(100, 140),
    )


def test_names_keep_their_order_and_cells_are_found(mixed):
    assert mixed.explainers == ("A", "B", "C")
    assert mixed.metrics == ("down", "up")  # the order of directions
    assert list(mixed.curves) == [("A", "up"), ("B", "up"), ("C", "up")]
    assert mixed.curves["A", "up"].shape == (40, 2)
    assert mixed["C", "up"].n_undefined == 8
    np.testing.assert_array_equal(mixed.scores["B", "up"], mixed["B", "up"].score)


@pytest.mark.parametrize(
    ("cell", "words"),
    [(("D", "up"), "'A', 'B', 'C'"), (("A", "upp"), "'down', 'up'"), ("A", "two names")],
)
def test_unknown_cells_say_what_there_is(mixed, cell, words):
    with pytest.raises(KeyError, match=words):
        mixed[cell]


def test_dataframe_is_long_and_keeps_undefined_scores(mixed):
    frame = mixed.to_dataframe()
    columns = ["explainer", "metric", "sample", "score", "error", "effective", "asked", "status"]
    assert list(frame) == columns
    assert len(frame) == 6 * 40
    assert frame["score"].dtype == np.float64
    assert frame["score"].isna().sum() == 48
    row = frame[(frame["explainer"] == "B") & (frame["metric"] == "down")].iloc[3]
    assert row["sample"] == 103
    assert row["score"] == mixed["B", "down"].score[3]


def test_summary_has_one_row_a_cell(mixed):
    summary = mixed.summary()
    assert list(summary) == [
        *("explainer", "metric", "mean", "std", "ci_low", "ci_high"),
        *("n", "n_undefined", "mc_error", "heavy_tails"),
        *("asked", "converged", "direction"),
    ]
    rows = summary.set_index(["explainer", "metric"])
    for cell, score in mixed.scores.items():
        defined = score[~np.isnan(score)].astype(float)
        row = rows.loc[cell]
        assert (row["n"], row["n_undefined"]) == (len(defined), 40 - len(defined))
        assert row["direction"] == mixed.directions[cell[1]]
        if len(defined):
            np.testing.assert_allclose(row["mean"], defined.mean())
            np.testing.assert_allclose(row["std"], defined.std(ddof=1))
            wanted = bootstrap_mean_ci(defined)
            np.testing.assert_allclose([row["ci_low"], row["ci_high"]], wanted)
        else:
            assert np.isnan([row["mean"], row["std"], row["ci_low"], row["ci_high"]]).all()
    # B is A moved by one, so its interval is too: the resampled rows are shared.
    shift = rows.loc[("B", "up"), "ci_low"] - rows.loc[("A", "up"), "ci_low"]
    assert shift == pytest.approx(1, abs=1e-6)


def test_summary_takes_its_arguments(mixed):
    wide, narrow = mixed.summary(0.99), mixed.summary(0.5)
    assert (wide["ci_low"].dropna() < narrow["ci_low"].dropna()).all()
    assert not mixed.summary(seed=1)["ci_low"].equals(mixed.summary()["ci_low"])
    pd.testing.assert_frame_equal(mixed.summary(), mixed.summary())


def test_ranking_handles_direction_ties_and_undefined_means(mixed):
    ranking = mixed.ranking()
    assert list(ranking) == ["down", "up", "mean rank"]
    assert list(ranking.index) == ["B", "A", "C"]
    assert ranking["up"].tolist() == [1, 2, 3]
    np.testing.assert_array_equal(ranking["down"], [1, 2, np.nan])
    np.testing.assert_array_equal(ranking["mean rank"], [1, 2, 3])

    tied = results({("A", "m"): [1.0], ("B", "m"): [1.0], ("C", "m"): [0.0]}, {"m": "lower"})
    assert tied.ranking()["m"].to_dict() == {"C": 1, "A": 2.5, "B": 2.5}


def test_ranking_puts_what_is_nowhere_defined_last():
    r = results({("A", "m"): [np.nan], ("B", "m"): [1.0]}, {"m": "lower"})
    assert list(r.ranking().index) == ["B", "A"]
    assert np.isnan(r.ranking().loc["A", "mean rank"])


def test_partial_results_hold_what_is_there():
    r = results(
        {("A", "m"): [1.0, 2.0], ("B", "m"): [1.0, 2.0, 3.0]}, {"m": "lower", "k": "lower"}, 5
    )
    assert len(r.to_dataframe()) == 5
    assert r.to_dataframe()["sample"].tolist() == [0, 1, 0, 1, 2]
    assert r.summary()["n"].tolist() == [2, 3]
    assert r.summary()["n_undefined"].tolist() == [0, 0]
    assert r.ranking()["k"].isna().all()
    assert "partial: 5 of 20 scores" in r.headline
    with pytest.raises(KeyError, match="yet"):
        r["A", "k"]


def test_results_without_an_outcome_still_answer():
    r = results({}, {"m": "lower"}, 3)
    assert r.to_dataframe().empty
    assert r.summary().empty
    assert r.ranking().empty
    assert repr(r) == "Results: 0 explainers x 1 metric, 3 samples"
    assert r._repr_html_()


def test_what_is_printed(mixed):
    """The table, by `print` as well."""
    line = "Results: 3 explainers x 2 metrics, 40 samples, 48 of 240 scores undefined"
    assert mixed.headline == line
    assert str(mixed) == repr(mixed)
    lines = str(mixed).splitlines()
    assert lines[0] == line
    down = next(line for line in lines if line.startswith("down"))
    assert down.split()[1] == "↓"
    assert [cell.endswith("*") for cell in down.split()[2:]] == [False, True, False]


def test_html_escapes_names_and_marks_the_best():
    r = results({("<b>", "x<y"): [1.0], ("&", "x<y"): [2.0]}, {"x<y": "higher"})
    page = r._repr_html_()
    assert "x&lt;y ↑" in page
    assert "&lt;b&gt;" in page
    assert "<b>2</b>" in page
    assert "<b>1</b>" not in page


def test_arrays_become_float32_or_stay_float64():
    r = results(
        {("A", "i"): np.array([1, 2]), ("A", "h"): np.float16([1, 2]), ("A", "d"): np.ones(2)},
        dict.fromkeys("ihd", "higher"),
    )
    assert [s.dtype.name for s in r.scores.values()] == ["float32", "float32", "float64"]


def test_settings_become_what_a_file_can_hold():
    r = results(
        {},
        {},
        0,
        settings={
            "shape": (1, np.int64(2)),
            "x": np.float32(0.5),
            "nan": float("nan"),
            "a": np.eye(2),
            "f": Ellipsis,
            "call": results,
            3: None,
        },
    )
    assert r.settings == {
        "shape": [1, 2],
        "x": 0.5,
        "nan": "nan",
        "a": [[1.0, 0.0], [0.0, 1.0]],
        "f": "Ellipsis",
        "call": f"{__name__}.results",
        "3": None,
    }


@pytest.mark.parametrize(
    ("ids", "kind"),
    [
        (np.arange(3, dtype=np.uint8), "u"),
        (["a", "bc", "ü"], "U"),
        (np.array([1, 2, 3], object), "i"),
        (np.array(["a", "b", "c"], np.dtypes.StringDType()), "U"),
        (pd.Index(["a", "b", "c"]), "U"),
    ],
)
def test_ids_are_integers_or_strings(ids, kind):
    r = results({("A", "m"): np.zeros(3)}, {"m": "lower"}, index=ids)
    assert r.index.dtype.kind == kind
    assert r.to_dataframe()["sample"].tolist() == list(ids)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"index": np.zeros((2, 2))}, "index must have the shape"),
        ({"y": np.zeros(3, int)}, r"y must be integers .* \(2,\)"),
        ({"y": np.zeros(2)}, "y must be integers"),
        ({"directions": {"m": "up"}}, r"directions\['m'\]"),
        ({"directions": {}}, "directions lacks the metric 'm'"),
        ({"families": {}}, "families lacks the metric 'm'"),
        ({"outcomes": {("A", "m"): Outcome(score=np.zeros(3))}}, r"outcomes\['A', 'm'\].score"),
        (
            {"outcomes": {("A", "m"): Outcome(score=np.zeros(2), curve=np.zeros((3, 4)))}},
            r"\.curve must have a shape \[2, S\]",
        ),
        (
            {"outcomes": {("A", "m"): Outcome(score=np.zeros(2), curve_std=np.zeros((2, 4)))}},
            r"\.curve_std must have the shape of its curve",
        ),
    ],
)
def test_parts_that_do_not_fit_are_named(change, words):
    parts = {
        "outcomes": {("A", "m"): Outcome(score=np.zeros(2))},
        "directions": {"m": "lower"},
        "families": {"m": "complexity"},
        "index": np.arange(2),
        "y": np.zeros(2, int),
    }
    with pytest.raises(ValueError, match=words):
        Results(**{**parts, **change})
