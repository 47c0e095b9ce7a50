"""docs/architecture.md and its picture say what is there."""

import re
import runpy
from pathlib import Path

import numpy as np
import pytest

import jaxeval as je

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
N, STEPS, RUNS, NOISY = 6, 4, 5, 3


def part(title):
    return PAGE.split(f"## {title}\n")[1].split("\n## ")[0]


def test_every_room_is_there():
    rooms = {p.name.removesuffix(".py") for p in (ROOT / "jaxeval").iterdir()}
    rooms = {r for r in rooms if not r.startswith("_") and r != "py.typed"}
    first = re.findall(r"^\| (`.*?) \|", part("Rooms"), re.MULTILINE)
    said = [name for cell in first for name in re.findall(r"`(\w+)`", cell)]
    assert sorted(said) == sorted(rooms)


def test_every_file_of_the_engine_is_there():
    said = set(re.findall(r"`(\w+\.py)`", part("From `evaluate` to `Results`"))) - {"api.py"}
    assert said == {p.name for p in (ROOT / "jaxeval/engine").glob("[!_]*.py")}


def test_the_picture_can_be_drawn(tmp_path):
    pytest.importorskip("matplotlib")
    made = runpy.run_path(str(ROOT / "docs/draw_architecture.py"))
    made["draw"](tmp_path / "architecture.svg")
    assert (tmp_path / "architecture.svg").read_text().startswith("<?xml")
    assert (ROOT / "docs/architecture.svg").exists()


def test_what_the_picture_says_is_what_is_asked():
    """Eight cells, four questions: each is asked once for all who share it."""
    pytest.importorskip("matplotlib")
    metrics = {
        "PixelFlipping": je.PixelFlipping(n_steps=STEPS, baseline=0.0),
        "Deletion": je.Deletion(n_steps=STEPS, baseline=0.0),
        "FaithfulnessCorrelation": je.FaithfulnessCorrelation(
            n_runs=RUNS, subset_size=2, baseline=0.0
        ),
        "MaxSensitivity": je.MaxSensitivity(n_samples=NOISY),
    }
    explainers = {"Saliency": je.explain.Saliency(), "IG": je.explain.IntegratedGradients()}
    made = runpy.run_path(str(ROOT / "docs/draw_architecture.py"))
    assert made["CELLS"] == [(m, e) for m in metrics for e in explainers]
    rng = np.random.default_rng(0)
    x = rng.normal(size=(N, 8)).astype(np.float32)
    model = je.Model(lambda w, x: x @ w, rng.normal(size=(8, 3)), channel_axis=None)
    results = je.evaluate(model, x, explainers=explainers, metrics=metrics, progress=False)
    assert results.asked["output"] == N * (1 + 2 * STEPS + RUNS)
    assert results.asked["attribution"] == N * 2 * (1 + NOISY)
    assert len(results.outcomes) == 8


def terms():
    text = (ROOT / "docs/glossary.md").read_text(encoding="utf-8")
    return re.findall(r"^\*\*([\w ]+)\.\*\*", text, re.MULTILINE)


def test_the_glossary_is_sorted_and_has_the_words_of_the_architecture():
    assert terms() == sorted(set(terms()), key=str.casefold)
    words = re.findall(r"(?<!\*)\*([a-z ]+)\*(?!\*)", PAGE)
    assert len(words) > 8
    for word in set(words) - {"italics"}:
        assert {word, word.removesuffix("s")} & {t.lower() for t in terms()}, word
