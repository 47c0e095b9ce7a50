"""What `print(results)` shows."""

import numpy as np
import pytest

from jaxeval.results import Results
from jaxeval.types import Outcome


def results(n_explainers=2):
    explainers = [f"explainer {i}" for i in range(n_explainers)]
    outcomes = {
        (e, m): Outcome(score=np.float32([i, i + 1]))
        for i, e in enumerate(explainers)
        for m in ("low", "high")
    }
    families = {"low": "complexity", "high": "complexity"}
    directions = {"low": "lower", "high": "higher"}
    return Results(outcomes, directions, families, np.arange(2), np.array([0, 1]))


def test_print_shows_the_table_of_means(capsys):
    print(results())
    assert [line.rstrip() for line in capsys.readouterr().out.splitlines()] == [
        "Results: 2 explainers x 2 metrics, 2 samples",
        "mean scores (* best)",
        "       explainer 0 explainer 1",
        "low ↓         0.5*        1.5",
        "high ↑        0.5         1.5*",
    ]
    assert str(results()) == repr(results()) == f"{results()}"


@pytest.mark.parametrize("width", [60, 100])
def test_a_wide_table_is_broken_at_the_width_of_the_terminal(monkeypatch, width):
    monkeypatch.setenv("COLUMNS", str(width))
    lines = str(results(20)).splitlines()
    assert max(map(len, lines[1:])) <= width
    for i in range(20):
        assert sum(f" explainer {i} " in f"{line} " for line in lines) == 1
