"""Differences of probabilities are right beyond what float32 resolves."""

from __future__ import annotations

from typing import Any

import numpy as np

import jaxeval as je
from tests.world import KEY


def test_differences_of_confident_probabilities():
    """1 - p is below float32's resolution, and the correlation is right all the same."""
    rng = np.random.default_rng(0)
    n, f, k = 10, 40, 4
    weights = rng.normal(size=(f, k)).astype(np.float32)
    x = rng.normal(size=(n, f)).astype(np.float32)
    y = rng.integers(0, k, n)
    for i in range(n):  # y wins by 21: 1 - p is about 1e-9
        gap = (x[i] @ weights)[y[i]] - np.delete(x[i] @ weights, y[i]).max()
        toward = weights[:, y[i]] - np.delete(weights, y[i], 1).mean(1)
        x[i] += (21 - gap) * toward / (toward @ (weights[:, y[i]] - weights.mean(1)) + 1e-9)
    a = (x * weights[:, y].T).astype(np.float32)

    def model(w: Any, v: Any) -> Any:
        return v @ w

    metric = je.SensitivityN(
        n_runs=60, sizes=(5,), baseline=0.0, normalise=None, output="probability"
    )
    # The subsets as asked, from a NumPy twin.
    asked: list[np.ndarray] = []

    def watched(v: Any) -> np.ndarray:
        asked.append(np.asarray(v))
        return np.asarray(v) @ weights

    je.score(metric, watched, x, y, a, key=KEY, batch_size=4096)
    gone = np.concatenate(asked[1:]).reshape(60, n, f).swapaxes(0, 1) != x[:, None]
    got = je.score(metric, je.Model(model, weights), x, y, a, key=KEY, batch_size=100).score

    def correlations(dtype: Any) -> np.ndarray:
        out = []
        for i in range(n):
            z = np.where(gone[i], 0, x[i]).astype(dtype) @ weights.astype(dtype)
            z = np.vstack([x[i].astype(dtype) @ weights.astype(dtype), z])
            p = np.exp(z - z.max(1, keepdims=True))
            p = (p / p.sum(1, keepdims=True))[:, y[i]]
            sums = np.where(gone[i], a[i], 0).sum(1)
            out.append(np.corrcoef(sums, p[0] - p[1:])[0, 1])
        return np.array(out)

    exact, naive = correlations(np.float64), correlations(np.float32)
    assert not np.abs(naive - exact).max() < 0.1  # or NaN
    np.testing.assert_allclose(got, exact, atol=1e-3)
