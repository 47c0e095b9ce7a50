"""Runs of every metric at once, which tests share, and what compares them."""

from __future__ import annotations

import functools
from collections import Counter
from typing import Any

import numpy as np
import pytest

import jaxeval as je
from jaxeval.engine import TRACES
from tests.cases import EVERY, ROWS, draws_of, metric_of
from tests.close import assert_close
from tests.world import KEY, entries, world

BATCH = 3
ENTRIES = {"entries": entries}
ALL = list(ROWS)
EXPLAINS = [row for row in ALL if ROWS[row].explains]
PLAIN = [row for row in ALL if not ROWS[row].explains]
DRAWING = [row for row in ALL if draws_of(row, metric_of(row), world()) is not None]

together = pytest.mark.usefixtures("same_worker")
"""Tests that look at the same run of everything."""


def metrics(rows: Any = ALL) -> dict[str, Any]:
    """The metrics of rows; no test of a promise where `--only` leaves none of them."""
    if not rows:
        pytest.skip("of none of these rows")
    return {row: EVERY[row].metric for row in rows}


def evaluate(**given: Any) -> Any:
    """Everything at once, unless told otherwise."""
    w = world()
    x, y = given.pop("x", w.x), given.pop("y", w.y)
    given = {
        "explainers": ENTRIES,
        "metrics": metrics(),
        "mask": w.mask,
        "key": KEY,
        "batch_size": BATCH,
        "progress": False,
    } | given
    return je.evaluate(given.pop("model", w.model), x, y, **given)


def score(row_or_metric: Any, explainer: Any = entries, a: Any = None, **given: Any) -> Any:
    """One metric of the explainer, or of given maps."""
    w = world()
    row = isinstance(row_or_metric, str)
    metric = metric_of(row_or_metric) if row else row_or_metric
    given = {"mask": w.mask, "key": KEY, "batch_size": BATCH} | given
    x, y = given.pop("x", w.x), given.pop("y", w.y)
    return je.score(metric, given.pop("model", w.model), x, y, a, explainer=explainer, **given)


@functools.cache
def base() -> Any:
    """Every metric of one explainer, three samples at a time, on one device."""
    return evaluate()


@functools.cache
def clean_maps() -> np.ndarray:
    w = world()
    return np.asarray(je.attribute(entries, w.model, w.x, w.y, key=KEY, batch_size=BATCH))


def tolerance(row: str, share: float = 1) -> Any:
    """Of a row's scores of `clean_maps`, relative."""
    return EVERY[row].tolerance(world(), clean_maps(), share)


def assert_same(
    got: Any,
    want: Any,
    what: Any = "",
    exactly: bool = False,
    rtol: Any = 2e-5,
    atol: float = 2e-6,
) -> None:
    """Scores and curves agree, and are undefined in the same places."""
    assert (got.curve is None) == (want.curve is None)
    for part in ("score", "curve"):
        a, b = getattr(got, part), getattr(want, part)
        if b is None:
            continue
        if exactly:
            np.testing.assert_array_equal(np.asarray(a), np.asarray(b), f"{what}: {part}")
        else:
            assert_close(a, b, rtol, atol, f"{what}: {part}")


def traced_since(before: Counter[str]) -> Counter[str]:
    return TRACES - before


def numpy_model(x: Any) -> np.ndarray:
    """A function of x that JAX cannot trace."""
    net = world().net
    return np.array([net.logits(v) for v in np.asarray(x, np.float64)])


def numpy_explainer(model: Any, x: Any, y: Any, keys: Any) -> np.ndarray:
    net, rows = world().net, zip(np.asarray(x, np.float64), np.asarray(y), strict=True)
    return np.array([net.gradient(v, c) for v, c in rows])
