"""A host model sees each distinct row of a block once, whoever asks about it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import jaxeval as je
from jaxeval.engine import host_memo

N, H = 6, 4
RNG = np.random.default_rng(0)
# Whole numbers, so that outputs are the same bits in every batch; half of the entries are black.
X = (RNG.integers(1, 9, (N, H, H)) * (RNG.random((N, H, H)) < 0.5)).astype(np.float32)
W = RNG.integers(-3, 4, (H * H, 3)).astype(np.float32)
MAPS = {name: RNG.normal(size=X.shape).astype(np.float32) for name in "uvw"}
METRICS: dict[str, Any] = {
    "flipping": je.PixelFlipping(n_steps=None),
    "insertion": je.Insertion(n_steps=None, baseline=0.0),
    "regions": je.RegionPerturbation(patch_size=2, n_regions=None),
    "estimate": je.FaithfulnessEstimate(),
    "sizes": je.SensitivityN(n_runs=6),
}


class Counted:
    """A linear model that keeps the bytes of every row that it is asked about."""

    def __init__(self) -> None:
        self.seen: list[bytes] = []

    def __call__(self, params: Any, x: Any) -> np.ndarray:
        self.seen += [np.asarray(row).tobytes() for row in x]
        return np.asarray(x).reshape(len(x), -1) @ W


def evaluate(host: bool = True, **given: Any) -> tuple[je.Results, list[bytes]]:
    counted = Counted()
    model = je.Model(counted if host else lambda w, x: x.reshape(len(x), -1) @ w,
                     None if host else W, host=host, channel_axis=None)  # fmt: skip
    given = {"explainers": MAPS, "metrics": METRICS, "batch_size": 64} | given
    return je.evaluate(model, X, progress=False, **given), counted.seen


def test_each_distinct_row_is_asked_once():
    """By the model's own inputs: of three explainers and five metrics, two of which share."""
    results, seen = evaluate()
    assert len(seen) == len(set(seen)) == results.asked["output"]
    compiled, _ = evaluate(host=False)
    assert results.asked["output"] < 0.8 * compiled.asked["output"]
    for cell, outcome in compiled.outcomes.items():
        np.testing.assert_allclose(results[cell].score, outcome.score, 1e-4, 1e-6)


@pytest.mark.parametrize("metric", METRICS)
def test_alone_and_in_small_batches_scores_are_the_same_bits(metric: str):
    want, _ = evaluate()
    for name, maps in MAPS.items():
        given = {"explainers": {name: maps}, "metrics": {metric: METRICS[metric]}}
        got, seen = evaluate(**given, batch_size=5)
        assert np.array_equal(got[name, metric].score, want[name, metric].score, equal_nan=True)
        assert got.asked["output"] == len(seen)


def test_what_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch):
    """Without room for any, equal rows are still asked once a batch, and scores are the same."""
    want, few = evaluate()
    monkeypatch.setattr(host_memo, "REMEMBERED", 0)
    got, many = evaluate()
    assert len(many) == got.asked["output"] > len(few)
    for cell, outcome in want.outcomes.items():
        assert np.array_equal(got[cell].score, outcome.score, equal_nan=True)
