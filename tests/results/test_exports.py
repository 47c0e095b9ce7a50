"""Results as xarray and as a styled table, and results against other results."""

from __future__ import annotations

import json

import numpy as np
import pytest
import scipy.stats

import jaxeval as je

EVIL = '<script>alert("1")</script>'


def results(scores, index=None, directions=None, curve=None, **given):
    """{(explainer, metric): scores} as results."""
    metrics = dict.fromkeys(m for _, m in scores)
    outcomes = {
        cell: je.Outcome(score=np.float32(s), curve=None if curve is None else curve[cell])
        for cell, s in scores.items()
    }
    n = max(map(len, scores.values()))
    given.setdefault("y", np.zeros(n, np.int32))
    return je.Results(
        outcomes,
        directions=directions or dict.fromkeys(metrics, "higher"),
        families=dict.fromkeys(metrics, "faithfulness"),
        index=np.arange(n) if index is None else np.asarray(index),
        **given,
    )


def test_xarray_has_every_score_under_its_names():
    xarray = pytest.importorskip("xarray")
    rng = np.random.default_rng(0)
    cells = [(e, m) for e in "AB" for m in ("m", "n")]
    scores = {c: rng.normal(size=4) for c in cells}
    scores["A", "m"][2] = np.nan
    curve = {c: np.float32(rng.normal(size=(4, 3))) if c[1] == "m" else None for c in cells}
    found = results(
        scores, index=[7, 5, 3, 1], curve=curve, y=np.arange(4), asked={"output": 12},
        settings={"points": {"m": ["x", "y", "z"]}},
    ).to_xarray()  # fmt: skip
    assert isinstance(found, xarray.Dataset)
    assert dict(found.sizes) == {"explainer": 2, "metric": 2, "sample": 4, "step: m": 3}
    for (e, m), own in scores.items():
        np.testing.assert_array_equal(found.score.sel(explainer=e, metric=m), np.float32(own))
    assert float(found.score.sel(explainer="B", metric="n", sample=3)) == np.float32(
        scores["B", "n"][2]
    )
    at = found["curve: m"].sel(explainer="B", sample=1)
    np.testing.assert_array_equal(at.sel({"step: m": "z"}), curve["B", "m"][3, 2])
    assert found.y.sel(sample=5) == 1
    assert json.loads(found.attrs["asked"]) == {"output": 12}
    assert np.isnan(found.error).all()


def test_xarray_of_incomplete_results_is_nan_there():
    pytest.importorskip("xarray")
    found = results({("A", "m"): [1, 2], ("B", "n"): [3, 4, 5]}).to_xarray()
    assert np.isnan(found.score.sel(explainer="A", metric="n")).all()
    np.testing.assert_array_equal(found.score.sel(explainer="A", metric="m"), [1, 2, np.nan])


def test_the_styled_table_marks_the_best_and_escapes_names():
    pytest.importorskip("jinja2")
    made = results(
        {("A", "m"): [1.0, 1.0], (EVIL, "m"): [2.0, 2.0], ("A", "n"): [1, 1], (EVIL, "n"): [2, 2]},
        directions={"m": "higher", "n": "lower"},
    )
    styler = made.to_styler()
    styler._compute()
    text = styler.to_html()
    assert "<script>" not in text
    assert "&lt;script&gt;" in text
    assert "m ↑" in text
    assert "n ↓" in text
    bold = {k: [s for s in v if "bold" in str(s)] for k, v in styler.ctx.items()}
    rows = list(made.explainers)
    best = {(rows[i], j) for (i, j), found in bold.items() if found}
    assert best == {(EVIL, 0), ("A", 1)}


def test_comparison_is_a_paired_test_of_the_samples_in_both():
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=30), rng.normal(size=30) + 0.8
    ids = rng.permutation(30)
    ours = results({("A", "m"): a, ("B", "m"): a})
    other = results({("A", "m"): b[ids], ("C", "m"): b[ids]}, index=ids)
    frame = ours.compare(other)
    assert frame[["explainer", "metric"]].to_numpy().tolist() == [["A", "m"]]
    row = frame.iloc[0]
    wanted = scipy.stats.wilcoxon(np.float32(a) - np.float32(b))
    np.testing.assert_allclose(row["p"], wanted.pvalue, rtol=1e-6)
    np.testing.assert_allclose(row["difference"], np.mean(a) - np.mean(b), rtol=1e-5)
    assert row["better"] == "other"
    assert row["changed"] == 1
    assert ours.compare(ours)[["changed", "difference"]].to_numpy().tolist() == [[0, 0], [0, 0]]


def test_comparison_counts_what_only_one_side_has():
    a = results({("A", "m"): [1, np.nan, 3, 4]}, directions={"m": "lower"})
    b = results({("A", "m"): [2, 2, 3, 9, 9]}, index=[3, 1, 2, 0, 8], directions={"m": "lower"})
    row = a.compare(b).iloc[0]
    assert (row["n"], row["n_undefined"], row["n_only"]) == (3, 1, 1)
    assert row["mean"] == pytest.approx(8 / 3)
    assert row["other_mean"] == pytest.approx((9 + 3 + 2) / 3)
    assert row["changed"] == pytest.approx(2 / 3)
    assert row["better"] == ""


@pytest.mark.parametrize(
    ("other", "error", "wanted"),
    [
        (3, TypeError, "takes other results, got int"),
        (results({("A", "m"): [1]}, index=[9]), ValueError, "no sample in common"),
        (results({("B", "m"): [1]}), ValueError, "no explainer and metric in common"),
        (
            results({("A", "m"): [1]}, directions={"m": "lower"}),
            ValueError,
            "direction of 'm' is 'higher' here, and 'lower'",
        ),
        (results({("A", "m"): [1, 2]}, index=[0, 0]), ValueError, "occur twice"),
    ],
)
def test_what_cannot_be_compared_is_refused(other, error, wanted):
    with pytest.raises(error, match=wanted):
        results({("A", "m"): [1.0]}).compare(other)


def test_what_is_missing_is_said(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "xarray", None)
    with pytest.raises(ImportError, match=r"jaxeval\[xarray\]"):
        results({("A", "m"): [1.0]}).to_xarray()
