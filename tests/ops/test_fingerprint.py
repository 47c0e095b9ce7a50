import jax
import jax.numpy as jnp
import numpy as np

from jaxeval import ops

fingerprints = jax.jit(jax.vmap(ops.fingerprint))


def test_equal_arrays_share_it_and_others_do_not(rng):
    """All 3^9 arrays of nine signs, and permutations, differ in every word, but for chance."""
    signs = np.stack(np.meshgrid(*[[-1, 0, 1]] * 9), -1).reshape(-1, 9).astype(np.int32)
    orders = np.stack([rng.permutation(500) for _ in range(2000)]).astype(np.int32)
    for codes in (signs, orders):
        got = np.asarray(fingerprints(codes))
        assert got.shape == (len(codes), 4)
        assert got.dtype == np.uint32
        assert len(np.unique(got, axis=0)) == len(codes)
        for word in got.T:  # a few pairs of 2e8 may share a word of 32 bits
            assert len(np.unique(word)) > len(codes) - 5
        np.testing.assert_array_equal(fingerprints(codes[::-1]), got[::-1])


def test_shape_and_type_do_not_matter():
    codes = jnp.array([[1, 2], [3, 4]])
    got = [ops.fingerprint(v) for v in (codes, codes.ravel(), codes.astype(jnp.uint8))]
    np.testing.assert_array_equal(got[0], got[1])
    np.testing.assert_array_equal(got[0], got[2])
    assert not np.array_equal(got[0], ops.fingerprint(-codes))
