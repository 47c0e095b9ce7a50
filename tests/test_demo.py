"""The main job, from the digits to the files."""

from __future__ import annotations

import io
import re

import numpy as np
import pytest
from rich.console import Console

import jaxeval as je
from jaxeval import demo
from jaxeval.demo import report
from jaxeval.types import Outcome

PNG = b"\x89PNG\r\n\x1a\n"


def printing(width=100):
    return Console(file=io.StringIO(), width=width)


def printed(console):
    return console.file.getvalue()


# -- the whole of it, on few samples and parts of the explainers and metrics -----------------------

NAMES = ("Saliency", "InputXGradient", "Sobel", "Random")
METRICS = ("PixelFlipping", "FaithfulnessCorrelation", "AvgSensitivity", "Sparseness")


@pytest.fixture(scope="module")
def short(tmp_path_factory):
    """(results, folder, what was printed) of a run with few samples."""
    all_explainers, all_metrics = demo.explainers(), demo.chosen_metrics()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo, "explainers", lambda: {n: all_explainers[n] for n in NAMES})
        patch.setattr(demo, "chosen_metrics", lambda: {n: all_metrics[n] for n in METRICS})
        out, console = tmp_path_factory.mktemp("demo") / "new" / "folder", printing()
        results = demo.run(out, samples=12, batch_size=8, console=console, progress=False)
    return results, out, printed(console)


pytestmark = pytest.mark.xdist_group("demo")


def test_short_run_writes_every_file(short):
    results, out, text = short
    assert sorted(p.name for p in out.iterdir()) == sorted(demo.FILES)
    for name in demo.FILES[1:]:
        data = (out / name).read_bytes()
        assert data.startswith(PNG)
        assert len(data) > 10_000
        assert name in text
    loaded = je.Results.load(out / "scores.parquet")
    assert loaded.explainers == NAMES
    assert loaded.metrics == METRICS
    for cell, outcome in results.outcomes.items():
        np.testing.assert_array_equal(loaded[cell].score, outcome.score)
        assert len(outcome.score) == 12


def test_short_run_says_what_it_did(short):
    results, out, text = short
    assert "12 digits" in text
    assert "98.5% of all 596" in text
    assert "faithfulness, robustness, complexity" in text
    asked, naive = results.asked, results.asked["naive"]
    assert f"{asked['output']:,} outputs instead of {naive['output']:,}" in text
    assert asked["output"] < naive["output"]
    assert "evaluation" in text
    (line,) = [line for line in text.splitlines() if line.startswith("load")]
    assert f"jaxeval.Results.load('{out / 'scores.parquet'}')" in line  # in one piece


def test_maps_that_are_shown_are_those_that_were_scored(short):
    results, _, _ = short
    data, model = je.data.digits(), je.data.digits_cnn()
    rows = np.array([1, 4, 11])
    methods = {name: demo.explainers()[name] for name in NAMES}
    maps = demo._shown_maps(results, model, data.x_test[:12], methods, rows, seed=0)
    for name in NAMES:
        again = [float(je.functional.sparseness(a)) for a in maps[name]]
        np.testing.assert_allclose(again, results[name, "Sparseness"].score[rows], rtol=1e-5)


def test_sample_counts_that_do_not_fit_are_refused(tmp_path):
    for samples in (1, 597):
        with pytest.raises(ValueError, match=r"samples must lie in 2\.\.596"):
            demo.run(tmp_path, samples=samples, console=printing())


# -- what it runs ----------------------------------------------------------------------------------


def test_the_job_is_as_large_as_promised():
    explainers, metrics = demo.explainers(), demo.chosen_metrics()
    assert len(explainers) >= 10
    assert "Random" in explainers
    assert len(metrics) >= 8
    families = [m.family for m in metrics.values()]
    assert len(set(families)) >= 4
    assert families.count("faithfulness") >= 4


@pytest.mark.slow
def test_the_whole_job_ranks_random_last(tmp_path):
    console = printing()
    results = demo.run(tmp_path, samples=100, console=console, progress=False)
    text = printed(console)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(demo.FILES)
    assert report.beaten_by_random(results) == {}
    assert "Random is last under all 7 faithfulness metrics" in text
    assert "None of the 14,000 scores is undefined" in text
    assert results.asked["naive"]["attribution"] > 2 * results.asked["attribution"]
    # DeepLift is complete by construction, IntegratedGradients but for its finite steps.
    complete = results.means()["Completeness"].nsmallest(2)
    assert list(complete.index) == ["DeepLift", "IntegratedGradients"]
    assert complete["DeepLift"] < 1e-4
    # Controls do not depend on the model; nor does their similarity to themselves.
    for control in ("Sobel", "Random"):
        np.testing.assert_allclose(results[control, "MPRT"].score, 1, rtol=1e-5)


# -- what it prints --------------------------------------------------------------------------------

SCORES = {
    ("IntegratedGradients", "Flip"): [0.1, 0.2],
    ("IntegratedGradients", "Corr"): [0.5, 0.7],
    ("IntegratedGradients", "Robust"): [2.0, 3.0],
    ("Edges", "Flip"): [0.6, 0.8],
    ("Edges", "Corr"): [np.nan, -0.25],
    ("Edges", "Robust"): [100.0, 150.0],
    ("Random", "Flip"): [0.5, 0.5],
    ("Random", "Corr"): [0.0, 0.0],
    ("Random", "Robust"): [0.0, 0.0],
}


@pytest.fixture
def results():
    return je.Results(
        {cell: Outcome(score=np.float32(s)) for cell, s in SCORES.items()},
        {"Flip": "lower", "Corr": "higher", "Robust": "lower"},
        {"Flip": "faithfulness", "Corr": "faithfulness", "Robust": "robustness"},
        np.arange(2),
        np.array([3, 4]),
    )


def test_table_shows_scores_ranks_and_directions(results):
    console = printing()
    report.print_table(results, console)
    text = printed(console)
    lines = {line.split()[0]: line.split() for line in text.splitlines() if line.strip()}
    # Columns are in the order of mean rank.
    assert lines["Flip"] == ["Flip", "↓", "0.150", "(1)", "0.500", "(2)", "0.700", "(3)"]
    assert lines["Corr"] == ["Corr", "↑", "0.600", "(1)", "0.000", "(2)", "-0.25", "(3)"]
    assert lines["Robust"] == ["Robust", "↓", "2.50", "(2)", "0.000", "(1)", "125", "(3)"]
    means = [line.split()[-3:] for line in text.splitlines() if line.startswith("mean rank")]
    assert means == [["1.00", "2.00", "3.00"], ["1.33", "1.67", "3.00"]]
    assert "faithfulness" in lines
    assert "robustness" in lines
    assert "2 samples" in text


def test_best_are_marked(results):
    console = Console(
        file=io.StringIO(), width=100, force_terminal=True, color_system="standard", no_color=False
    )
    report.print_table(results, console)
    text = printed(console)
    best = re.findall(r"\x1b\[1;32m *(.*?)\x1b", text)
    assert best == ["0.150 (1)", "0.600 (1)", "0.000 (1)", "1.00", "1.33"]


@pytest.mark.parametrize("width", [36, 50, 80, 100])
def test_table_keeps_its_words_in_narrow_terminals(results, width):
    console = printing(width)
    report.print_table(results, console)
    text = printed(console)
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    for score in ("0.150 (1)", "0.700 (3)", "0.500 (2)"):
        assert score in text


def test_remarks_are_about_these_results(results):
    assert report.beaten_by_random(results) == {"Flip": ["Edges"], "Corr": ["Edges"]}
    console = printing(200)
    report.remarks(results, console)
    text = printed(console)
    assert "Random is not last under 2 of 2" in text
    assert "Random is first in robustness" in text
    assert "Corr of Edges: 1" in text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0.000"),
        (0.12345, "0.123"),
        (0.9996, "1.00"),
        (-0.0085, "-0.01"),
        (9.996, "10.0"),
        (99.96, "100"),
        (216.6, "217"),
        (0.00001, "1e-05"),
        (float("nan"), "–"),
    ],
)
def test_numbers_are_short(value, text):
    assert report._number(value) == text
