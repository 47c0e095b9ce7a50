"""What the site needs beyond mkdocs.yml.

Pages from elsewhere in the repository; patterns in the navigation; links as GitHub reads them;
pages of all names of a module; tutorials as they ran; formulas as MathML, which needs no script.
"""

from __future__ import annotations

import fnmatch
import importlib
import logging
import os
import posixpath
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tutorials
from latex2mathml.converter import convert
from mkdocs.structure.files import File, Files

import jaxeval as je

ROOT = Path(__file__).parents[1]
log = logging.getLogger("mkdocs.hooks.site")


def elsewhere() -> dict[str, str]:
    """Pages of the repository outside of docs/: file -> page."""
    found = {name: name.lower() for name in ("CONTRIBUTING.md", "CHANGELOG.md")}
    measured = sorted(p.name for p in (ROOT / "benchmarks").glob("*.md"))
    return {**found, **{f"benchmarks/{name}": f"benchmarks/{name}" for name in measured}}


def on_config(config: Any) -> None:
    """The modules beside this one can be imported from now on."""
    if str(ROOT / "docs") not in sys.path:
        sys.path.append(str(ROOT / "docs"))


def on_files(files: Files, *, config: Any) -> Files:
    """Adds the pages that are not in docs/, and puts all pages into the navigation."""
    for file, page in elsewhere().items():
        text = (ROOT / file).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=text))
    run = os.environ.get("JAXEVAL_TUTORIALS", "run") == "run"
    for script in tutorials.scripts():
        for name, content in tutorials.pages(script, run).items():
            files.append(File.generated(config, f"tutorials/{name}", content=content))
    pages = sorted(f.src_uri for f in files.documentation_pages())
    named = set(leaves(config.nav))
    config.nav = expanded(config.nav, [p for p in pages if p not in named])
    return files


def leaves(nav: Any) -> list[str]:
    """The pages and patterns that a navigation names."""
    if isinstance(nav, str):
        return [nav]
    parts = nav.values() if isinstance(nav, dict) else nav
    return [page for part in parts for page in leaves(part)]


def expanded(nav: Any, others: list[str]) -> Any:
    """The navigation with pages in place of patterns; "*" does not match "/"."""
    if isinstance(nav, str):
        if "*" not in nav:
            return nav
        depth = nav.count("/")
        return [p for p in others if fnmatch.fnmatch(p, nav) and p.count("/") == depth]
    if isinstance(nav, dict):
        return {title: expanded(part, others) for title, part in nav.items()}
    found = []
    for part in nav:
        made = expanded(part, others)
        found += made if isinstance(part, str) and "*" in part else [made]
    return found


def on_page_markdown(markdown: str, *, page: Any, config: Any, files: Files) -> str:
    """Links between files of the repository lead to pages; lists of names are filled in."""
    pages = elsewhere()
    own = {v: k for k, v in pages.items()}.get(page.file.src_uri, f"docs/{page.file.src_uri}")

    def led(found: re.Match[str]) -> str:
        file, hash, anchor = found[1].partition("#")
        if not file or re.match(r"\w+:", file):
            return found[0]
        there = posixpath.normpath(posixpath.join(posixpath.dirname(own), file))
        there = {"README.md": "docs/index.md", "CITATION.cff": "docs/citation.md"}.get(there, there)
        site = pages.get(there, there.removeprefix("docs/"))
        if site.startswith("tutorials/") and site.endswith(".py"):
            site = site.removesuffix("py") + "md"
        if site == there and not there.startswith("docs/") and there not in pages:
            log.warning("%s links to %s, which is not on the site", own, there)
        return f"]({posixpath.relpath(site, posixpath.dirname(page.file.src_uri))}{hash}{anchor})"

    def of_text(text: str) -> str:
        text = re.sub(r"\]\(([^)\s]+)\)", led, text)
        return re.sub(r"^<!-- names: (\S+) -->$", names, text, flags=re.MULTILINE)

    return outside_code(markdown, of_text)


def outside_code(text: str, change: Callable[[str], str]) -> str:
    """The text with everything but blocks and spans of code changed."""
    pieces = re.split(r"(^```.*?^```$|`[^`\n]+`)", text, flags=re.MULTILINE | re.DOTALL)
    return "".join(p if i % 2 else change(p) for i, p in enumerate(pieces))


def names(found: re.Match[str]) -> str:
    """A description of every public name of a module that has none elsewhere."""
    module = importlib.import_module(found[1])
    return "\n".join(f"::: {place(module, name)}" for name in public(module))


def place(module: Any, name: str) -> str:
    """Where a name is described: a function in a file of its name is not that file."""
    origin = getattr(getattr(module, name), "__module__", "")
    own = origin.rpartition(".")[2] == name
    return f"{origin if own else module.__name__}.{name}"


def public(module: Any) -> list[str]:
    """The public names of a module that are not also those of jaxeval or of a page of classes."""
    from jaxeval.explain import EXPLAINERS

    found = []
    for name in dir(module):
        value = getattr(module, name)
        origin = str(getattr(value, "__module__", ""))
        own = name[0] != "_" and origin.startswith("jaxeval") and callable(value)
        if own and getattr(je, name, None) is not value and name not in EXPLAINERS:
            found.append(name)
    return found


def on_page_content(html: str, **_: Any) -> str:
    """Formulas as MathML."""

    def formula(found: re.Match[str]) -> str:
        text = (found[2] or found[3]).replace("&lt;", "<").replace("&gt;", ">")
        display = "block" if found[1] == "div" else "inline"
        return convert(text.replace("&amp;", "&"), display=display)

    pattern = r"<(div|span) class=\"arithmatex\">(?:\\\[(.*?)\\\]|\\\((.*?)\\\))</\1>"
    return re.sub(pattern, formula, html, flags=re.DOTALL)
