import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.spatial.distance
import scipy.stats
from hypothesis import assume, given, settings

from jaxeval import ops

few = settings(max_examples=25)
vectors = hnp.arrays(np.float32, (3, 7), elements=st.floats(-100, 100, width=16))
pearson, spearman, cosine = map(jax.jit, (ops.pearson, ops.spearman, ops.cosine))
kendall = jax.jit(ops.kendall)
ALL = [pearson, spearman, cosine, kendall]
STATISTICS = {
    pearson: scipy.stats.pearsonr,
    spearman: scipy.stats.spearmanr,
    kendall: scipy.stats.kendalltau,
}


def reference(f, u, v):
    u, v = np.float64(u).ravel(), np.float64(v).ravel()
    if f is cosine:
        return 1 - scipy.spatial.distance.cosine(u, v)
    return STATISTICS[f](u, v).statistic


def undefined(f, u):
    return not u.any() if f is cosine else u.min() == u.max()


@pytest.mark.parametrize("f", ALL)
@given(u=vectors, v=vectors)
@few
def test_against_scipy(f, u, v):
    got = f(u, v)
    if undefined(f, u) or undefined(f, v):
        assert np.isnan(got)
    else:
        np.testing.assert_allclose(got, reference(f, u, v), atol=1e-5)


@pytest.mark.parametrize("f", ALL)
@pytest.mark.parametrize("scale", [1e-35, 1e-30, 1e30, 1e37])
def test_magnitude_does_not_matter(rng, f, scale):
    u, v = rng.normal(size=(2, 50)).astype(np.float32)
    want = reference(f, u, v)
    np.testing.assert_allclose(f(u * np.float32(scale), v), want, atol=1e-5)
    np.testing.assert_allclose(f(u * np.float32(scale), v * np.float32(scale)), want, atol=1e-5)


@pytest.mark.parametrize("f", ALL)
@given(u=vectors, v=vectors, permutation=st.permutations(range(21)))
@few
def test_symmetric_odd_and_blind_to_order(f, u, v, permutation):
    assume(not undefined(f, u) and not undefined(f, v))
    np.testing.assert_allclose(f(u, v), f(v, u), atol=1e-6)
    np.testing.assert_allclose(f(-u, v), -f(u, v), atol=1e-6)
    np.testing.assert_allclose(f(u, u), 1, atol=1e-6)
    shuffle = lambda w: w.ravel()[np.array(permutation)].reshape(w.shape)  # noqa: E731
    np.testing.assert_allclose(f(shuffle(u), shuffle(v)), f(u, v), atol=1e-5)


@given(u=vectors, v=vectors)
@few
def test_spearman_sees_only_the_order(u, v):
    assume(not undefined(spearman, u) and not undefined(spearman, v))
    assert spearman(u, v) == spearman(np.float32(u * 2.0) ** 3, v)


@given(u=vectors, v=vectors)
@few
def test_pearson_ignores_offset_and_scale(u, v):
    assume(np.ptp(u) > 1 and np.ptp(v) > 1)
    np.testing.assert_allclose(pearson(4 * u - 64, v), pearson(u, v), atol=1e-4)


def test_pearson_of_a_little_on_a_large_offset():
    u = np.float32(1000) + np.spacing(np.float32(1000)) * np.arange(33, dtype=np.float32) % 7
    v = np.arange(33, dtype=np.float32) % 5
    np.testing.assert_allclose(pearson(u, v), reference(pearson, u, v), atol=1e-5)


@pytest.mark.parametrize("f", [pearson, spearman])
@pytest.mark.parametrize("size", [1, 2, 784])
def test_constants_are_undefined(f, size):
    v = np.arange(size, dtype=np.float32)
    for constant in (0.0, 0.1, -1 / 3, 1e-30, 1e30):
        u = np.full(size, constant, np.float32)
        assert np.isnan(f(u, v))
        assert np.isnan(f(v, u))
        assert np.isnan(f(u, u))


def test_cosine_of_zeros_is_undefined_and_of_constants_is_not():
    assert np.isnan(cosine(jnp.zeros(4), jnp.ones(4)))
    assert np.isnan(cosine(jnp.ones(4), jnp.zeros(4)))
    np.testing.assert_allclose(cosine(jnp.full(4, 0.1), jnp.ones(4)), 1, atol=1e-6)


@pytest.mark.parametrize("f", ALL)
def test_nan_in_nan_out(f):
    u, v = jnp.array([1.0, np.nan, 3.0]), jnp.array([1.0, 2.0, 3.0])
    assert np.isnan(f(u, v))
    assert np.isnan(f(v, u))
    assert np.isnan(f(jnp.full(3, np.nan), v))


@pytest.mark.parametrize("f", ALL)
def test_batches(rng, f):
    u, v = np.round(rng.normal(size=(2, 6, 4, 5)), 1).astype(np.float32)
    got = jax.vmap(f)(u, v)
    np.testing.assert_allclose(
        got, [reference(f, *pair) for pair in zip(u, v, strict=True)], atol=1e-5
    )


@pytest.mark.parametrize("f", [pearson, cosine])
def test_gradient_is_right_and_finite(rng, f):
    u, v = rng.normal(size=(2, 9)).astype(np.float32)
    got = jax.grad(f)(u, v)
    step = 1e-4
    want = [
        (reference(f, u + step * e, v) - reference(f, u - step * e, v)) / (2 * step)
        for e in np.eye(9)
    ]
    np.testing.assert_allclose(got, want, atol=1e-4)
    assert np.isfinite(jax.grad(f)(u, u)).all()
    assert np.isfinite(jax.grad(f)(u * 1e-30, v)).all()


@pytest.mark.parametrize("zeros", [0.0, 0.9, 0.999])
def test_kendall_of_large_maps_with_many_ties(rng, zeros):
    """Billions of pairs, of which few are not tied: counted, not rounded."""
    size = 100_000
    u, v = rng.normal(size=(2, size)).round(2).astype(np.float32)
    v = np.where(rng.random(size) < 0.3, u, v)
    u[rng.random(size) < zeros] = 0
    v[rng.random(size) < zeros] = 0
    np.testing.assert_allclose(kendall(u, v), reference(kendall, u, v), atol=2e-6)


def test_kendall_refuses_what_it_cannot_count():
    with pytest.raises(ValueError, match="fewer than 2\\^19 entries, got 524288"):
        ops.kendall(jnp.zeros(1 << 19), jnp.zeros(1 << 19))
