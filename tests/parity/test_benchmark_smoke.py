"""The benchmark runs, and what it measures agrees with its peers."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

for package in ("torch", "captum", "quantus", "flax", "sklearn"):
    pytest.importorskip(package, reason=f"the benchmark needs {package}")

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "run.py"


@pytest.mark.slow
def test_quick_benchmark(tmp_path):
    out = tmp_path / "benchmark.md"
    command = [sys.executable, str(SCRIPT), "--quick", "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    text = out.read_text()
    assert text.strip() == done.stdout.strip()
    rows = [line for line in text.splitlines() if re.match(r"\| (LeNet|digits CNN) ", line)]
    assert [line.split("|")[1].strip() for line in rows] == ["LeNet"] * 4 + ["digits CNN"] * 5
    assert text.count("traced or compiled later: 0") == len(rows)
    assert "No result" not in text
