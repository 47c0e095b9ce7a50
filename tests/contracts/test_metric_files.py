"""One metric a file: short, documented, exported."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path

import pytest

import jaxeval as je
from tests.cases import EVERY, ROWS
from tests.contracts.runs import evaluate
from tests.world import world

FAMILIES = Path(je.metrics.__file__).parent
FILES = sorted(p for p in FAMILIES.glob("*/*.py") if p.stem != "__init__")
if len(ROWS) < len(EVERY):  # of these rows
    FILES = sorted({Path(inspect.getfile(type(r.metric))) for r in ROWS.values()})


@pytest.mark.rows
@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_a_metric_file_is_short_documented_and_exported(path):
    text = path.read_text()
    assert len(text.splitlines()) < 110
    assert "jit(" not in text, "the engine compiles"
    family = path.parent.name
    exported = [v for v in vars(getattr(je.metrics, family)).values() if isinstance(v, type)]
    classes = [c for c in exported if c.__module__ == f"jaxeval.metrics.{family}.{path.stem}"]
    assert classes, f"{path.stem} exports no metric"
    for cls in classes:
        assert cls in je.METRICS.values()
        doc = cls.__doc__
        assert ".. math::" in doc, cls
        assert re.search(r"(Higher|Lower)\s+is\s+better", doc), cls
        assert "NaN" in doc, f"{cls} does not say when it is NaN"
        assert "Outcome:" in doc, cls
        assert cls.family == family
        assert cls.direction in ("higher", "lower")
        assert re.search(r"(19|20)\d\d", cls.reference), cls
        assert set(cls.asks) <= {"output", "attribution", "hidden"}
        assert set(cls.needs) <= {"mask"}
    functions = [
        node for node in ast.parse(text).body if isinstance(node, ast.FunctionDef)
    ]  # the pure function, with an example
    assert any(">>>" in (ast.get_docstring(node) or "") for node in functions)
    assert any(hasattr(je.functional, node.name) for node in functions)


def test_directions_follow_their_fields():
    assert je.PixelFlipping.direction == je.PixelFlipping().direction == "lower"
    assert je.PixelFlipping(order="lerf").direction == "higher"
    assert je.Completeness().direction == "lower"
    assert je.Completeness(satisfied=True).direction == "higher"
    assert all(m.direction in ("higher", "lower") for m in je.METRICS.values())
    assert evaluate(
        metrics={"f": je.PixelFlipping(n_steps=6, order="lerf")},
        explainers={"a": world().maps["smooth"]},
    ).directions == {"f": "higher"}


def test_metrics_have_their_other_names():
    assert je.LocalLipschitzEstimate is je.LocalLipschitz
    assert je.ABPC is je.SRG
    assert je.RelativeInputStability is je.RIS
    assert je.RelativeOutputStability is je.ROS
    assert je.RelativeRepresentationStability is je.RRS
