import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from scipy.stats import entropy

from jaxeval import ops

few = settings(max_examples=25)
histogram = jax.jit(ops.histogram, static_argnums=2)


@given(v=hnp.arrays(np.float32, 50, elements=st.integers(-64, 64).map(float)))
@pytest.mark.parametrize("n", [1, 2, 16, 100])
@few
def test_histogram(v, n):
    """Whole numbers: where they lie on an edge, both sides know it exactly for powers of two."""
    got = histogram(v, n, 120)
    assert got.sum() == 50
    assert (got[n:] == 0).all()
    if np.ptp(v) == 0:
        assert got[0] == 50  # numpy makes up a range around it
        return
    edges = v.min() + np.ptp(v) * np.arange(n + 1) / n
    clear = np.abs(v[:, None] - edges).min(1) > 1e-4  # apart from the edges, or at an end
    clear |= (v == v.min()) | (v == v.max())
    if clear.all():
        np.testing.assert_array_equal(got[:n], np.histogram(v, n)[0])


def test_entropy(rng):
    counts = rng.integers(0, 4, 30)
    np.testing.assert_allclose(ops.entropy(counts), entropy(counts), rtol=1e-6)
    assert np.isnan(ops.entropy(jnp.zeros(3)))


NUMPY = {"freedman_diaconis": "fd"}


@pytest.mark.parametrize("rule", ops.BIN_RULES)
@pytest.mark.parametrize("size", [30, 784, 5000])
def test_rules_are_numpys(rng, rule, size):
    for v in (rng.normal(size=size), rng.exponential(size=size) ** 2):
        v = v.astype(np.float32)
        want = len(np.histogram_bin_edges(v, NUMPY.get(rule, rule))) - 1
        assert ops.n_bins(v, rule) == np.clip(want, ops.MIN_BINS, ops.MAX_BINS)


def test_a_map_of_mostly_zeros_gets_the_most_bins():
    v = np.zeros(100, np.float32)
    v[:3] = 1
    assert ops.n_bins(v, "freedman_diaconis") == ops.MAX_BINS
    assert ops.n_bins(np.zeros(9), "scott") == ops.MAX_BINS
    with pytest.raises(ValueError, match="did you mean 'scott'"):
        ops.n_bins(v, "scot")
