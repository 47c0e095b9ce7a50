"""Rankings, plots and pages, on scores whose metrics are known to be good or worthless."""

from __future__ import annotations

import numpy as np
import pytest

import jaxeval as je
from jaxeval.meta.results import MetaResults
from jaxeval.report.sections import section

L, N, P, LEVELS = 4, 60, 4, (0.0, 0.5, 1.0)


@pytest.fixture(scope="module")
def meta():
    """`good` reacts, `noise` is drawn anew each time, `wrong` gets better under disruption."""
    rng = np.random.default_rng(0)
    quality = np.arange(L)[:, None] / L + 0.1 * rng.normal(size=(L, N))
    clean = {"good": quality, "noise": rng.random((L, N)), "wrong": quality}
    scores = {}
    for m, toward in (("good", -1), ("wrong", 1)):
        for test in ("ModelNoise", "InputNoise"):
            scores[m, test, "minor"] = quality + 0.02 * rng.normal(size=(P, L, N))
            scores[m, test, "disruptive"] = quality + toward * (0.5 + rng.random((P, L, N)))
        noisy = quality + toward * np.array(LEVELS)[:, None, None]
        scores[m, "MapNoise", "levels"] = noisy + 0.1 * rng.normal(size=(P, 3, L, N))
    for m in ("noise", "Random"):
        clean[m] = rng.random((L, N))
        for test in ("ModelNoise", "InputNoise"):
            for kind in ("minor", "disruptive"):
                scores[m, test, kind] = rng.random((P, L, N))
        scores[m, "MapNoise", "levels"] = rng.random((P, 3, L, N))
    clean["Constant"] = np.ones((L, N))
    for m, t, k in [k for k in scores if k[0] == "good"]:
        scores["Constant", t, k] = np.ones_like(scores[m, t, k])
    y = np.zeros(N)
    classes = {("", "clean"): y[None]} | {
        (t, k): np.tile(y + v, (P, 1))
        for t in ("ModelNoise", "InputNoise")
        for k, v in (("minor", 0), ("disruptive", 1))
    }
    names = ("good", "wrong", "noise", "Random", "Constant")
    return MetaResults(
        explainers=tuple("abcd"),
        directions=dict.fromkeys(names, "higher"),
        families={m: "control" if m in ("Random", "Constant") else "f" for m in names},
        tests={
            "ModelNoise": {"class": "ModelNoise", "minor": 0.1, "disruptive": 1.0},
            "InputNoise": {"class": "InputNoise", "minor": 0.1, "disruptive": 1.0},
            "MapNoise": {"class": "MapNoise", "levels": list(LEVELS)},
        },
        clean={m: clean[m] for m in names},
        scores=scores,
        predicted=classes,
        index=np.arange(N),
        y=np.zeros(N, int),
        groups=2,
    )


@pytest.mark.parametrize("by", ["MC", "tau", "agree", "react", "recovery", "alpha"])
def test_what_is_no_better_than_a_control_is_marked(meta, by):
    ranking = meta.ranking(by, n_bootstrap=300)
    assert ranking.index[0] in ("good", "wrong")
    assert ranking.loc["good", "not_better_than"] == ""
    assert "Random" in ranking.loc["noise", "not_better_than"]
    worse = {"react": "Random, Constant", "recovery": "Random, Constant"}.get(by, "")
    if by != "MC":
        assert ranking.loc["wrong", "not_better_than"] == worse
    low, value, high = ranking.loc["good", ["ci_low", "value", "ci_high"]]
    assert low < high or by == "react"  # the best that there is, in every resample
    assert low <= value <= high or by == "MC"


def test_measures_of_known_metrics(meta):
    means = meta.means()
    assert (means.loc["good", ["react", "IEC_AR"]] > 0.99).all()
    assert means.loc["wrong", "react"] < -0.99
    assert means.loc["good", "recovery"] > 0.9
    assert means.loc["wrong", "recovery"] < -0.9
    assert abs(means.loc["noise", "tau"]) < 0.1
    assert abs(means.loc["Random", "recovery"]) < 0.1
    assert means.loc["Constant", "MC"] == 0.5


def test_the_same_names_of_tests_as_in_kept_and_changed(meta):
    assert meta.kept["ModelNoise", "minor"].all()
    assert meta.changed["InputNoise", "disruptive"].all()
    with pytest.raises(KeyError, match="no metric 'bad'; there are 'good'"):
        meta.tested("bad", "MapNoise")
    with pytest.raises(KeyError, match="no test 'new'"):
        meta.tested("good", "new")


def test_the_area_plot_shows_the_criteria(meta):
    figure = je.plot.meta_area(meta, "good")
    assert len(figure.axes) == 2
    row = meta.table().set_index(["metric", "test"]).loc["good", "ModelNoise"]
    x, y = figure.axes[0].lines[-1].get_data()
    np.testing.assert_allclose(x, [-row["IAC_AR"], 0, row["IEC_AR"], 0, -row["IAC_AR"]])
    np.testing.assert_allclose(y, [0, row["IAC_NR"], 0, -row["IEC_NR"], 0])
    assert len(je.plot.meta_area(meta, "Random", tests=["InputNoise"]).axes) == 1
    with pytest.raises(ValueError, match="no metric 'bad'"):
        je.plot.meta_area(meta, "bad")
    with pytest.raises(ValueError, match="need ModelNoise or InputNoise"):
        je.plot.meta_area(meta, "good", tests=["MapNoise"])


def test_the_heat_map_has_a_number_for_each_cell(meta):
    texts = [t.get_text() for t in je.plot.meta_heat(meta, ["MC", "react"]).axes[0].texts]
    means = meta.means()[["MC", "react"]].to_numpy().ravel()
    assert [float(t.replace("−", "-")) for t in texts] == [float(f"{v:.2f}") for v in means]
    with pytest.raises(ValueError, match="no measure 'mc'"):
        je.plot.meta_heat(meta, ["mc"])


def test_recovery_curves_fall_where_the_metric_sees_the_noise(meta):
    lines = je.plot.meta_recovery(meta).axes[0].lines
    good, wrong = lines[0].get_ydata(), lines[1].get_ydata()
    assert good[0] > 0.9 > 0.1 > good[-1]
    assert wrong[0] < 0.1 < 0.9 < wrong[-1]
    np.testing.assert_allclose(lines[4].get_ydata(), 0.5)
    with pytest.raises(ValueError, match="there are 'MapNoise'"):
        je.plot.meta_recovery(meta, "ModelNoise")


def test_pages(meta, tmp_path, monkeypatch):
    pytest.importorskip("jinja2")
    monkeypatch.setattr(MetaResults, "ranking", lambda meta, by: RANKING(meta, by, n_bootstrap=20))
    text = meta.report(tmp_path / "meta.html").read_text(encoding="utf-8")
    assert "not better than Random" in text
    assert text.count("<img") == 2 + 3  # the heat map, recovery, and an area for each metric
    assert [
        by for by in ("recovery", "tau", "react", "MC") if f"Metrics by {by} " not in text
    ] == []
    outcomes = {
        (e, m): je.Outcome(score=meta.clean[m][i])
        for i, e in enumerate(meta.explainers)
        for m in ("good", "noise")
    }
    both = dict.fromkeys(("good", "noise"), "higher")
    results = je.Results(outcomes, both, both, meta.index, meta.y)
    trust = [section("trust", "Tests")]
    monkeypatch.setattr("jaxeval.report.meta.sections", lambda meta: trust)
    page = results.report(tmp_path / "both.html", meta=meta).read_text(encoding="utf-8")
    assert page.index('id="scores"') < page.index('id="trust"') < page.index('id="settings"')


RANKING = MetaResults.ranking
