"""Chunks go through the (sample, step) pairs of a block once, step by step."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxeval.engine.slots import by_count, slots

WIDTH = 4
chunk = jax.jit(slots, static_argnums=3)


@pytest.mark.parametrize(
    "counts", [[3, 3, 3, 3], [0, 5, 2, 2], [1, 0, 0, 7], [0, 0, 0, 0], [9] * 4]
)
def test_every_step_of_every_sample_once(counts):
    given, found = by_count(np.array(counts), 1), []
    for start in range(0, sum(counts) + WIDTH, WIDTH):
        i, step, real = map(np.asarray, chunk(*map(jnp.asarray, given), start, WIDTH))
        assert set(i.tolist()) <= set(range(4))
        assert step.min() >= 0
        assert real.tolist() == [start + k < sum(counts) for k in range(WIDTH)]
        found += zip(i[real].tolist(), step[real].tolist(), strict=True)
    assert sorted(found) == [(i, s) for i, n in enumerate(counts) for s in range(n)]
    assert [s for _, s in found] == sorted(s for _, s in found)


def test_each_device_has_rows_of_its_own():
    rows, counts = by_count(np.array([2, 0, 1, 1]), 2)
    assert rows.tolist() == [1, 0, 0, 1]
    assert counts.tolist() == [0, 2, 1, 1]
