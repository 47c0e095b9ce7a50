"""Maps with one feature per channel, or per time step: size 1 along an axis joins its entries."""

from __future__ import annotations

import numpy as np
import pytest

import jaxeval as je
from jaxeval.results import Results
from jaxeval.types import Outcome

N, C, T = 4, 5, 12
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, C, T)).astype(np.float32)
W = RNG.normal(size=(C * T, 3)).astype(np.float32)
Y = np.arange(N) % 3
MODEL = je.Model(lambda w, x: x.reshape(len(x), -1) @ w, W)
PADDING = np.arange(T)[None] >= np.array([T, T, 8, 5])[:, None]


def probability(x: np.ndarray, y: int) -> float:
    z = x.astype(np.float64).reshape(-1) @ W
    return float(np.exp(z[y] - np.logaddexp.reduce(z)))


def by_hand(a: np.ndarray, padding: np.ndarray) -> np.ndarray:
    """The curves of pixel flipping to 0, feature by feature."""
    curves = []
    for x, y, own, out in zip(X, Y, np.broadcast_to(a, (N, *a.shape[1:])), padding, strict=True):
        features = [i for i in np.ndindex(own.shape) if not (own.shape[1] > 1 and out[i[1]])]
        changed, curve = x.copy(), []
        for i in sorted(features, key=lambda i: -own[i]):
            at = tuple(slice(None) if n == 1 else k for k, n in zip(i, own.shape, strict=True))
            gone = np.zeros(x.shape, bool)
            gone[at] = True
            changed[gone & ~out] = 0
            curve.append(probability(changed, y))
        curves.append(curve + [np.nan] * (own.size - len(curve)))
    return np.array(curves)


@pytest.mark.parametrize("shape", [(C, 1), (1, T), (C, T)])
@pytest.mark.parametrize("padded", [False, True])
def test_all_entries_of_a_feature_are_removed_together(shape, padded):
    a = RNG.normal(size=(N, *shape)).astype(np.float32)
    padding = PADDING if padded else np.zeros_like(PADDING)
    flipping = je.PixelFlipping(n_steps=None, baseline="zero", normalise=None)
    got = je.score(flipping, MODEL, X, Y, a, padding=PADDING if padded else None)
    want = by_hand(a, padding)
    curve = np.asarray(got.curve)
    there = ~np.isnan(want)
    np.testing.assert_allclose(curve[there], want[there], rtol=1e-4)


def test_channels_of_images_and_rows_are_features():
    x = X.reshape(N, 3, 4, 5)
    for shape in ((3, 1, 1), (1, 4, 1)):
        a = RNG.normal(size=(N, *shape)).astype(np.float32)
        whole = np.broadcast_to(a, x.shape)
        one = je.Deletion(n_steps=None, baseline="zero")
        several = je.Deletion(n_steps=np.prod(shape), baseline="zero")
        got = je.score(one, MODEL, x, Y, a).score
        # Entries of a feature are neighbours in the order, as their values are equal.
        np.testing.assert_allclose(
            got, je.score(several, MODEL, x, Y, whole).score, rtol=1e-5, atol=1e-6
        )


@pytest.mark.parametrize(
    "metric",
    [je.RegionPerturbation(), je.IROF(), je.ROAD(), je.MuFidelity(), je.Selectivity()],
    ids=lambda m: type(m).__name__,
)
def test_metrics_of_positions_refuse_them(metric):
    with pytest.raises(ValueError, match="has one feature for all positions along an axis"):
        je.score(metric, MODEL, X, Y, X[:, :, :1])


def test_pointing_at_the_wrong_channel_is_a_miss():
    a, mask = np.zeros((N, C, 1), np.float32), np.zeros((N, C, 1), bool)
    a[:, 1], mask[:2, 1], mask[2:, 2] = 1, True, True
    got = je.PointingGame(tolerance=3)(MODEL, X, Y, a, mask=mask)
    np.testing.assert_array_equal(got, [1, 1, 0, 0])


def test_as_many_channels_as_time_steps_is_ambiguous():
    model = je.Model(lambda w, x: x.reshape(len(x), -1) @ w, W[: C * C])
    x = X[:, :, :C]
    with pytest.raises(ValueError, match=r"give \[N, 1, 5\] for a feature per time step, or"):
        je.score(je.Sparseness(), model, x, Y, x[:, 0])
    for a in (x[:, :1], x[:, :, :1]):
        assert je.score(je.Sparseness(), model, x, Y, a).n_undefined == 0


def test_a_map_without_time_says_how():
    with pytest.raises(ValueError, match=r"\[N, 5, 1\] is a map per channel"):
        je.score(je.Sparseness(), MODEL, X, Y, X[:, :, 0])
    with pytest.raises(ValueError, match="wanted"):
        je.score(je.Sparseness(), MODEL, X, Y, X[:, :1, :1])


def test_channels_and_time_steps_are_not_compared():
    r = Results(
        {(e, "m"): Outcome(score=np.ones(1)) for e in "ABCD"},
        {"m": "lower"},
        {"m": "complexity"},
        np.arange(1),
        np.zeros(1, int),
        settings={"features": {"A": [8, 1], "B": [1, 8], "C": [8, 1], "D": [8, 8]}},
    )
    assert r.feature_groups() == [("A", "C"), ("B",), ("D",)]
