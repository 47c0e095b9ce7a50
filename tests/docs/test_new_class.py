"""What a new metric or explainer of jaxeval takes, tried in a copy: the rest is derived."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
COPIED = ("jaxeval", "tests", "benchmarks", "bridges", "docs", "README.md", "pyproject.toml")

METRIC = '''\
"""Peak share: how much of the attribution is on its largest feature?"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from ...metric import Metric
from ...types import Answer, Outcome, Sample, pytree


def peak_share(a: Float[Array, "*features"]) -> Float[Array, ""]:
    """max |a| / sum |a|; NaN for zeros.

    >>> import jax.numpy as jnp
    >>> float(peak_share(jnp.array([3.0, -1.0])))
    0.75
    """
    return jnp.abs(a).max() / jnp.abs(a).sum()


@pytree
class PeakShare(Metric):
    r"""The largest magnitude over the sum of all.

    .. math:: \\max_i |a_i| / \\sum_i |a_i|

    Higher is better. NaN for a map of zeros.

    Outcome: score [].
    """

    family = "complexity"
    direction = "higher"
    reference = "Somebody 2031, Peaks"

    def reduce(self, sample: Sample, reference: Answer, measured: Any, valid: Any) -> Outcome:
        return Outcome(score=peak_share(sample.a))
'''
REGISTRATION = """
from .peak_share import PeakShare as PeakShare
from .peak_share import peak_share as peak_share
"""
ROW = """

def peak_share(m, s):
    v = np.abs(prepare(s.a, m)).ravel()
    return v.max() / v.sum() if v.any() else np.nan


ROWS["PeakShare"] = Row(je.PeakShare(), peak_share)
"""
EXPLAINER = '''\
"""Twice the gradient."""

from typing import Any

import jax

from ..model import Model
from ..types import pytree
from .base import Explainer


@pytree
class TwiceGradient(Explainer):
    """Twice the gradient: ``a = 2 ∂f_y/∂x``, in the shape of x."""

    def attribute(self, model: Model, x: jax.Array, y: jax.Array, keys: Any) -> jax.Array:
        return 2 * self.input_gradient(model, x, y)
'''


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """The repository, with a metric and an explainer more."""
    root = tmp_path_factory.mktemp("repository")
    for name in COPIED:
        there = ROOT / name
        if there.is_dir():
            ignored = shutil.ignore_patterns("__pycache__", "*.png")
            shutil.copytree(there, root / name, ignore=ignored)
        else:
            shutil.copy(there, root / name)
    # A metric: its file, its registration, its row with the reference.
    (root / "jaxeval/metrics/complexity/peak_share.py").write_text(METRIC)
    append(root / "jaxeval/metrics/complexity/__init__.py", REGISTRATION)
    append(root / "tests/rows/complexity.py", ROW)
    # An explainer: its file, its registration.
    (root / "jaxeval/explain/twice_gradient.py").write_text(EXPLAINER)
    init = root / "jaxeval/explain/__init__.py"
    text = init.read_text()
    assert text.count("from .vargrad import") == text.count("(Random, Constant, Sobel)") == 1
    text = text.replace(
        "from .vargrad import",
        "from .twice_gradient import TwiceGradient as TwiceGradient\nfrom .vargrad import",
    )
    init.write_text(text.replace("Sobel)", "Sobel, TwiceGradient)"))
    return root


def append(file: Path, text: str) -> None:
    file.write_text(file.read_text() + text)


def run(root: Path, *arguments: str) -> str:
    """The output of Python in the copy."""
    path = os.pathsep.join(map(str, (root, root / "tests", root / "bridges")))
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=root,
        env={**os.environ, "PYTHONPATH": path, "COLUMNS": "120"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


KNOWN = """
import jax.numpy as jnp
import jaxeval as je
from jaxeval.sweep.grid import everything, named

assert je.METRICS["PeakShare"] is je.PeakShare is je.metrics.complexity.PeakShare
assert float(je.functional.peak_share(jnp.array([3.0, -1.0]))) == 0.75
assert "peak_share" in je.functional.__all__
assert named("PeakShare", je.METRICS, (), "metric") is je.PeakShare
assert je.explain.get("TwiceGradient") and named("TwiceGradient", everything(), (), "class")

from jaxeval import cli
cli.main(["list", "metrics"])
cli.main(["list", "explainers"])
"""


def test_it_is_known_by_name(copy):
    text = run(copy, "-c", KNOWN)
    assert "Somebody 2031, Peaks" in text
    assert "Twice the gradient: a = 2" in text


@pytest.mark.slow
def test_the_pages_have_it_once_they_are_made_again(copy):
    page, readme = (copy / "docs/metrics.md").read_text, (copy / "README.md").read_text
    assert "PeakShare" not in page() + readme()
    run(copy, "docs/make_metrics.py")
    assert "### PeakShare" in page()
    assert "As a plain function: `je.functional.peak_share`." in page()
    assert (
        "| complexity | Complexity, EffectiveComplexity, MSTC, Sparseness, PeakShare |" in readme()
    )
    assert "Random, Constant, Sobel, TwiceGradient |" in readme()


def test_what_is_promised_of_it_is_tested(copy):
    """Its reference among the rest, from the row alone."""
    command = "-m pytest -q -p no:cacheprovider tests/contracts --only PeakShare -rA"
    text = run(copy, *command.split())
    for promise in ("references", "invariance", "independence", "compile_once", "no_mutation"):
        assert f"PASSED tests/contracts/test_{promise}.py" in text


def test_what_holds_for_every_explainer_is_tested(copy):
    files = "tests/explain/test_promises.py tests/explain/test_precision.py"
    command = f"-m pytest -q -p no:cacheprovider --collect-only {files} -k TwiceGradient"
    text = run(copy, *command.split())
    assert "test_promises.py::test_rows_do_not_see_each_other[TwiceGradient]" in text
    assert "test_precision.py::test_64_bits[TwiceGradient-float32]" in text
