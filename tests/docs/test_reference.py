"""docs/reference-results.md shows the files that are there, of every metric."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import jaxeval as je

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def script():
    for package in ("flax", "sklearn"):
        pytest.importorskip(package)
    file = ROOT / "benchmarks/reference.py"
    spec = importlib.util.spec_from_file_location("reference", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_shows_the_files(script):
    current = (ROOT / "docs/reference-results.md").read_text(encoding="utf-8")
    assert current == script.page(), "run: python benchmarks/reference.py --table"


def test_every_metric_and_ten_explainers_are_there():
    frame = pd.read_csv(ROOT / "docs/reference-results/digits.csv")
    known = set(frame["metric"])
    assert known <= set(je.METRICS)
    assert len(known) >= 53
    assert (frame.groupby("metric")["explainer"].nunique() == 10).all()
    defined = frame.dropna(subset=["ci_low"])
    inside = (defined["ci_low"] <= defined["mean"]) & (defined["mean"] <= defined["ci_high"])
    assert inside.all()


def test_numbers_of_the_file_are_those_of_a_run(script):
    """Of cheap metrics, on the same samples."""
    frame = pd.read_csv(ROOT / "docs/reference-results/digits.csv").set_index("metric")
    n = int(frame.loc["Sparseness", "n"].iloc[0])
    case = script.digits(n)
    names = ("Sparseness", "Complexity")
    found = je.evaluate(
        case.model, case.x, explainers={"Saliency": case.explainers["Saliency"]},
        metrics={m: script.metrics(case)[m] for m in names}, key=script.KEY, progress=False,
    ).summary().set_index("metric")  # fmt: skip
    for name in names:
        wanted = frame.loc[name].set_index("explainer").loc["Saliency"]
        np.testing.assert_allclose(found.loc[name, "mean"], wanted["mean"], rtol=1e-3)


@pytest.mark.parametrize(
    ("number", "digits", "wanted"),
    [(823.1, 1, "800"), (0.0123, 1, "0.01"), (152321.0, 3, "152000")],
)
def test_numbers_are_rounded_readably(script, number, digits, wanted):
    assert script.rounded(number, digits) == wanted
