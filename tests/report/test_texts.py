"""The best and the worst texts in the report."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("jinja2")
pytest.importorskip("matplotlib")

from jaxeval.report import html
from jaxeval.results import Results
from jaxeval.types import Outcome


def scored() -> Results:
    scores = {("A", "m"): Outcome(score=np.array([0.5, 0.1, 0.9, 0.3], np.float32))}
    return Results(
        scores, {"m": "higher"}, {"m": "faithfulness"}, np.arange(10, 14), np.zeros(4, int)
    )


def test_texts_are_shown_in_colour():
    results = scored()
    tokens = [["[CLS]", f"word{i}", "<b>"] for i in range(4)]
    maps = np.tile(np.array([3.0, -1.0, 2.0]), (4, 1))
    counted = np.tile([False, True, True], (4, 1))
    page = html(results, x=tokens, attributions={"A": maps}, counted=counted, n=1)
    assert "<b>best 12: 0.900</b>" in page
    assert "<b>worst 11: 0.100</b>" in page
    assert ">word2</span>" in page
    assert ">word1</span>" in page
    assert "word0" not in page
    assert "&lt;b&gt;" in page
    assert page.count('style="color: grey" title="3">[CLS]') == 2


def test_words_are_shown_whole_and_rationales_underlined():
    tokens = [["[CLS]", "good", "##ness", f"word{i}"] for i in range(4)]
    maps = np.tile(np.array([0.0, 3.0, 1.0, -1.0]), (4, 1))
    given = {"x": tokens, "attributions": {"A": maps}, "n": 1}
    words = np.tile([-1, 0, 0, 1], (4, 1))
    marked = np.arange(4)[:, None] == np.array([-1, -1, -1, 2])
    page = html(scored(), **given, features=words, rationale=marked)
    assert page.count('title="4">goodness</span>') == 2
    assert "##ness" not in page
    underlined = [line for line in page.split("<span") if "underline" in line]
    assert len(underlined) == 1
    assert ">word2</span>" in underlined[0]
