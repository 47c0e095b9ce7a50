"""The tutorials: scripts in docs/tutorials/, run as notebooks, as pages with their outputs.

A script is in the percent format of Jupytext: ``# %%`` begins a cell, ``# %% [markdown]`` one of
text. ``python docs/tutorials/vision.py`` runs it as a program; Jupyter with Jupytext opens it as a
notebook.
"""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

HERE = Path(__file__).with_name("tutorials")
CACHE = Path(__file__).parents[1] / "build" / "tutorials"
LIMIT = 600
"""Seconds after which a cell that does not end is an error."""


def scripts() -> list[Path]:
    """All tutorials."""
    return sorted(HERE.glob("*.py"))


def pages(script: Path, run: bool) -> dict[str, str | bytes]:
    """The page of a tutorial, and its pictures, by name.

    Args:
      run: whether to run it, if this script has not been run before. If not, the page has the code
        alone, and says so.
    """
    kept = CACHE / f"{script.stem}-{hashlib.sha256(script.read_bytes()).hexdigest()[:16]}"
    if run and not (kept / f"{script.stem}.md").exists():
        kept.mkdir(parents=True, exist_ok=True)
        made = converted(script, True)
        for name, content in sorted(made.items(), key=lambda file: file[0].endswith(".md")):
            data = content if isinstance(content, bytes) else content.encode()
            (kept / name).write_bytes(data)
    if (kept / f"{script.stem}.md").exists():
        files = sorted(kept.iterdir())
        return {
            f.name: readable(f.read_text("utf-8")) if f.suffix == ".md" else f.read_bytes()
            for f in files
        }
    return converted(script, False)


def converted(script: Path, run: bool) -> dict[str, str | bytes]:
    """The notebook as Markdown, run in a folder of its own if wanted."""
    import jupytext
    from nbconvert import MarkdownExporter

    notebook = jupytext.read(script)
    name = script.stem
    if run:
        ran(notebook, script)
    text, found = MarkdownExporter().from_notebook_node(notebook)
    pictures: dict[str, str | bytes] = {}
    for own, data in found["outputs"].items():
        pictures[f"{name}-{own}"] = data
        text = text.replace(f"({own})", f"({name}-{own})")
    note = f"The code of this page is [{script.name}]({script.name}.txt)."
    if not run:
        note += " Its outputs are not shown, as the site was built without running it."
    return {
        f"{name}.md": f"{readable(text)}\n\n---\n\n{note}\n",
        f"{script.name}.txt": script.read_text(encoding="utf-8"),
        **pictures,
    }


def ran(notebook: object, script: Path) -> None:
    """Runs the cells of a notebook, with what it writes in a folder of its own."""
    import tempfile

    from nbclient import NotebookClient

    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    with tempfile.TemporaryDirectory() as folder:
        resources = {"metadata": {"path": folder}}
        NotebookClient(
            notebook, timeout=LIMIT, kernel_name="python3", resources=resources
        ).execute()


def readable(text: str) -> str:
    """Without styles of tables, which the site has its own of, and colours of terminals."""
    text = re.sub(r"<style scoped>.*?</style>\n?", "", text, flags=re.DOTALL)
    text = re.sub(r"\x1b\[[0-9;]*m", "", text)
    return re.sub(r' (border="1"|class="dataframe"|style="text-align: right;")', "", text)
