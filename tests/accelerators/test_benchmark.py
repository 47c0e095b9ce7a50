"""The benchmark for accelerators runs on a CPU, goes on where it stopped, and says what it did."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

for package in ("torch", "captum", "quantus", "flax", "sklearn"):
    pytest.importorskip(package, reason=f"the benchmark needs {package}")

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "accelerator.py"


def run(out: Path, *more: str, **given: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), "--quick", "--out", str(out), *more]
    return subprocess.run(command, capture_output=True, text=True, timeout=900, **given)


@pytest.mark.slow
def test_quick_run_that_was_cut_off(tmp_path):
    out = tmp_path / "page.md"
    assert run(out, "--only", "metric/LeNet/Pixel").returncode == 0
    known = json.loads(out.with_suffix(".json").read_text())["found"]
    assert list(known) == ["metric/LeNet/PixelFlipping"]
    done = run(out)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(out.with_suffix(".json").read_text())["found"]
    assert found["metric/LeNet/PixelFlipping"] == known["metric/LeNet/PixelFlipping"]
    assert found["metric/LeNet/PixelFlipping"]["apart"] < 1e-3
    assert found["metric/ResNet-18/PixelFlipping"]["apart"] < 1e-2
    for name, v in found.items():
        if name.startswith("parity/"):
            assert v["table"], name
            assert all(row["differ"] == 0 and row["nan"] == 0 for row in v["table"]), name
    text = out.read_text()
    for title in ("Metrics", "Sweeps", "Parity with the CPU", "When the device idles"):
        assert f"## {title}" in text
    assert "## Failed" not in text
    assert "## Not done" not in text
    assert "--quick" in text


def test_without_torch_the_other_steps_go_on(tmp_path):
    """Each step that needs it fails alone, and the page says so."""
    (tmp_path / "torch.py").write_text("raise ImportError('no torch here')\n")
    path = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    out = tmp_path / "page.md"
    done = run(out, "--only", "LeNet", env={**os.environ, "PYTHONPATH": path})
    assert done.returncode == 1
    assert "## Failed" in out.read_text()
    assert done.stdout.count("failed") == 1


def test_no_time_left_leaves_everything(tmp_path):
    out = tmp_path / "page.md"
    done = run(out, "--minutes", "0")
    assert done.returncode == 0, done.stderr
    assert "## Not done" in out.read_text()
