"""Another number, another model of the same shape: nothing is compiled anew."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import numpy as np
import pytest

import jaxeval as je
from jaxeval.engine import TRACES
from jaxeval.metric import asks_of
from tests.cases import ROWS
from tests.contracts.runs import ALL, base, evaluate, metrics, score, together, traced_since
from tests.world import entries, pixels, world


def nudged(metric: Any, numbers: Any, which: int) -> Any:
    """The metric with every number at one of two values."""
    fields = {}
    for field in dataclasses.fields(metric):
        v = getattr(metric, field.name)
        if field.metadata.get("static") or isinstance(v, bool):
            continue
        if field.name in numbers:
            fields[field.name] = numbers[field.name][which]
        elif field.name == "baseline":
            fields[field.name] = (-2.0, np.float32(-1.5))[which]
        elif isinstance(v, int):
            fields[field.name] = v + which
        elif isinstance(v, float):
            fields[field.name] = v * (1 + which / 4)
    return dataclasses.replace(metric, **fields)


@together
@pytest.mark.parametrize("row", ALL)
def test_another_number_compiles_nothing(row, compiled):
    numbers = ROWS[row].numbers
    first, second = (nudged(ROWS[row].metric, numbers, k) for k in (0, 1))
    score(first)
    before = TRACES.copy()
    compiled.clear()
    score(second)
    assert not traced_since(before)
    assert not compiled


@together
def test_one_program_with_the_model_and_one_for_each_explainer(compiled):
    """However many metrics: one forward (a second one with hidden layers), one explain each."""
    w = world()

    def apply(params: Any, x: Any) -> Any:
        return w.model.apply(params, x)

    def hidden(params: Any, x: Any) -> Any:
        return w.model.hidden(params, x)

    def first(model: Any, x: Any, y: Any, keys: Any) -> Any:
        return entries(model, x, y, keys)

    def second(model: Any, x: Any, y: Any, keys: Any) -> Any:
        return pixels(model, x, y, keys)

    base()
    before = TRACES.copy()
    compiled.clear()
    model = dataclasses.replace(w.model, apply=apply, hidden=hidden)
    evaluate(
        model=model,
        explainers={"a": first, "b": second, "stored": w.maps["ties"]},
        metrics=metrics(few := ["PixelFlipping", "FaithfulnessCorrelation", "AUC", "Completeness"]),
    )
    assert not any("hidden" in ROWS[row].metric.asks for row in few)
    assert traced_since(before)["forward"] == 1
    assert traced_since(before)["explain"] == 2
    evaluate(model=model, explainers={"a": first, "b": second})
    asks_hidden = any("hidden" in ROWS[row].metric.asks for row in ALL)
    assert traced_since(before)["forward"] == 1 + asks_hidden
    # Models with other parameters (MPRT's) are no other programs, those of another `apply` are.
    asked = [p for row in ALL for p in asks_of(ROWS[row].metric)]
    others = {type(p) for p in asked if type(p).model is not je.Perturbation.model}
    assert traced_since(before)["explain"] == 2 * (1 + len(others))
    assert compiled["jit(forward)"] == 1 + asks_hidden
    assert compiled["jit(explain)"] == 2 * (1 + len(others))


@pytest.mark.rows
@together
def test_another_model_of_the_same_shape_compiles_nothing(compiled):
    """Parameters are arguments; inputs, classes and keys too."""
    w = world()
    evaluate()  # not base(): what was compiled for that may have been let go
    before = TRACES.copy()
    compiled.clear()
    params = jax.tree.map(lambda p: 0.9 * p, w.model.params)
    evaluate(model=dataclasses.replace(w.model, params=params), x=0.5 * w.x, key=8)
    assert not traced_since(before)
    assert not compiled
