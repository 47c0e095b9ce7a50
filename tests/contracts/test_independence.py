"""Samples do not see each other."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest

from tests.cases import ROWS
from tests.contracts.runs import ALL, PLAIN, assert_same, base, evaluate, metrics, together
from tests.world import K, N, world


@functools.cache
def with_another_sample() -> Any:
    """Everything about sample 4 is another, far from the others."""
    w = world()
    x, y, mask = w.x.copy(), w.y.copy(), w.mask.copy()
    x[4] = 100 * x[4] + 7
    y[4] = (y[4] + 1) % K
    mask[4] = ~mask[4]
    return evaluate(x=x, y=y, mask=mask)


@together
@pytest.mark.parametrize("row", [row for row in ALL if not ROWS[row].over_data])
def test_samples_do_not_see_each_other(row):
    others = np.arange(N) != 4
    got, want = with_another_sample()["entries", row], base()["entries", row]
    np.testing.assert_array_equal(got.score[others], want.score[others])
    if want.curve is not None:
        np.testing.assert_array_equal(got.curve[others], want.curve[others])


@pytest.mark.rows
@together
@pytest.mark.parametrize("kind", ["smooth", "ties"])
def test_the_scale_of_a_map_does_not_matter_where_it_is_normalised(kind):
    rows = [row for row in PLAIN if ROWS[row].metric.normalise is not None]
    a = world().maps[kind]
    got = evaluate(explainers={"a": a, "4 a": 4 * a}, metrics=metrics(rows))
    for row in rows:
        assert_same(got["4 a", row], got["a", row], row, exactly=True)
