"""Functions of NumPy score as JAX ones do, and their failures name the batch."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import numpy as np
import pytest

import jaxeval as je
from jaxeval.engine import TRACES
from tests.cases import ROWS
from tests.contracts.runs import (
    ALL,
    PLAIN,
    assert_same,
    base,
    clean_maps,
    evaluate,
    metrics,
    numpy_explainer,
    numpy_model,
    score,
    together,
    tolerance,
    traced_since,
)
from tests.world import entries, world


@pytest.mark.rows
@together
def test_a_numpy_model_gives_the_same_scores():
    """A bare function, found out to be a host callable; the last batch is ragged."""
    maps, rows = clean_maps(), [r for r in PLAIN if not ROWS[r].changes_params]
    got = evaluate(model=numpy_model, explainers={"a": maps}, metrics=metrics(rows))
    for row in rows:
        assert_same(
            got["a", row], base()["entries", row], row, rtol=tolerance(row), atol=ROWS[row].atol
        )


@pytest.mark.rows
@together
@pytest.mark.parametrize("wrapped", [False, True])
def test_a_numpy_explainer_gives_the_same_scores(wrapped):
    explainer = je.Host(numpy_explainer) if wrapped else numpy_explainer
    rows = [r for r in ALL if not ROWS[r].changes_params]
    got = evaluate(explainers={"a": explainer}, metrics=metrics(rows))
    for row in rows:
        assert_same(
            got["a", row], base()["entries", row], row, rtol=tolerance(row), atol=ROWS[row].atol
        )
    want = evaluate(explainers={"a": entries}, metrics=metrics(rows))
    assert got.asked == want.asked


@together
def test_a_jax_explainer_on_the_host():
    """je.Host of what could be traced: the same maps, computed outside compiled programs."""
    rows = ["MaxSensitivity", "Sparseness"]
    got = evaluate(explainers={"a": je.Host(entries, arrays="jax")}, metrics=metrics(rows))
    for row in rows:
        assert_same(got["a", row], base()["entries", row], row, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("row", [row for row in ALL if ROWS[row].changes_params])
def test_a_host_explainer_of_changed_parameters_is_refused(row):
    before = TRACES.copy()
    with pytest.raises(ValueError, match=r"changes the model's parameters.*host callable"):
        score(row, numpy_explainer)
    with pytest.raises(ValueError, match=r"changes the model's parameters.*host model"):
        score(row, entries, model=numpy_model)
    assert not traced_since(before)


@dataclasses.dataclass(eq=False)
class Failing:
    """Answers two batches and then does something else."""

    then: Any
    calls: int = 0

    def __call__(self, model: Any, x: Any, y: Any, keys: Any) -> Any:
        self.calls += 1
        good = numpy_explainer(model, x, y, keys)
        return good if self.calls < 3 else self.then(good)


def burn(maps: np.ndarray) -> np.ndarray:
    raise ZeroDivisionError("the torch went out")


@pytest.mark.parametrize(
    ("then", "says"),
    [
        (burn, "ZeroDivisionError: the torch went out"),
        (lambda a: a[:, 0], r"shape \[1, 8, 8\], wanted \[1, 2, 8, 8\]"),
        (lambda a: a[:0], r"shape \[0, 2, 8, 8\], wanted \[1, 2, 8, 8\]"),
        (lambda a: None, "wanted"),
    ],
    ids=["raises", "shape", "rows", "none"],
)
def test_an_explainer_that_fails_on_its_third_batch(then, says):
    """The error names explainer and batch, and what was scored until then is not lost."""
    with pytest.raises(je.EvaluationError, match=says) as caught:
        evaluate(
            explainers={"stored": world().maps["smooth"], "lamp": je.Host(Failing(then))},
            metrics=metrics(["Sparseness", "PixelFlipping"]),
        )
    assert "'lamp'" in str(caught.value)
    assert "samples 6..6" in str(caught.value)
    partial = caught.value.partial
    want = evaluate(
        explainers={"stored": world().maps["smooth"], "lamp": numpy_explainer},
        metrics=metrics(["Sparseness", "PixelFlipping"]),
    )
    for cell, outcome in want.outcomes.items():
        assert_same(partial[cell], jax.tree.map(lambda v: v[:6], outcome), cell)
    if then is burn:
        assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_an_explainer_that_fails_on_a_perturbed_batch():
    """Sparseness needs no perturbed inputs, so of it the failing batch is there, too."""
    with pytest.raises(
        je.EvaluationError, match=r"'lamp' on the batch of samples 0\.\.2"
    ) as caught:
        evaluate(
            explainers={"lamp": je.Host(Failing(burn))},
            metrics=metrics(["Sparseness", "MaxSensitivity"]),
        )
    partial = caught.value.partial
    assert len(partial["lamp", "Sparseness"].score) == 3
    assert ("lamp", "MaxSensitivity") not in partial.outcomes


def test_a_host_model_that_fails():
    def model(x: Any) -> Any:
        if np.asarray(x).shape[0] == 1:
            burn(x)
        return numpy_model(x)

    with pytest.raises(je.EvaluationError, match=r"the model .*failed.*torch went out") as caught:
        evaluate(
            model=model,
            explainers={"a": world().maps["smooth"]},
            metrics=metrics(["Sparseness", "PixelFlipping"]),
        )
    assert len(caught.value.partial["a", "PixelFlipping"].score) == 6
