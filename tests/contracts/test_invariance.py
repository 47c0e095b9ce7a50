"""Scores depend on the sample and the key: not on batch size, devices, company or order."""

from __future__ import annotations

import functools
from typing import Any

import jax
import numpy as np
import pytest
from jax.sharding import Mesh

from tests.cases import ROWS
from tests.contracts.runs import (
    ALL,
    ENTRIES,
    assert_same,
    base,
    evaluate,
    metrics,
    score,
    together,
    tolerance,
)
from tests.world import KEY, N, pixels, world


@functools.cache
def in_batches_of(size: int | None) -> Any:
    return evaluate(batch_size=size)


@together
@pytest.mark.parametrize("row", ALL)
@pytest.mark.parametrize("size", [*(pytest.param(n, marks=pytest.mark.slow) for n in (1, None)), 5])
def test_scores_do_not_depend_on_batch_size(size, row):
    got = in_batches_of(size)["entries", row]
    rtol, atol = tolerance(row, 1 / 10), ROWS[row].atol / 10
    assert_same(got, base()["entries", row], row, rtol=rtol, atol=atol)


@functools.cache
def on_devices(mesh: Mesh) -> Any:
    return evaluate(mesh=mesh)


@together
@pytest.mark.parametrize("row", ALL)
def test_scores_do_not_depend_on_the_number_of_devices(row, two_devices):
    """One device or two: the same bits."""
    got, want = on_devices(two_devices)["entries", row], base()["entries", row]
    assert_same(got, want, row, exactly=ROWS[row].same_bits, rtol=1e-6, atol=1e-7)


@together
@pytest.mark.parametrize("row", ALL)
def test_scores_do_not_depend_on_other_metrics(row):
    """A metric on its own gives what it gives among all others."""
    assert_same(score(row), base()["entries", row], row)


@functools.cache
def in_company() -> Any:
    return evaluate(explainers={"pixels": pixels, **ENTRIES})


@together
@pytest.mark.parametrize("row", ALL)
def test_scores_do_not_depend_on_other_explainers(row):
    """With another one before it, an explainer has the scores that it has alone."""
    assert_same(in_company()["entries", row], base()["entries", row], row)


@pytest.mark.rows
@together
def test_with_ids_the_order_of_samples_does_not_matter():
    """Samples permuted with their ids: permuted scores."""
    w = world()
    index = np.array([40, 7, 1_000_000, 0, 2**32 - 1, 12, 13])
    order = np.array([3, 6, 0, 5, 1, 4, 2])
    straight = evaluate(index=index)
    permuted = evaluate(x=w.x[order], y=w.y[order], mask=w.mask[order], index=index[order])
    for cell, outcome in straight.outcomes.items():
        want = jax.tree.map(lambda v: v[order], outcome)
        assert_same(permuted[cell], want, cell)
    np.testing.assert_array_equal(permuted.index, index[order])
    np.testing.assert_array_equal(permuted.y, w.y[order])


@pytest.mark.rows
@together
def test_the_default_ids_are_positions():
    for cell, outcome in evaluate(index=np.arange(N)).outcomes.items():
        assert_same(outcome, base()[cell], cell, exactly=True)


@pytest.mark.rows
@together
def test_one_key_gives_the_same_bits_again():
    """A seed, and the key that JAX makes of it."""
    for key in (KEY, jax.random.key(KEY), jax.random.PRNGKey(KEY), np.int64(KEY)):
        for cell, outcome in evaluate(key=key).outcomes.items():
            assert_same(outcome, base()[cell], cell, exactly=True)


@functools.cache
def with_another_key() -> Any:
    return evaluate(key=KEY + 1)


@together
@pytest.mark.parametrize("row", ALL)
def test_only_random_metrics_change_with_the_key(row):
    got, want = with_another_key()["entries", row], base()["entries", row]
    if ROWS[row].random:
        assert not np.array_equal(got.score, want.score, equal_nan=True)
    else:
        assert_same(got, want, row, exactly=True)


@pytest.mark.rows
@together
def test_global_random_states_are_neither_read_nor_moved():
    """NumPy's and Python's generators are neither read nor moved."""
    import random

    np.random.seed(0)
    random.seed(0)
    before = np.random.get_state()[1].copy(), random.getstate()
    first = evaluate()
    np.testing.assert_array_equal(np.random.get_state()[1], before[0])
    assert random.getstate() == before[1]
    for cell, outcome in first.outcomes.items():
        assert_same(outcome, base()[cell], cell, exactly=True)


@together
def test_the_predicted_class_is_explained_by_default():
    w = world()
    y = np.asarray(w.model(w.x)).argmax(-1).astype(np.int32)
    rows = ["PixelFlipping", "MaxSensitivity", "RandomLogit"]
    got, want = (evaluate(y=v, metrics=metrics(rows)) for v in (None, y))
    np.testing.assert_array_equal(got.y, y)
    for cell, outcome in want.outcomes.items():
        assert_same(got[cell], outcome, cell)
