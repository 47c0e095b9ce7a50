"""`pytest --only ROW`: what is promised of some metrics, and nothing else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests import cases

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def all_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cases, "ROWS", dict(cases.EVERY))


def test_a_row_by_its_name_and_all_rows_of_a_metric():
    cases.only(["Infidelity/square", "PixelFlipping"])
    assert set(cases.ROWS) == {"Infidelity/square", "PixelFlipping", "PixelFlipping/random"}


def test_an_unknown_row_is_named_with_those_near_it():
    with pytest.raises(ValueError, match=r"no row 'Sparsness'.*Did you mean Sparseness[,?]"):
        cases.only(["AUC", "Sparsness"])
    with pytest.raises(ValueError, match=r"no row 'xyz'.*There are PixelFlipping, "):
        cases.only(["xyz"])
    assert len(cases.ROWS) == len(cases.EVERY)


def test_every_promise_is_kept_and_no_other_row():
    command = "-m pytest -q -p no:cacheprovider --collect-only --only Sparseness tests/contracts"
    done = subprocess.run(
        [sys.executable, *command.split()], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    ids = [line for line in done.stdout.splitlines() if "::" in line]
    for promise in ("invariance", "compile_once", "no_mutation", "references", "padding"):
        assert any(f"test_{promise}.py::" in i for i in ids), promise
    others = {cases.class_name(row) for row in cases.EVERY} - {"Sparseness"}
    assert not [i for i in ids if any(f"[{row}" in i or f"-{row}" in i for row in others)]
    assert len(ids) < 50
