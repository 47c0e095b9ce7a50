"""Noisy linear imputation as ROAD asks for it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

import jaxeval as je
from tests.reference.maths import imputed
from tests.world import N, world


def asked(metric: Any, x: np.ndarray, a: np.ndarray, **given: Any) -> tuple[Any, np.ndarray]:
    """The outcome, and what a model on the host was asked about: [N, S, ...]."""
    seen: list[np.ndarray] = []

    def model(v: Any) -> np.ndarray:
        seen.append(np.array(v))
        return np.stack([v.mean((1, 2, 3)), 0 * v[:, 0, 0, 0]], 1)

    out = je.score(metric, je.Model(lambda p, v: model(v), host=True), x, None, a, **given)
    queries = np.concatenate(seen[-(-len(x) // len(seen[0])) :])
    return out, queries.reshape(-1, *x.shape).swapaxes(0, 1)


def test_noise_is_on_what_is_imputed_only():
    w = world()
    metric = je.ROAD(percentages=(25, 50), noise=0.1)
    _, queries = asked(metric, w.x, w.maps["smooth"], batch_size=64)
    changed = (queries != w.x[:, None]).any(2)
    assert (changed.sum((2, 3)) == [16, 32]).all()
    noise = []
    for i, s in np.ndindex(N, 2):
        gone = changed[i, s]
        noise.append((queries[i, s] - imputed(w.x[i], gone, 0))[:, gone].ravel())
    noise = np.concatenate(noise)
    assert abs(noise.mean()) < 4 * 0.1 / np.sqrt(noise.size)
    np.testing.assert_allclose(noise.std(), 0.1, rtol=0.1)


@pytest.mark.slow
def test_photos_in_one_call():
    """16 photos of 224 x 224 pixels in colour at 20 percentages, some against a sparse solver."""
    rng = np.random.default_rng(0)
    x = gaussian_filter(rng.normal(size=(16, 3, 224, 224)), (0, 0, 3, 3))
    x = ((x - x.min()) / np.ptp(x)).astype(np.float32)
    a = gaussian_filter(rng.normal(size=(16, 224, 224)), (0, 4, 4)).astype(np.float32)
    percentages = np.linspace(1, 99, 20)
    metric = je.ROAD(percentages=percentages, noise=0.0)
    out, queries = asked(metric, x, a, batch_size=32)
    assert queries.shape == (16, 20, 3, 224, 224)
    assert out.curve.shape == (16, 20)
    for i, s in ((0, 0), (3, 10), (7, 19), (15, 19)):
        gone = (queries[i, s] != x[i]).any(0)
        assert abs(gone.mean() - percentages[s] / 100) < 1e-3
        np.testing.assert_allclose(queries[i, s], imputed(x[i], gone, 0), atol=1e-4)
