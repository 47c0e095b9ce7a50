"""The examples of fields run, on real data, and what their pages say of them holds."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest

for package in ("flax", "matplotlib", "optax", "skimage", "sklearn"):
    pytest.importorskip(package)

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.slow]
EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"


def example(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def drawn(folder: Path, *names: str) -> None:
    for name in names:
        assert (folder / f"{name}.png").stat().st_size > 5_000


def finite(results: Any) -> None:
    for cell, scores in results.scores.items():
        assert np.isfinite(scores).all(), cell


def test_tables(tmp_path):
    script = example("tables")
    forest, ridge = (
        f(samples=12, shap_samples=64) for f in (script.classification, script.regression)
    )
    assert forest["model"].classes == ("benign", "malignant")
    assert not forest["model"].host
    for found in (forest, ridge):
        finite(found["results"])
        means = found["results"].means()["insertion"]
        assert means["KernelShap"] > means["random"]
    for name, figure in script.pictures(forest, ridge).items():
        figure.savefig(tmp_path / f"{name}.png")
    drawn(tmp_path, "bars", "importance", "extremes", "curves", "regression")


def test_series(tmp_path):
    found = example("series").main(tmp_path, samples=8)
    finite(found["results"])
    shapes = [a.shape[1:] for a in found["maps"].values()]
    assert shapes == [(4, 16), (4, 16), (1, 16), (4, 1)]
    drawn(tmp_path, "series")


def test_volumes(tmp_path):
    found = example("volumes").main(tmp_path, samples=6, steps=60)
    finite(found["results"])
    assert found["x"].shape == (6, 6, 10, 10, 1)
    drawn(tmp_path, "volumes")


def test_several_inputs(tmp_path):
    found = example("several_inputs").main(tmp_path, samples=8, steps=40)
    finite(found["results"])
    assert {k: v.shape for k, v in found["maps"]["ablation"].items()} == {
        "image": (8, 8, 8, 1), "ink": (8, 8)
    }  # fmt: skip
    assert found["share"]["image"] > found["share"]["ink"]
    drawn(tmp_path, "several")


def test_segmentation(tmp_path):
    """Both explanations lie on the coin more than by chance, that of its middle most of all."""
    found = example("segmentation").main(tmp_path, samples=4)
    chance = found["masks"].mean()
    for name in ("area", "place"):
        finite(found[name]["results"])
        assert found[name]["results"].means()["mass in the coin"].min() > 2 * chance
    drawn(tmp_path, "segmentation")
