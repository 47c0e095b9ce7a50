"""Guided integrated gradients: the path in NumPy, in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxeval import explain
from jaxeval.model import Model

from .helpers import assert_close, make


def guided(gradient, x, n_steps, fraction, reach):
    """The map of one sample [F], from a baseline of zeros."""
    at, total, whole = np.zeros_like(x), np.zeros_like(x), np.abs(x).sum()
    for k in range(1, n_steps + 1):
        g, before = gradient(at), at
        low, high = max(k / n_steps - reach, 0) * x, min(k / n_steps + reach, 1) * x
        at = np.where(np.abs(at) < np.abs(low), low, at)
        while (missing := np.abs(x - at).sum() - whole * (1 - k / n_steps)) > 1e-9 * whole:
            size = np.where(np.abs(at) >= np.abs(high), np.inf, np.abs(g))
            # The share of all entries; if no more than it are left, all of them move.
            limit = np.sort(size)[int(fraction * (len(x) - 1))]
            moves = (size <= limit) & np.isfinite(size)
            way = np.where(moves, high - at, 0)
            part = missing / np.abs(way).sum()
            at = np.where(moves, high, at) if part >= 1 else at + part * way
        total = total + (at - before) * g
    return total


@pytest.mark.parametrize(
    ("n_steps", "fraction", "reach"), [(30, 0.25, 0.02), (40, 0.6, 0.04), (10, 0.1, 1.0)]
)
def test_the_path(n_steps, fraction, reach):
    case = make("tabular", 5)
    with jax.enable_x64(True):
        params = jax.tree.map(lambda v: jnp.asarray(v, jnp.float64), case.model.params)
        model = Model(case.model.apply, params, channel_axis=None)
        x = case.x.astype(np.float64)
        e = explain.GuidedIG(n_steps=n_steps, fraction=fraction, max_distance=reach)
        a = np.asarray(e(model, x, case.y))
        gradient = jax.jit(jax.grad(lambda v, y: model(v[None])[0, y]))
        expected = [
            guided(lambda v, y=y: np.asarray(gradient(v, y)), v, n_steps, fraction, reach)
            for v, y in zip(x, case.y, strict=True)
        ]
    # Steps end within 1e-6 of their length.
    assert_close(a, np.stack(expected), 1e-5)
