"""Every tutorial runs as a program, in an empty folder, within two minutes of one processor."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted((ROOT / "docs/tutorials").glob("*.py"))
NEEDS = {"vision": ("torch", "captum", "onnx"), "tabular": ("sklearn",), "training": ("optax",)}
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
    assert len(SCRIPTS) >= 6
    for script in SCRIPTS:
        lines = script.read_text(encoding="utf-8").splitlines()
        assert lines[0] == "# %% [markdown]"
        assert lines[1].startswith("# # ")
        assert any("pip install" in line for line in lines[:8])
