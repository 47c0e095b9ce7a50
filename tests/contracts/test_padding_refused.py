"""Padding is refused where it cannot be left out, and where it does not fit."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

import jaxeval as je
from jaxeval.types import pytree
from tests.cases import ROWS, metric_of
from tests.contracts.padding import (
    E,
    N,
    T,
    apply,
    data,
    model,
    takes_padding,
    tokens,
)

REFUSED = [row for row in ROWS if not takes_padding(metric_of(row, "tokens"))]


def test_what_is_refused():
    """Images, hidden layers, data sets, shifts, and an explainer that would put noise on it."""
    classes = {row.split("/")[0] for row in REFUSED}
    assert classes == {
        "AIC", "ClassSensitivity", "Consistency", "Continuity", "IROF", "MSTC", "ROAD", "RRS",
        "RandomLogit", "SIC", "SmoothMPRT", "Sufficiency",
    }  # fmt: skip


@pytest.mark.parametrize("row", REFUSED)
def test_what_cannot_leave_padding_out_refuses_it(row):
    d, m = data(), metric_of(row, "tokens")
    shown = dataclasses.replace(model(), hidden=lambda p, x: (apply(p, x), {"x": x}))
    with pytest.raises(ValueError, match=rf"{type(m).__name__}' takes no padding"):
        je.score(m, shown, d.x, d.y, explainer=tokens, mask=d.mask, padding=d.padding)


@pytest.mark.parametrize("kind", ["ssim", lambda u, v: abs(u - v).max()], ids=["ssim", "function"])
def test_similarities_that_count_everything_are_refused(kind):
    d = data()
    with pytest.raises(ValueError, match="MPRT' takes no padding"):
        je.score(je.MPRT(similarity=kind), model(), d.x, d.y, explainer=tokens, padding=d.padding)


@pytree
class Counting(je.Metric):
    """A metric that has not been told about padding."""

    family, direction = "complexity", "lower"

    def reduce(self, sample: Any, reference: Any, measured: Any, valid: Any) -> Any:
        return je.Outcome(score=sample.a.mean())


def test_a_new_metric_refuses_padding_until_it_says_otherwise():
    d = data()
    with pytest.raises(ValueError, match="takes no padding"):
        je.score(Counting(), model(), d.x, d.y, d.a, padding=d.padding)


BAD = {
    "shape": (je.Sparseness(), np.zeros((N, T + 1), bool), r"padding of shape \[6, 13\] does not"),
    "rows": (je.Sparseness(), np.zeros((N + 1, T), bool), "one row for each of the 6 samples"),
    "numbers": (je.Sparseness(), np.full((N, T), 2), "padding must be boolean"),
    "everything": (je.Sparseness(), np.arange(N)[:, None] + np.zeros(T) == 2, "sample 2"),
    "channels": (
        je.Sparseness(),
        np.broadcast_to(np.arange(E) == 1, (N, T, E)),
        "some channels of a position but not others",
    ),
    "subset": (
        je.FaithfulnessCorrelation(subset_size=6),
        None,
        "needs 6 features of every sample, but sample 2 has 5",
    ),
    "sizes": (je.SensitivityN(sizes=[2, 7]), None, "needs 7 features .* sample 2 has 5"),
    "k": (je.TopKIntersection(k=8), None, "needs 8 features of every sample, but sample 2 has 5"),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_padding(what):
    d, (m, padding, says) = data(), BAD[what]
    padding = d.padding if padding is None else padding
    with pytest.raises(ValueError, match=says):
        je.score(m, model(), d.x, d.y, d.a, mask=d.mask, padding=padding)


def test_as_function_refuses_padding_too():
    d = data()
    f = je.as_function(je.SIC(), model())
    with pytest.raises(ValueError, match="takes no padding"):
        f(d.x[0], d.y[0], d.a[0], 0, padding=d.padding[0])
