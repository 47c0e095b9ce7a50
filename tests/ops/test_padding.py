"""What padding needs of array functions."""

from __future__ import annotations

import numpy as np

from jaxeval import ops


def test_portion_is_exact():
    rng = np.random.default_rng(0)
    for most in (40, 50_000, 200_000):
        for _ in range(20):
            total = int(rng.integers(1, most + 1))
            n, s = int(rng.integers(total, 400_000)), int(rng.integers(0, total + 1))
            assert int(ops.portion(n, s, total, most)) == n * s // total


def test_the_edges_of_the_box_are_repeated_for_blur():
    x = np.random.default_rng(0).normal(size=(9, 7, 2)).astype(np.float32)
    where = np.zeros((9, 7, 1), bool)
    where[2:8, 1:5] = True
    got = ops.baseline(x, "blur", 2, None, where)[2:8, 1:5]
    np.testing.assert_allclose(got, ops.baseline(x[2:8, 1:5], "blur", 2), rtol=1e-5, atol=1e-6)
