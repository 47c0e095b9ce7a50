import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from scipy.stats import rankdata

from jaxeval import ops

few = settings(max_examples=25)
# Few distinct values: ties are the normal case.
tied = hnp.arrays(
    np.float32, (4, 5), elements=st.sampled_from([-np.inf, -2.5, -1e-40, -0.0, 0.0, 1e-40, 1, 3e38])
)
floats = hnp.arrays(np.float32, 33, elements=st.floats(width=32, allow_nan=False))
ascending, descending = jax.jit(ops.ascending), jax.jit(ops.descending)
places, average_ranks = jax.jit(ops.places), jax.jit(ops.average_ranks)
smallest = jax.jit(ops.smallest)


def orders(v):
    v = np.ravel(v)
    return np.argsort(v, kind="stable"), np.argsort(-v, kind="stable")


@given(tied)
@few
def test_orders_with_ties(v):
    up, down = orders(v)
    assert ascending(v).tolist() == up.tolist()
    assert descending(v).tolist() == down.tolist()


@given(floats)
@few
def test_orders_of_any_floats(v):
    up, down = orders(v)
    assert ascending(v).tolist() == up.tolist()
    assert descending(v).tolist() == down.tolist()


def test_zeros_of_both_signs_are_ties():
    v = jnp.array([0.0, -0.0, 1.0, 0.0, -0.0])
    assert ascending(v).tolist() == [0, 1, 3, 4, 2]
    assert descending(v).tolist() == [2, 0, 1, 3, 4]
    assert average_ranks(v).tolist() == [2.5, 2.5, 5, 2.5, 2.5]


@pytest.mark.parametrize("dtype", [np.int32, np.uint8, np.uint32, np.float16])
def test_orders_of_other_types(rng, dtype):
    info = np.finfo(dtype) if dtype is np.float16 else np.iinfo(dtype)
    v = np.append(rng.integers(0, 9, 50), [info.min, info.max]).astype(dtype)
    up, down = orders(v.astype(np.float64))
    assert ascending(v).tolist() == up.tolist()
    assert descending(v).tolist() == down.tolist()
    assert average_ranks(v).tolist() == rankdata(v).tolist()


@pytest.mark.parametrize("size", [1, 2, 65, 70_000])
def test_orders_of_any_size(rng, size):
    v = np.round(rng.normal(size=size) * size / 4).astype(np.float32)
    up, down = orders(v)
    np.testing.assert_array_equal(ascending(v), up)
    np.testing.assert_array_equal(descending(v), down)
    np.testing.assert_array_equal(average_ranks(v), rankdata(v))


@pytest.mark.parametrize("seed", range(3))
def test_places_invert_an_order(seed):
    order = np.random.default_rng(seed).permutation(50)
    at = places(order)
    assert at.dtype == jnp.int32
    assert at[order].tolist() == list(range(50))
    assert places(at).tolist() == order.tolist()


@given(tied)
@few
def test_average_ranks(v):
    assert average_ranks(v).tolist() == rankdata(v).tolist()


@given(floats, st.permutations(range(33)))
@few
def test_average_ranks_move_with_their_entries(v, permutation):
    permutation = np.array(permutation)
    assert average_ranks(v[permutation]).tolist() == average_ranks(v)[permutation].tolist()


def test_average_ranks_of_nan():
    assert np.isnan(average_ranks(jnp.array([1.0, np.nan, 2.0]))).all()


def test_rank_functions_batch_and_have_no_gradient(rng):
    v = np.round(rng.normal(size=(6, 20)), 1).astype(np.float32)
    for f in (ascending, descending, average_ranks):
        np.testing.assert_array_equal(jax.vmap(f)(v), np.stack([f(row) for row in v]))
    assert not jax.grad(lambda w: average_ranks(w).sum())(v[0]).any()


def marked(keys, n):
    want = np.zeros(len(keys), bool)
    want[np.argsort(keys, kind="stable")[:n]] = True
    return want


keys_of = hnp.arrays(np.uint32, 33, elements=st.integers(0, 2**32 - 1))
tied_keys = hnp.arrays(
    np.uint32, 33, elements=st.sampled_from([0, 1, 7, 2**31, 2**32 - 2, 2**32 - 1])
)


@given(st.one_of(keys_of, tied_keys))
@few
def test_smallest_for_every_n(keys):
    got = jax.vmap(smallest, (None, 0))(jnp.asarray(keys), jnp.arange(34))
    np.testing.assert_array_equal(got, np.stack([marked(keys, n) for n in range(34)]))


@given(keys_of, st.integers(0, 33), st.permutations(range(33)))
@few
def test_smallest_moves_with_its_keys(keys, n, permutation):
    keys = np.unique(np.concatenate([keys, np.arange(33, dtype=np.uint32)]))[:33]
    permutation = np.array(permutation)
    got = smallest(jnp.asarray(keys[permutation]), n)
    np.testing.assert_array_equal(got, smallest(jnp.asarray(keys), n)[permutation])


@pytest.mark.parametrize(
    "keys",
    [
        np.zeros(300),
        np.full(300, 2**32 - 1),
        np.arange(300),
        2**32 - 1 - np.arange(300),
        2.0 ** (np.arange(300) % 32),
        np.where(np.arange(300) == 150, 0, 2**32 - 1),
    ],
    ids=["zeros", "ones", "low", "high", "powers", "outlier"],
)
def test_smallest_of_keys_that_are_not_random(keys):
    keys = keys.astype(np.uint32)
    for n in (0, 1, 2, 149, 150, 151, 299, 300):
        np.testing.assert_array_equal(smallest(jnp.asarray(keys), n), marked(keys, n))


def test_smallest_batched():
    keys = jax.random.bits(jax.random.key(0), (64, 784), jnp.uint32)
    keys = keys.at[:4].set(keys[:4] % 5)
    sizes = np.linspace(0, 784, 64).astype(np.int32)
    got = jax.jit(jax.vmap(ops.smallest))(keys, sizes)
    np.testing.assert_array_equal(got.sum(1), sizes)
    for row, key, n in zip(np.asarray(got), np.asarray(keys), sizes, strict=True):
        np.testing.assert_array_equal(row, marked(key, n))
    got = jax.jit(jax.vmap(lambda k: ops.smallest(k, 224)))(keys)
    np.testing.assert_array_equal(got, np.stack([marked(k, 224) for k in np.asarray(keys)]))


def test_smallest_cuts_n_and_lets_gradients_pass():
    keys = jnp.array([3, 1, 2], jnp.uint32)
    assert not ops.smallest(keys, -1).any()
    assert ops.smallest(keys, 4).all()
    gradient = jax.grad(lambda x: jnp.where(ops.smallest(keys, 2), 0, x).sum())(jnp.ones(3))
    assert gradient.tolist() == [1, 0, 0]


def test_random_subsets_are_uniform():
    keys = jax.random.bits(jax.random.key(1), (4000, 8), jnp.uint32)
    share = jax.jit(jax.vmap(lambda k: ops.smallest(k, 3)))(keys).mean(0)
    np.testing.assert_allclose(share, 3 / 8, atol=0.035)


@pytest.mark.parametrize("dtype", [np.float32, np.int32, np.float16])
def test_sort_is_numpys(dtype):
    v = (10 * np.random.default_rng(0).normal(size=(5, 8))).astype(dtype)
    v[0, 0] = v[1, 1] = 0
    np.testing.assert_array_equal(ops.sort(v), np.sort(v.ravel()))


def test_sort_puts_infinities_at_the_ends_and_nan_last():
    got = np.asarray(ops.sort(jnp.array([np.nan, 1.0, -np.inf, np.inf])))
    np.testing.assert_array_equal(got, [-np.inf, 1, np.inf, np.nan])


def test_sort_can_be_differentiated():
    slope = jax.grad(lambda v: (ops.sort(v) * jnp.arange(3.0)).sum())(jnp.array([2.0, 3.0, 1.0]))
    np.testing.assert_array_equal(slope, [1, 2, 0])


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float16])
def test_an_order_statistic_is_the_sorted_entry(dtype):
    v = np.abs(np.random.default_rng(0).normal(size=101)).astype(dtype)
    v[::4], v[1:30:3] = np.inf, 0
    for place in (0, 9, 10, 60, 74, 75, 100):
        assert ops.order_statistic(jnp.asarray(v), place) == np.sort(v)[place]


def test_an_order_statistic_of_many_equal_entries():
    v = np.zeros(40_000, np.float32)
    v[39_990:] = np.arange(10)
    for place in (0, 20_000, 39_990, 39_991, 39_999):
        assert ops.order_statistic(jnp.asarray(v), place) == np.sort(v)[place]
