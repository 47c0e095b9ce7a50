"""The site: every public name has a description, every page a place, and versions agree."""

from __future__ import annotations

import importlib
import json
import re
import sys
import tomllib
from pathlib import Path

import pytest

import jaxeval as je

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
ROOMS = ("data", "explain", "functional", "meta", "ops", "perturb", "plot", "report", "results")
CONSTANTS = {"METRICS", "__version__"}


@pytest.fixture(scope="module")
def hooks():
    for package in ("mkdocs", "latex2mathml"):
        pytest.importorskip(package)
    before = list(sys.path)
    sys.path.insert(0, str(DOCS))
    yield importlib.import_module("site_hooks")
    sys.path[:] = before


def described():
    """The names with a description of their own, and the modules whose names have one each."""
    text = "\n".join(p.read_text(encoding="utf-8") for p in (DOCS / "api").glob("*.md"))
    return set(re.findall(r"^::: (\S+)$", text, re.M)), set(
        re.findall(r"^<!-- names: (\S+) -->$", text, re.M)
    )


def test_every_public_name_is_described_once():
    names, modules = described()
    assert {f"jaxeval.{room}" for room in ROOMS} <= modules
    classes = {n for n in dir(je) if getattr(je, n) in (*je.METRICS.values(),)}
    rooms = {n for n in dir(je) if type(getattr(je, n)) is type(sys)}
    wanted = set(dir(je)) - classes - rooms - CONSTANTS
    own = {n.removeprefix("jaxeval.") for n in names if n.startswith("jaxeval.")}
    assert sorted(own) == sorted(wanted)


def test_what_is_described_exists():
    names, modules = described()
    for name in names:
        module, _, attribute = name.rpartition(".")
        if module == "jaxeval_quantus":
            pytest.importorskip("quantus")
        assert hasattr(importlib.import_module(module), attribute), name
    for module in modules:
        importlib.import_module(module)


def test_names_of_a_module_are_those_without_another_description(hooks):
    found = hooks.public(importlib.import_module("jaxeval.explain"))
    assert "Smoothed" in found
    assert "layers" in found
    assert "Saliency" not in found  # on the page of explainers
    assert "Results" not in hooks.public(importlib.import_module("jaxeval.results"))
    assert "curves" in hooks.public(importlib.import_module("jaxeval.plot"))


def test_a_pattern_finds_pages_that_no_line_names(hooks):
    nav = ["index.md", {"How to": ["a.md", "*.md"]}, {"More": "more/*.md"}]
    pages = ["a.md", "b.md", "index.md", "more/c.md", "other/d.md"]
    named = set(hooks.leaves(nav))
    made = hooks.expanded(nav, [p for p in pages if p not in named])
    assert made == ["index.md", {"How to": ["a.md", "b.md"]}, {"More": ["more/c.md"]}]
    assert "other/d.md" not in hooks.leaves(made)  # which mkdocs calls an error


def test_links_and_code_are_told_apart(hooks):
    text = "[a](b.md) `[c](d.md)`\n```python\n[e](f.md)\n```\n[g](h.md)"
    made = hooks.outside_code(text, lambda part: part.replace(".md", ".html"))
    assert made == "[a](b.html) `[c](d.md)`\n```python\n[e](f.md)\n```\n[g](h.html)"


def test_versions_agree():
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert re.search(r"^version: (.*)$", citation, re.M)[1] == je.__version__
    page = (DOCS / "citation.md").read_text(encoding="utf-8")
    assert f"version = {{{je.__version__}}}" in page
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    zenodo = json.loads((ROOT / ".zenodo.json").read_text(encoding="utf-8"))
    assert zenodo["license"] == project["license"]
    assert f"license: {project['license']}" in citation
    words = re.findall(r"^  - (\w.*)$", citation.partition("keywords:")[2], re.M)
    assert zenodo["keywords"] == project["keywords"] == words


def test_the_page_of_installation_has_every_extra_of_users():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    page = (DOCS / "install.md").read_text(encoding="utf-8")
    for extra in set(project["optional-dependencies"]) - {"pytest", "test-all"}:
        assert f"`{extra}`" in page, extra


def test_docstrings_become_markdown():
    sys.path.insert(0, str(DOCS))
    try:
        markdown = importlib.import_module("docstrings").markdown
    finally:
        sys.path.remove(str(DOCS))
    made = markdown("Of ``x``, :math:`a^2`:\n\n.. math:: a + b\n\n>>> 1 + 1\n2\n\nMore.")
    assert made == ("Of `x`, $a^2$:\n\n```math\na + b\n```\n\n```pycon\n>>> 1 + 1\n2\n```\n\nMore.")
