"""Tables whose columns have one range, for which a row's own values may stand in any column."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import jaxeval as je
from jaxeval.engine.baselines import one_range

RNG = np.random.default_rng(0)
STANDARD = RNG.normal(size=(50, 6))
SCALED = RNG.uniform(size=(50, 6)) ** 3
ONE_HOT = (RNG.uniform(size=(50, 1)) < 0.3).astype(float)
LENGTH, WEIGHT = RNG.uniform(150, 190, (50, 1)), RNG.uniform(50, 120, (50, 1))

ONE = {
    "standardised": STANDARD,
    "fewer rows": STANDARD[:20].astype(np.float32),
    "scaled": SCALED,
    "one-hot": np.hstack([SCALED, ONE_HOT]),
    "a constant": np.hstack([SCALED, np.full((50, 1), 0.5)]),
}
OTHERS = {
    "larger": np.hstack([STANDARD, 100 * STANDARD[:, :1]]),
    "smaller": np.hstack([STANDARD, 0.01 * STANDARD[:, :1]]),
    "shifted": np.hstack([STANDARD, STANDARD[:, :1] + 9]),
    "a year": np.hstack([STANDARD, np.full((50, 1), 2026.0)]),
    "lengths and weights": np.hstack([LENGTH, WEIGHT]),
    "constant": np.ones((50, 3)),
    "one row": STANDARD[:1],
}


@pytest.mark.parametrize("kind", ONE)
def test_one_range(kind):
    assert one_range(ONE[kind])


@pytest.mark.parametrize("kind", OTHERS)
def test_other_ranges(kind):
    assert not one_range(OTHERS[kind])


def test_the_warning_is_about_other_ranges():
    model = je.Model(lambda w, x: x @ w, np.eye(6, 3, dtype=np.float32), channel_axis=None)
    x, y = STANDARD[:20].astype(np.float32), np.zeros(20, int)
    metric = je.PixelFlipping(n_steps=2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        je.score(metric, model, x, y, x)
    with pytest.warns(UserWarning, match="mix the units of its columns"):
        je.score(metric, model, x * np.float32([1, 1, 1, 1, 1, 100]), y, x)
