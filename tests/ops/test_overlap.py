import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import jax
import numpy as np
import pytest
from hypothesis import given, settings

from jaxeval import ops

few = settings(max_examples=25)
vectors = hnp.arrays(np.float32, (3, 4), elements=st.floats(-100, 100, width=16))
intersection, overlap = jax.jit(ops.histogram_intersection), jax.jit(ops.top_k_overlap)


@given(u=vectors, v=vectors)
@few
def test_histogram_intersection(u, v):
    got = intersection(u, v)
    if not u.any() or not v.any():
        assert np.isnan(got)
        return
    p, q = (np.abs(np.float64(w)) / np.abs(np.float64(w)).sum() for w in (u, v))
    np.testing.assert_allclose(got, np.minimum(p, q).sum(), atol=1e-5)
    np.testing.assert_allclose(got, 1 - np.abs(p - q).sum() / 2, atol=1e-5)
    assert intersection(v, u) == got
    np.testing.assert_allclose(intersection(u, -2 * u), 1, rtol=1e-5)


@given(u=vectors, v=vectors, k=st.integers(1, 12))
@few
def test_top_k_overlap(u, v, k):
    chosen = [set(np.argsort(-w.ravel(), kind="stable")[:k].tolist()) for w in (u, v)]
    np.testing.assert_allclose(overlap(u, v, k), len(chosen[0] & chosen[1]) / k, rtol=1e-6)
    assert overlap(u, u, k) == 1


@pytest.mark.parametrize("scale", [1e-35, 1e37, 8e37])
def test_magnitude_does_not_matter(rng, scale):
    u, v = rng.normal(size=(2, 50)).astype(np.float32)
    for f in (intersection, lambda u, v: overlap(u, v, 7)):
        np.testing.assert_allclose(f(u * np.float32(scale), v), f(u, v), rtol=1e-5)


def test_batches_and_nan(rng):
    u, v = rng.normal(size=(2, 6, 4, 5)).astype(np.float32)
    for f in (intersection, lambda u, v: overlap(u, v, 7)):
        got = jax.vmap(f)(u, v)
        np.testing.assert_allclose(got, [f(*pair) for pair in zip(u, v, strict=True)], rtol=1e-6)
        u[0, 0, 0] = np.nan
        assert np.isnan(f(u[0], v[0]))
        u[0, 0, 0] = 1
    marks = jax.vmap(lambda w: ops.top(w, 7))(u)
    assert marks.shape == u.shape
    assert (marks.sum((1, 2)) == 7).all()
