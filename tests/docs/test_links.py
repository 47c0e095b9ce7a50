"""Links, files and commands that pages name exist; no page outside of the repository is named."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted(p for top in (".", "docs", "benchmarks") for p in (ROOT / top).glob("*.md"))
SOURCES = ("jaxeval", "bridges", "benchmarks", "docs", "tests", ".ci")
TEXTS = {".py", ".md", ".toml", ".html", ".js", ".css"}


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", h).strip().lower().replace(" ", "-") for h in headings}


def without_code(text: str) -> str:
    return re.sub(r"```.*?```|`[^`\n]*`", "", text, flags=re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_lead_somewhere(page):
    text = without_code(page.read_text(encoding="utf-8"))
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"https?://", link):
            continue
        file, _, anchor = link.partition("#")
        there = (page.parent / file).resolve() if file else page
        assert there.exists(), f"{page.name}: {link}"
        assert not anchor or anchor in anchors(there), f"{page.name}: {link}"


def sources() -> list[Path]:
    found = [p for top in SOURCES for p in (ROOT / top).rglob("*") if p.suffix in TEXTS]
    return sorted([*found, *PAGES, ROOT / "Makefile", ROOT / "pyproject.toml"])


def test_pages_that_are_named_are_in_the_repository():
    known = {p.name for p in ROOT.rglob("*.md") if ".venv" not in p.parts[len(ROOT.parts)]}
    for path in sources():
        # Tests also write pages of their own, in small letters.
        page = r"\b([A-Z]+\.md)\b" if path.is_relative_to(ROOT / "tests") else r"\b([\w-]+\.md)\b"
        for name in re.findall(page, path.read_text(encoding="utf-8")):
            assert name in known, f"{path.relative_to(ROOT)} names {name}"


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "docs/architecture.md"])
def test_files_that_are_named_exist(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    named = re.findall(r"\b((?:tests|docs|jaxeval|bridges|benchmarks)/[\w/.-]+)", text)
    assert len(named) > 3
    for name in named:
        assert (ROOT / name.rstrip(".")).exists(), name


def test_commands_that_are_named_exist():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    targets = re.findall(r"^([\w.$()/-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    named = re.findall(r"\bmake ([\w./-]+)", text)
    assert len(named) > 4
    assert set(named) <= {t.replace("$(VENV)", ".venv") for t in targets}
