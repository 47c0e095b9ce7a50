"""Every block of code of every page runs, is read, or names commands that exist.

Blocks of Python of a page run in order, in one module and an empty folder. What a page does not
define itself, because it is the reader's own, is in given.py: of a page, or of the block that
``<!-- given: name -->`` precedes.
"""

from __future__ import annotations

import contextlib
import io
import math
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest

from jaxeval import cli
from tests.docs.given import OF_BLOCKS, OF_PAGES, start

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    p
    for folder in (ROOT, ROOT / "docs", ROOT / "benchmarks")
    for p in (folder.rglob("*.md") if folder.name == "docs" else folder.glob("*.md"))
    if re.search(r"^```", p.read_text(encoding="utf-8"), re.MULTILINE)
)
ELSEWHERE = {
    "write-your-own.md": "tests/docs/test_write_your_own.py runs it",
    "meta.md": "tests/meta/test_docs.py runs it",
    "metrics.md": "its examples are those of docstrings, which run as doctests",
}
"""Pages whose Python runs elsewhere, and where."""
NEEDS = {
    "torch.md": ("torch", "captum", "onnx"),
    "quantus.md": ("quantus", "torch"),
    "text.md": ("torch", "captum", "onnx"),
    "keras.md": ("keras",),
    "fields.md": ("flax", "matplotlib", "pandas", "sklearn"),
    "guide.md": ("flax", "matplotlib", "jinja2"),
    "README.md": ("flax", "matplotlib", "jinja2", "torch", "captum", "onnx", "quantus"),
}
READ = {"math", "text", "pycon", "bibtex", "bash", "json", "yaml"}
"""Languages of blocks that are no Python, commands or settings of jaxeval."""


class Block(NamedTuple):
    given: str
    language: str
    code: str
    line: int


def blocks(page: Path) -> Iterator[Block]:
    text = page.read_text(encoding="utf-8")
    pattern = r"(?:^<!-- given: (\w+) -->\n)?^```(\w*)\n(.*?)^```$"
    for found in re.finditer(pattern, text, re.MULTILINE | re.DOTALL):
        yield Block(found[1] or "", found[2], found[3], text[: found.start(3)].count("\n"))


SLOW = {"fields.md", "guide.md", "torch.md", "quantus.md", "README.md"}


def with_python() -> list[Any]:
    found = [p for p in PAGES if any(b.language == "python" for b in blocks(p))]
    return [
        pytest.param(p, id=p.name, marks=[pytest.mark.slow] * (p.name in SLOW))
        for p in found
        if p.name not in ELSEWHERE
    ]


@pytest.mark.parametrize("page", with_python())
def test_python_runs(page, tmp_path, monkeypatch):
    for name in NEEDS.get(page.name, ()):
        pytest.importorskip(name)
    monkeypatch.chdir(tmp_path)
    module, printed = ModuleType("page"), ""
    vars(module).update(start() | OF_PAGES.get(page.name, dict)())
    for block in blocks(page):
        if block.language == "python":
            if block.given:
                vars(module).update(OF_BLOCKS[block.given]())
            code = compile("\n" * block.line + block.code, page, "exec")
            with contextlib.redirect_stdout(io.StringIO()) as out:
                exec(code, vars(module))
            printed = out.getvalue()
        elif block.language == "text":
            same_text(printed, block.code)


def same_text(printed: str, shown: str) -> None:
    """The same words, and numbers that differ by no more than 5 % or .05."""
    ours, theirs = printed.split(), shown.split()
    assert len(ours) == len(theirs), printed
    for a, b in zip(ours, theirs, strict=True):
        with contextlib.suppress(ValueError):
            assert math.isclose(float(a), float(b), rel_tol=0.05, abs_tol=0.05), (a, b)
            continue
        assert a == b


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_other_blocks_are_read(page, monkeypatch, tmp_path):
    for block in blocks(page):
        if block.language == "toml":
            tomllib.loads(block.code)
        elif block.language == "console":
            for line in re.findall(r"^\$ (.*)$", block.code, re.MULTILINE):
                check_command(line.partition("  #")[0].strip())
        else:
            assert block.language in READ | {"python"}, f"{page.name}: {block.language!r}"


def check_command(line: str) -> None:
    """A command of jaxeval takes these arguments; a target of make, an extra, or a file exists."""
    words = shlex.split(line.partition(" > ")[0].partition(" | ")[0])
    if words[:3] == ["python", "-m", "jaxeval"]:
        words = words[2:]
    if words[0] == "jaxeval":
        if words[1:] not in (["--version"], ["--help"]):
            cli.parser().parse_args(words[1:])
    elif words[0] == "make":
        targets = re.findall(r"^([\w.$()/-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert words[1] in [t.replace("$(VENV)", ".venv") for t in targets], line
    elif words[0] == "pip":
        extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        for named in re.findall(r"\[([\w,-]+)\]", line):
            assert set(named.split(",")) <= set(extras["optional-dependencies"]), line
    elif words[0] == "python" and words[1].endswith(".py"):
        assert (ROOT / words[1]).exists(), line
    else:
        known = ("source", "python", "pytest", "ruff")
        assert words[0] in known, f"what is {line!r}? say here how to check it"


def test_every_page_that_runs_elsewhere_is_there():
    assert {p.name for p in PAGES} >= set(ELSEWHERE) | set(NEEDS) | SLOW
