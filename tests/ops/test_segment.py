import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings

from jaxeval import ops

segment_sum = jax.jit(ops.segment_sum, static_argnums=2)
few = settings(max_examples=25)


@given(st.integers(1, 12), st.integers(1, 12), st.integers(1, 12), st.integers(1, 12))
@few
def test_patches_cover_the_map(height, width, p, q):
    """All of it; only the last ones of an axis may be smaller."""
    p, q = min(p, height), min(q, width)
    ids = ops.patch_ids((height, width), (p, q))
    columns = -(-width // q)
    for i in range(height):
        for j in range(width):
            assert ids[i, j] == i // p * columns + j // q
    assert ids.dtype == np.int32
    sizes = np.bincount(ids.ravel()).reshape(-1, columns)
    rows, across = ([min(s, n - k) for k in range(0, n, s)] for n, s in ((height, p), (width, q)))
    np.testing.assert_array_equal(sizes, np.outer(rows, across))


def test_patches_of_other_maps():
    assert ops.patch_ids((5,), 2).tolist() == [0, 0, 1, 1, 2]
    ids = ops.patch_ids((2, 4, 4), (2, 2, 2))
    assert ids.max() == 3
    np.testing.assert_array_equal(ids[0], ops.patch_ids((4, 4), 2))


@pytest.mark.parametrize(("shape", "patch"), [((4, 4), 5), ((4, 4), 0), ((4, 4), (2,)), ((3,), -1)])
def test_patches_that_do_not_fit_are_refused(shape, patch):
    with pytest.raises(ValueError, match="patch must fit"):
        ops.patch_ids(shape, patch)


@given(
    hnp.arrays(np.float32, (6, 7), elements=st.floats(-10, 10, width=16)),
    hnp.arrays(np.int32, (6, 7), elements=st.integers(-2, 9)),
)
@few
def test_segment_sum(v, ids):
    want = [v[ids == i].astype(np.float64).sum() for i in range(8)]
    np.testing.assert_allclose(segment_sum(v, ids, 8), want, atol=1e-5)


def test_segment_sum_batches(rng):
    v = rng.normal(size=(3, 5, 6)).astype(np.float32)
    ids = ops.patch_ids((5, 6), 2)
    got = jax.vmap(lambda w: segment_sum(w, ids, 9))(v)
    four = v[:, :4].reshape(3, 2, 2, 3, 2).sum((2, 4)).reshape(3, 6)
    want = np.concatenate([four, v[:, 4].reshape(3, 3, 2).sum(2)], 1)
    np.testing.assert_allclose(got, want, atol=1e-6)
    per_sample = jax.vmap(lambda w, i: segment_sum(w, i, 9))(v, jnp.stack([ids] * 3))
    np.testing.assert_array_equal(per_sample, got)
    gradient = jax.grad(lambda w: segment_sum(w, ids, 9)[1])(v[0])
    np.testing.assert_array_equal(gradient, ids == 1)
