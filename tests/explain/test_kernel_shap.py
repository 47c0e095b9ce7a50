"""The regression of KernelShap, also where the sets do not determine it."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxeval as je

F = 12
RNG = np.random.default_rng(0)
W = RNG.normal(size=(F, F)).astype(np.float32)
X = RNG.uniform(0.5, 1.5, size=(3, F)).astype(np.float32)
Y = jnp.zeros(3, int)
MODEL = je.Model(
    lambda w, x: jnp.stack([(x * (x @ w)).sum(1) + x.sum(1), 0 * x[:, 0]], 1), W, channel_axis=None
)


def reference(sets: np.ndarray, x: np.ndarray) -> np.ndarray:
    """In float64: least squares, then what the sets do not see, or else its least change."""
    x, w = x.astype(np.float64), W.astype(np.float64)

    def f(x: np.ndarray) -> Any:
        return (x * (x @ w)).sum(-1) + x.sum(-1)

    sets = sets.astype(np.float64)
    seen = np.linalg.pinv(sets, rcond=1e-9)
    phi = seen @ f(sets * x)
    ones = np.ones(F)
    towards = ones - seen @ (sets @ ones)
    if np.linalg.norm(towards) < 1e-6:
        towards = np.linalg.pinv(sets.T @ sets, rcond=1e-9) @ ones
    return phi + towards * (f(x) - phi.sum()) / towards.sum()


def random(n: int) -> np.ndarray:
    return np.random.default_rng(n).integers(0, 2, size=(n, F))


SETS = {
    "fewer than features": random(7),
    "as many": random(12),
    "a few more": random(17),
    "several times as many": random(60),
    "one": random(1),
    "the same ones again": np.repeat(random(5), 3, 0),
    "many, and two features always together": np.repeat(random(60)[:, : F // 2], 2, 1),
}


@pytest.mark.parametrize("case", SETS)
def test_the_least_of_the_least_squares_solutions(case: str) -> None:
    sets = SETS[case]
    a = np.asarray(je.explain.KernelShap(draws=sets, baseline=0.0)(MODEL, X, Y))
    want = np.stack([reference(sets, x) for x in X])
    size = np.linalg.svd(sets.astype(float), compute_uv=False)
    square = 1 if len(sets) < 2 * F else size[0] / size[size > 1e-9].min()
    condition = size[0] / size[size > 1e-9].min() * square
    np.testing.assert_allclose(a, want, atol=1e-6 * condition * np.abs(want).max(), rtol=0)


@pytest.mark.parametrize("n_samples", [6, 10, 20, 40])
def test_rounding_does_not_decide(n_samples: int) -> None:
    # Of 48 sets of 64 features, a change of the input in its last bits changed maps by a fifth.
    keys = jax.random.split(jax.random.key(1), len(X))
    explainer = je.explain.KernelShap(n_samples=n_samples, baseline=0.0)
    a, b = (np.asarray(explainer(MODEL, x, Y, keys)) for x in (X, X * np.float32(1 + 1e-6)))
    assert np.isfinite(a).all()
    assert np.abs(a - b).max() < 1e-3 * np.abs(a).max()


@pytest.mark.parametrize("n", [F - 1, 4 * F])
def test_features_that_a_sample_lacks_change_nothing(n: int) -> None:
    sets, scores = random(n).astype(np.float32), RNG.normal(size=n).astype(np.float32)
    explainer, whole = je.explain.KernelShap(n_samples=n), jnp.asarray([2.0])
    wide = np.pad(sets, ((0, 0), (0, 3)))

    def solved(sets: np.ndarray, own: Any) -> np.ndarray:
        f = sets.shape[1]
        v = np.column_stack([sets, np.ones(n), scores])
        total = np.delete(v, f, 1) if n < 2 * f else v.T @ v
        return np.asarray(explainer.solve(f, jnp.asarray(total)[None], whole, own))[0]

    a, b = solved(sets, None), solved(wide, jnp.asarray([F]))
    np.testing.assert_allclose(b[:F], a, atol=2e-4 * np.abs(a).max())
    np.testing.assert_allclose(b[F:], 0, atol=1e-5)
    np.testing.assert_allclose(a.sum(), 2, rtol=1e-4)
