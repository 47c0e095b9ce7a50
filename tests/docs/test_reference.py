"""docs/reference-results.md shows the files that are there, of every metric."""

from __future__ import annotations

import importlib.util
import re
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
    patch = pytest.MonkeyPatch()
    patch.syspath_prepend(str(file.parent))
    spec = importlib.util.spec_from_file_location("reference", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    patch.undo()
    return module


def test_the_page_shows_the_files(script):
    current = (ROOT / "docs/reference-results.md").read_text(encoding="utf-8")
    assert current == script.page(), "run: python benchmarks/reference.py --table"


FOLDER = ROOT / "docs/reference-results"
NETWORKS = sorted(p.stem for p in FOLDER.glob("*.csv"))


@pytest.mark.parametrize("network", NETWORKS)
def test_every_metric_and_ten_explainers_are_there(network):
    frame = pd.read_csv(FOLDER / f"{network}.csv")
    about = (FOLDER / f"{network}.txt").read_text(encoding="utf-8")
    known, missing = set(frame["metric"]), set(re.findall(r"(\w+) is left out: it", about))
    assert known | missing == set(je.METRICS), "run: make reference"
    assert len(missing) <= 2
    assert (frame.groupby("metric")["explainer"].nunique() == 10).all()
    defined = frame.dropna(subset=["ci_low"])
    inside = (defined["ci_low"] <= defined["mean"]) & (defined["mean"] <= defined["ci_high"])
    assert inside.all()


def test_numbers_of_the_file_are_those_of_a_run(script):
    """Of cheap metrics, on the same samples."""
    frame = pd.read_csv(ROOT / "docs/reference-results/digits.csv").set_index("metric")
    n = int(frame.loc["Sparseness", "n"].iloc[0])
    case = script.CASES["digits"][0](n)
    names = ("Sparseness", "Complexity")
    found = je.evaluate(
        case.plain.model, case.plain.x, explainers={"Saliency": case.explainers["Saliency"]},
        metrics={m: case.metrics()[m] for m in names}, key=script.KEY, progress=False,
    ).summary().set_index("metric")  # fmt: skip
    for name in names:
        wanted = frame.loc[name].set_index("explainer").loc["Saliency"]
        np.testing.assert_allclose(found.loc[name, "mean"], wanted["mean"], rtol=5e-3)


@pytest.mark.parametrize(
    ("number", "digits", "wanted"),
    [(823.1, 1, "800"), (0.0123, 1, "0.01"), (152321.0, 3, "152000")],
)
def test_numbers_are_rounded_readably(script, number, digits, wanted):
    assert script.rounded(number, digits) == wanted
