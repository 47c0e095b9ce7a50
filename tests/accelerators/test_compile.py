"""Everything that a run calls is compiled for four chips of a TPU v5e and for an H100.

`make test-accelerators` installs the compilers, into a folder for each, and says where.
"""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.accelerators.targets import LIMITS, environment

ROOT = Path(__file__).parents[2]
FOLDER = os.environ.get("JAXEVAL_ACCELERATORS")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(FOLDER is None, reason="make test-accelerators installs the compilers"),
]
TARGETS = [t for t in LIMITS if FOLDER is not None and (Path(FOLDER) / t).is_dir()]
NETWORKS = ["digits", "resnet", "bert"]


@functools.cache
def compiled(target: str, network: str) -> list[dict[str, Any]]:
    """What `compile.py` says of each program."""
    folder = Path(str(FOLDER)).resolve() / target
    given = {**os.environ, **environment(target, folder)}
    given["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(ROOT / "bridges"), given["PYTHONPATH"]])
    command = [sys.executable, "-m", "tests.accelerators.compile", target, network]
    done = subprocess.run(command, capture_output=True, text=True, env=given, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("target", LIMITS)
def test_everything_compiles_within_memory(target, network):
    if target not in TARGETS:
        pytest.skip(f"{FOLDER}/{target} is not there")
    programs = compiled(target, network)
    assert not [p for p in programs if "error" in p]
    assert not [p for p in programs if p["callback"] or p["float64"]]
    assert max(p["bytes"] for p in programs) <= LIMITS[target]
    # The model is compiled as often as on a CPU: never for each metric.
    names = Counter(p["program"] for p in programs if p["run"] == "metrics")
    # With hidden layers, and without.
    assert names["forward"] == (1 if network == "bert" else 2)
    assert names["explain"] <= 3
