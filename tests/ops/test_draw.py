"""Random numbers of queries: their distributions, and that they are the key's own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.random import threefry_2x32
from scipy import special, stats

from jaxeval.ops import draw

KEYS = {impl: jax.random.key(3, impl=impl) for impl in ("threefry2x32", "rbg")}


@pytest.mark.parametrize("impl", KEYS)
@pytest.mark.parametrize(
    ("fn", "dist"), [(draw.uniform, stats.uniform(-1, 2)), (draw.normal, stats.norm())]
)
def test_distributions(impl, fn, dist):
    drawn = np.asarray(fn(KEYS[impl], (3, 33_333)))
    assert np.isfinite(drawn).all()
    assert drawn.dtype == np.float32
    assert stats.kstest(drawn.ravel(), dist.cdf).pvalue > 1e-3
    assert abs(np.corrcoef(drawn)[0, 1]) < 0.02


def test_threefry_is_jaxs():
    key = jax.random.key_data(KEYS["threefry2x32"])
    first, second = jax.random.bits(jax.random.key(1), (2, 5))
    given = jnp.concatenate([first, second])  # halves are the counters' words
    wanted = threefry_2x32(key, given)
    np.testing.assert_array_equal(jnp.concatenate(draw.threefry(key, first, second)), wanted)


@pytest.mark.parametrize("impl", KEYS)
@pytest.mark.parametrize("data", [0, 1, np.int32(-1), 2**31 - 1, np.uint32(2**32 - 1)])
def test_fold_in_is_jaxs(impl, data):
    got, wanted = draw.fold_in(KEYS[impl], data), jax.random.fold_in(KEYS[impl], data)
    assert got.dtype == wanted.dtype
    np.testing.assert_array_equal(jax.random.key_data(got), jax.random.key_data(wanted))


@pytest.mark.parametrize("n", [1, 2, 7, 64])
def test_words_are_as_random_as_threefrys(n):
    """Every bit is set in half of the words, and no two words of a key or two keys agree."""
    words = np.asarray(
        jax.vmap(lambda k: draw.bits(k, (n,)))(jax.random.split(KEYS["threefry2x32"], 4096))
    )
    ones = np.unpackbits(words.view(np.uint8), axis=1).mean(0)
    assert abs(ones - 0.5).max() < 5 * 0.5 / 64
    assert len(np.unique(words)) > words.size - 20


def test_uniform_is_open_and_symmetric(monkeypatch):
    words = jnp.array([0, 2**32 - 1, 2**31 - 1, 2**31], jnp.uint32)
    monkeypatch.setattr(draw, "bits", lambda key, shape: words)
    low, high, below, above = np.asarray(draw.uniform(None, (4,)), np.float64)
    assert -1 < low == -high
    assert below == -above < 0


def test_same_under_jit_and_vmap():
    keys = jax.random.split(KEYS["threefry2x32"], 5)
    alone = jnp.stack([draw.bits(k, (3, 4)) for k in keys])
    np.testing.assert_array_equal(jax.jit(jax.vmap(lambda k: draw.bits(k, (3, 4))))(keys), alone)


@pytest.mark.parametrize("fn", [draw.bits, draw.uniform, draw.normal])
def test_the_first_words_do_not_depend_on_how_many_there_are(fn):
    """So that a padded sample has the draws of the sample without its padding."""
    key = KEYS["threefry2x32"]
    np.testing.assert_array_equal(fn(key, (5, 3)), fn(key, (7, 3))[:5])


def test_quantile_on_the_whole_grid_of_uniform_numbers():
    u = np.arange(1 - 2**23, 2**23, 2).astype(np.float32) * np.float32(2.0**-23)
    got = np.asarray(jax.jit(draw.quantile)(u), np.float64)
    wanted = np.sqrt(2) * special.erfinv(u.astype(np.float64))
    assert np.abs(got / wanted - 1).max() < 5e-7
