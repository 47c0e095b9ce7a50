"""The walk-throughs run, and their scores are Quantus's where Quantus can be made to run."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.bridges.quantus.conftest import ours, theirs

for package in ("matplotlib", "skimage", "sklearn"):
    pytest.importorskip(package)

pytestmark = pytest.mark.filterwarnings("ignore")
EXAMPLES = Path(ours.__file__).parents[2] / "docs" / "examples"


class Mended:
    """Quantus with what fails in it today replaced by what it means."""

    normalise_by_negative = staticmethod(ours.normalise_by_negative)
    fro_norm = staticmethod(theirs.norm_func.fro_norm)
    uniform_noise = staticmethod(theirs.batch_uniform_noise)
    baseline_replacement_by_indices = staticmethod(theirs.batch_baseline_replacement_by_indices)

    def __getattr__(self, name: str) -> Any:
        return getattr(theirs, name)

    def evaluate(self, *args: Any, **kwargs: Any) -> Any:
        """Its metrics and explanations, in our loop, which passes the method on."""
        with ours.engine("quantus"):
            return ours.evaluate(*args, **kwargs)


def example(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module", autouse=True)
def no_windows():
    import matplotlib.pyplot as plt

    plt.switch_backend("agg")
    yield
    plt.close("all")


def answered() -> set[tuple[str, str]]:
    return {(entry.metric, entry.engine) for entry in ours.log() if entry.metric != "explain"}


@pytest.mark.slow
def test_digits(tmp_path):
    script = example("quantus_mnist")
    with ours.engine("jaxeval"):
        mine = script.walk_through(samples=12, nr_samples=4)
    assert answered() == {
        ("MaxSensitivity", "jaxeval"),
        ("FaithfulnessCorrelation", "jaxeval"),
        ("Sparseness", "quantus"),
    }
    want = script.walk_through(Mended(), samples=12, nr_samples=4)
    for method, scores in want["scores"].items():
        np.testing.assert_allclose(mine["maps"][method], want["maps"][method], atol=1e-4)
        for name, values in scores.items():
            np.testing.assert_allclose(
                mine["scores"][method][name], values, atol=1e-4, err_msg=f"{method} {name}"
            )
    script.draw(mine).savefig(tmp_path / "digits.png")
    assert (tmp_path / "digits.png").stat().st_size > 10_000


@pytest.mark.slow
def test_textures(tmp_path):
    script = example("quantus_fashion")
    with ours.engine("jaxeval"):
        mine = script.walk_through(samples=9)
    assert {engine for _, engine in answered()} == {"jaxeval"}
    want = script.walk_through(Mended(), samples=9)
    for name, scores in want.items():
        for method, values in scores.items():
            got = mine[name][method]
            if name == "MPRT":
                assert list(got) == list(values)
                got, values = list(got.values()), list(values.values())
            atol = 1e-4 if name == "MPRT" else 1e-5  # ranks of entries that are almost equal
            np.testing.assert_allclose(got, values, atol=atol, err_msg=f"{name} {method}")
    figures = script.draw(mine, script.textures(3, seed=1)[1])
    assert list(figures) == list(mine)
    for name, figure in figures.items():
        figure.savefig(tmp_path / f"{name}.png")


@pytest.mark.slow
def test_photographs(tmp_path):
    script = example("quantus_tutorial")
    with ours.engine("jaxeval"):
        mine = script.walk_through(samples=8, nr=3)
    metrics = {metric for metric, engine in answered() if engine == "jaxeval"}
    assert metrics == {"FaithfulnessCorrelation", "PixelFlipping", "MaxSensitivity", "RandomLogit"}
    want = script.walk_through(Mended(), samples=8, nr=3)
    assert list(mine.columns) == list(script.METHODS)
    np.testing.assert_allclose(mine.to_numpy(float), want.to_numpy(float), rtol=1e-4)
    script.draw(mine).savefig(tmp_path / "ranks.png")
