"""docs/write-your-own.md: its code does what it says, block by block."""

from __future__ import annotations

import importlib
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import pytest

from jaxeval import cli

PAGE = Path(__file__).parents[2] / "docs/write-your-own.md"


class Block(NamedTuple):
    part: str
    language: str
    code: str
    line: int

    @property
    def file(self) -> str | None:
        """The file that it is, as its first line says."""
        found = re.match(r"# ([\w.]+)\n", self.code)
        return found[1] if found else None


def blocks() -> Iterator[Block]:
    text = PAGE.read_text(encoding="utf-8")
    for found in re.finditer(r"^```(\w+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        before = text[: found.start(2)]
        part = re.findall(r"^## (.*)$", before, re.MULTILINE)[-1:]
        yield Block(part[0] if part else "", found[1], found[2], before.count("\n"))


def commands(code: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Runs every ``$ jaxeval ...``; the words of the lines below it begin a line of its output."""
    for command, _, shown in (c.strip().partition("\n") for c in code.split("$ ") if c.strip()):
        program, *arguments = shlex.split(command)
        assert program == "jaxeval"
        capsys.readouterr()
        assert cli.main(arguments) == 0
        lines = [line.split() for line in capsys.readouterr().out.splitlines()]
        for wanted in map(str.split, shown.splitlines()):
            assert any(line[: len(wanted)] == wanted for line in lines), wanted


@pytest.fixture
def onnx():
    """The table of ONNX operators, which is as before afterwards; None without ONNX."""
    try:
        table = importlib.import_module("jaxeval_torch.graph").OPERATORS
        importlib.import_module("onnx")
    except ImportError:
        yield None
        return
    before = dict(table)
    yield table
    table.clear()
    table.update(before)


@pytest.mark.usefixtures("names")
def test_the_code_of_the_page_runs_in_order(tmp_path, monkeypatch, capsys, onnx):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    page, parts = ModuleType("page"), set()
    try:
        for block in blocks():
            if block.part == "An ONNX operator" and onnx is None:
                continue
            parts.add(block.part)
            if block.file is not None:
                Path(block.file).write_text(block.code, encoding="utf-8")
            elif block.language == "python":  # a traceback shows the page's own lines
                exec(compile("\n" * block.line + block.code, PAGE, "exec"), vars(page))
            else:
                assert block.language == "console"
                commands(block.code, capsys)
    finally:
        for block in blocks():
            sys.modules.pop((block.file or "").removesuffix(".py"), None)
    assert parts >= {"", "A metric", "An explainer", "A perturbation", "Names"}
    assert (tmp_path / "sweep.toml").exists()
    assert not (tmp_path / "scores").exists()  # a dry run
