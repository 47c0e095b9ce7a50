"""docs/meta.md and the example say what the code does."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

import jaxeval as je
from jaxeval.meta.measures import MEASURES
from jaxeval.sweep.meta_table import MetaTable, read_table

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/meta.md").read_text(encoding="utf-8")


def test_every_column_is_explained():
    said = re.findall(r"^\| ([\w, ]+) \|", PAGE.split("## What each column means")[1], re.MULTILINE)
    names = {name for cell in said for name in cell.split(", ")}
    assert names >= {*MEASURES, "n_minor", "n_disruptive", "n_undefined", "reason"}


def test_the_table_of_the_page_is_one():
    import tomllib

    block = PAGE.split("## At scale")[1].split("```toml\n")[1].split("```")[0]
    table = MetaTable(**read_table(tomllib.loads(block)["meta"], ROOT))
    assert list(table.tests) == ["ModelNoise", "own maps", "MapNoise"]
    assert table.tests["own maps"].maps == "own"
    assert table.tests["MapNoise"].levels == (0, 0.5, 1)


def test_the_example_has_twelve_metrics_and_six_explainers():
    made = runpy.run_path(str(ROOT / "docs/examples/meta_digits.py"))
    assert (len(made["metrics"]()), len(made["explainers"]())) == (12, 6)


@pytest.mark.slow
def test_the_code_of_the_page_runs(tmp_path, monkeypatch):
    pytest.importorskip("jinja2")
    monkeypatch.chdir(tmp_path)
    page: dict[str, object] = {}
    for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        exec(block, page)
    assert isinstance(page["meta"], je.MetaResults)
    assert {p.name for p in tmp_path.iterdir()} >= {"meta.parquet", "meta.html"}
