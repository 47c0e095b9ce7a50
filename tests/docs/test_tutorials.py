"""Every tutorial runs as a program, in an empty folder, within two minutes of one processor."""

from __future__ import annotations

import importlib
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted((ROOT / "docs/tutorials").glob("*.py"))
NEEDS = {
    "vision": ("torch", "captum", "onnx"),
    "tabular": ("sklearn",),
    "training": ("optax",),
    "text": ("optax",),
}
SECONDS = 240
"""Of all cores together: two minutes on two cores."""


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda p: p.stem)
def test_it_runs(script, tmp_path):
    for package in ("flax", "matplotlib", "sklearn", *NEEDS.get(script.stem, ())):
        pytest.importorskip(package)
    path = os.pathsep.join([str(ROOT), str(ROOT / "bridges"), os.environ.get("PYTHONPATH", "")])
    own = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}  # as a user runs it
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, str(script)], cwd=tmp_path, env={**own, "PYTHONPATH": path},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime - before.ru_utime < SECONDS


def test_every_tutorial_begins_with_its_title():
    assert len(SCRIPTS) >= 7
    for script in SCRIPTS:
        lines = script.read_text(encoding="utf-8").splitlines()
        assert lines[0] == "# %% [markdown]"
        assert lines[1].startswith("# # ")
        assert "pip install" in " ".join(line.removeprefix("# ") for line in lines[:9])


TINY = """# %% [markdown]
# # Tiny

# %%
import sys
import pandas as pd
print("out"); print("a path of this machine", file=sys.stderr)
pd.DataFrame({"a": [1]})
"""


@pytest.fixture
def tutorials(monkeypatch):
    for package in ("jupytext", "nbconvert"):
        pytest.importorskip(package)
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    return importlib.import_module("tutorials")


def test_a_page_of_a_tutorial_that_was_not_run_says_so(tutorials, tmp_path):
    script = tmp_path / "tiny.py"
    script.write_text(TINY)
    made = tutorials.converted(script, False)
    assert set(made) == {"tiny.md", "tiny.py.txt"}
    assert "# Tiny" in made["tiny.md"]
    assert "built without running it" in made["tiny.md"]
    assert made["tiny.py.txt"] == TINY


@pytest.mark.slow
def test_a_page_shows_what_was_printed_and_no_warnings(tutorials, tmp_path):
    for package in ("ipykernel", "nbclient"):
        pytest.importorskip(package)
    script = tmp_path / "tiny.py"
    script.write_text(TINY)
    page = tutorials.converted(script, True)["tiny.md"]
    assert "out" in page
    assert "path of this machine" not in page.partition("```\n")[2]
    assert "<td>1</td>" in page
    assert 'class="dataframe"' not in page
    assert "built without running it" not in page
