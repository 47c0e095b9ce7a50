import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from scipy.spatial import distance

from jaxeval import ops

l1, l2, linf, squared, mse = map(jax.jit, (ops.l1, ops.l2, ops.linf, ops.squared, ops.mse))
norm, relative_change = jax.jit(ops.norm), jax.jit(ops.relative_change)
few = settings(max_examples=25)
vectors = hnp.arrays(np.float32, (3, 4), elements=st.floats(-100, 100, width=16))
REFERENCES = {
    l1: distance.cityblock,
    l2: distance.euclidean,
    linf: distance.chebyshev,
    squared: distance.sqeuclidean,
    mse: lambda u, v: np.mean((u - v) ** 2),
}


@pytest.mark.parametrize("f", REFERENCES)
@given(u=vectors, v=vectors, w=vectors)
@few
def test_distances(f, u, v, w):
    np.testing.assert_allclose(
        f(u, v), REFERENCES[f](np.float64(u).ravel(), np.float64(v).ravel()), rtol=1e-5
    )
    assert f(u, v) == f(v, u)
    assert f(u, u) == 0
    if f in (l1, l2, linf):
        assert f(u, w) <= (f(u, v) + f(v, w)) * (1 + 1e-5)


@pytest.mark.parametrize("f", REFERENCES)
def test_gradients_are_finite_where_the_distance_is_zero(f):
    u = jnp.array([1.0, 0.0, -2.0])
    assert np.isfinite(jax.grad(f)(u, u)).all()


@pytest.mark.parametrize("f", REFERENCES)
def test_batches_and_integers_and_nan(rng, f):
    u, v = rng.integers(0, 255, (2, 6, 4), dtype=np.uint8)
    want = [REFERENCES[f](np.float64(a), np.float64(b)) for a, b in zip(u, v, strict=True)]
    np.testing.assert_allclose(jax.vmap(f)(u, v), want, rtol=1e-6)
    assert np.isnan(f(jnp.array([1.0, np.nan]), jnp.zeros(2)))


def test_relative_change(rng):
    u, v = rng.normal(size=(2, 3, 4)).astype(np.float32)
    u[0, :2] = 0
    filled = np.where(u == 0, 1e-3, u).astype(np.float64)
    want = np.linalg.norm((u - v) / filled)
    np.testing.assert_allclose(relative_change(u, v, 1e-3), want, rtol=1e-5)
    assert relative_change(u, u, 1e-6) == 0
    assert np.isfinite(jax.grad(relative_change)(u, u, 1e-6)).all()


@given(vectors, st.integers(-20, 20))
@few
def test_relative_change_has_no_scale(v, exponent):
    u = np.arange(1, 13, dtype=np.float32).reshape(3, 4)
    scale = np.float32(2.0**exponent)
    got = relative_change(u * scale, v * scale, 1e-6)
    np.testing.assert_allclose(got, relative_change(u, v, 1e-6), rtol=1e-6)


@given(vectors)
@few
def test_norm(v):
    np.testing.assert_allclose(norm(v), np.linalg.norm(np.float64(v)), rtol=1e-6)


@pytest.mark.parametrize("scale", [1e-37, 1e-30, 1e-20, 1e20, 1e30, 1e37])
def test_norm_neither_overflows_nor_underflows(scale):
    v = np.array([[3.0], [-4.0]], np.float32) * np.float32(scale)
    np.testing.assert_allclose(norm(v), 5 * scale, rtol=1e-6)
    np.testing.assert_allclose(jax.grad(norm)(v), [[0.6], [-0.8]], rtol=1e-6)


def test_norm_at_its_edges():
    assert norm(jnp.zeros(5)) == 0
    assert jax.grad(norm)(jnp.zeros(5)).tolist() == [0] * 5
    assert np.isnan(norm(jnp.array([1.0, np.nan])))
    assert norm(jnp.array([1.0, -np.inf])) == np.inf
    assert norm(jnp.array(-3.0)) == 3
