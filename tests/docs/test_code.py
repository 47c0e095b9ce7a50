"""Every block of code of every page runs, is read, or names commands that exist.

Blocks of Python of a page run in order, in one module and an empty folder. What a page does not
define itself, because it is the reader's own, is given here, by `GIVEN`.
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

import jax.numpy as jnp
import numpy as np
import pytest

import jaxeval as je
from jaxeval import cli

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
    "explainers.md": "as on the page of metrics",
}
"""Pages whose Python runs elsewhere, and where."""
NEEDS = {
    "torch.md": ("torch", "captum", "onnx"),
    "quantus.md": ("quantus", "torch"),
    "guide.md": ("flax", "matplotlib", "jinja2"),
}
READ = {"math", "text", "pycon", "bibtex", "bash", "json"}
"""Languages of blocks that are no Python, commands or settings of jaxeval."""


class Block(NamedTuple):
    language: str
    code: str
    line: int


def blocks(page: Path) -> Iterator[Block]:
    text = page.read_text(encoding="utf-8")
    for found in re.finditer(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        yield Block(found[1], found[2], text[: found.start(2)].count("\n"))


def given(page: Path) -> dict[str, Any]:
    """What a reader of the page has: a model, data, and functions of their own."""
    rng = np.random.default_rng(0)
    w = rng.normal(size=(64, 3)).astype(np.float32)

    def apply(params: Any, x: Any) -> Any:
        return jnp.tanh(x.reshape(len(x), -1)) @ params

    x = rng.normal(size=(6, 1, 8, 8)).astype(np.float32)
    model = je.Model(apply, w)
    names: dict[str, Any] = {"je": je, "np": np, "jnp": jnp, "model": model, "x": x}
    if page.name == "README.md":
        names |= of_readme(apply, w, x, rng)
    if page.name == "sweeps.md":
        names |= {"y": np.asarray(model(x)).argmax(1)} | of_sweeps()
    if page.name == "quantus.md":
        names |= of_quantus(x)
    if page.name == "statistics.md":
        names |= {"results": small_results(model, x)}
    return names


def small_results(model: Any, x: Any) -> je.Results:
    explainers = {"A": je.explain.Saliency(), "B": je.explain.Random()}
    metrics = {
        "flipping": je.PixelFlipping(n_steps=4),
        "correlation (2)": je.FaithfulnessCorrelation(n_runs=8, subset_size=2),
        "correlation (4)": je.FaithfulnessCorrelation(n_runs=8, subset_size=4),
        "sparseness": je.Sparseness(),
    }
    return je.evaluate(model, x, explainers=explainers, metrics=metrics, progress=False)


def of_readme(apply: Any, w: Any, x: Any, rng: Any) -> dict[str, Any]:
    """Of README.md: a Flax module, maps, metrics."""
    import flax.linen as nn
    import jax

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x: Any) -> Any:
            x = nn.relu(nn.Conv(8, (3, 3))(x))
            x = nn.relu(nn.Conv(8, (3, 3))(x))
            return nn.Dense(3)(x.reshape(len(x), -1))

    module = Net()
    x = x.transpose(0, 2, 3, 1)
    y = np.zeros(len(x), np.int32)
    return {
        "apply": apply,
        "params": w,
        "module": module,
        "variables": module.init(jax.random.key(0), x),
        "my_numpy_function": lambda x: np.tanh(np.reshape(x, (len(x), -1))) @ w,
        "my_function": lambda model, x, y, keys: x,
        "attributions": x,
        "a": x,
        "x": x,
        "y": y,
        "key": jax.random.key(0),
        "jax": jax,
    }


def of_sweeps() -> dict[str, Any]:
    """Of docs/sweeps.md: readers of Parquet, as modules."""
    import importlib

    def module(name: str) -> Any:
        try:
            return importlib.import_module(name)
        except ImportError:
            return None

    readers = {name: module(name) for name in ("pandas", "polars", "duckdb")}
    return {**readers, "my_explainer": lambda model, x, y, keys: x}


def of_quantus(x: Any) -> dict[str, Any]:
    """Of docs/quantus.md: a torch network, and a metric of Quantus."""
    import torch
    from torch import nn

    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 3)).eval()
    y = net(torch.from_numpy(x)).argmax(1).numpy()
    return {"net": net, "y": y, "a": np.abs(x)}


SLOW = {"guide.md", "torch.md", "quantus.md", "README.md"}


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
    vars(module).update(given(page))
    for block in blocks(page):
        if block.language == "python":
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
