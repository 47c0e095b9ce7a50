import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d

from jaxeval import ops

KEY = jax.random.key(0)


@pytest.fixture
def x(rng):
    return jnp.asarray(rng.normal(size=(3, 20, 6)), jnp.float32)


@pytest.mark.parametrize("axis", [0, 2, -1, None])
def test_named(x, axis):
    wide = np.float64(x)
    rest = tuple(i for i in range(3) if axis is None or i != axis % 3)
    references = {
        "black": wide.min(),
        "white": wide.max(),
        "mean": wide.mean(),
        "zero": 0.0,
        "channel_mean": wide.mean(rest, keepdims=True),
    }
    for name, want in references.items():
        got = ops.baseline(x, name, axis, None)
        assert got.dtype == x.dtype
        np.testing.assert_allclose(
            jnp.broadcast_to(got, x.shape), np.broadcast_to(want, x.shape), atol=1e-6
        )


@pytest.mark.parametrize(
    ("shape", "axis"), [((3, 20, 33), 0), ((40, 16, 3), 2), ((50,), None), ((1, 4), None)]
)
def test_blur_is_that_of_scipy(rng, shape, axis):
    x = rng.normal(size=shape).astype(np.float32)
    got = jax.jit(ops.baseline, static_argnums=(1, 2))(x, "blur", axis, None)
    along = [i for i in range(x.ndim) if i != axis]
    blur = functools.partial(gaussian_filter1d, sigma=5, truncate=3, mode="nearest")
    want = functools.reduce(lambda v, i: blur(v, axis=i), along, x.astype(np.float64))
    assert got.shape == x.shape
    np.testing.assert_allclose(got, want, atol=1e-6)


def test_given(x):
    per_channel = np.arange(3.0).reshape(3, 1, 1)
    np.testing.assert_array_equal(ops.baseline(x, per_channel, 0, None), per_channel)
    assert ops.baseline(x, 0.25, 0, None) == 0.25
    assert ops.baseline(x, jnp.float32(0.25), 0, None).dtype == x.dtype
    assert jax.jit(lambda x, b: ops.baseline(x, b, 0, None))(x, 0.5) == 0.5


def test_random(x):
    x = jnp.zeros((100, 100))
    uniform = np.asarray(ops.baseline(x, "uniform", None, KEY))
    gaussian = np.asarray(ops.baseline(x, "gaussian", None, KEY))
    assert uniform.shape == gaussian.shape == x.shape
    assert 0 <= uniform.min() < 0.01
    assert 0.99 < uniform.max() <= 1
    assert abs(uniform.mean() - 0.5) < 0.02
    assert abs(gaussian.mean()) < 0.05
    assert abs(gaussian.std() - 1) < 0.05
    np.testing.assert_array_equal(uniform, ops.baseline(x + 1, "uniform", None, KEY))
    assert (uniform != ops.baseline(x, "uniform", None, jax.random.key(1))).any()


def test_one_uniform_value():
    keys = jax.random.split(KEY, 2000)
    draw = jax.vmap(lambda key: ops.baseline(jnp.zeros((3, 4)), "uniform_value", None, key))
    values = np.asarray(draw(keys))
    assert values.shape == (2000,)
    assert 0 <= values.min() < 0.01
    assert 0.99 < values.max() <= 1
    assert abs(values.mean() - 0.5) < 0.02


def test_a_background_gives_whole_samples(rng):
    """Each as often as the others."""
    rows = rng.normal(size=(4, 2, 3)).astype(np.float32)
    b = ops.Background(rows)
    keys = jax.random.split(KEY, 2000)
    drawn = np.asarray(jax.vmap(lambda key: ops.baseline(jnp.zeros((2, 3)), b, 0, key))(keys))
    which = (drawn[:, None] == rows).all((2, 3))
    assert (which.sum(1) == 1).all()
    assert (abs(which.mean(0) - 0.25) < 0.04).all()
    with pytest.raises(ValueError, match="needs a key"):
        ops.baseline(jnp.zeros((2, 3)), b, 0)
    with pytest.raises(ValueError, match=r"background must be samples \[B, \*\(2, 4\)\]"):
        ops.baseline(jnp.zeros((2, 4)), b, 0, KEY)


@pytest.mark.parametrize("name", ops.BACKGROUND_BASELINES)
def test_a_background_that_is_not_given(x, name):
    with pytest.raises(ValueError, match="give background="):
        ops.baseline(x, name, 0, KEY)


@pytest.mark.parametrize("name", ops.RANDOM_BASELINES)
def test_random_without_a_key_is_refused(x, name):
    with pytest.raises(ValueError, match="needs a key"):
        ops.baseline(x, name, 0, None)


def test_bad_baselines_are_refused(x):
    with pytest.raises(ValueError, match=r"baseline must be one of.*did you mean 'black'"):
        ops.baseline(x, "blak", 0, None)
    for shape in [(4,), (2, 3, 20, 6), (1, 3, 20, 6)]:
        with pytest.raises(ValueError, match="must broadcast to x"):
            ops.baseline(x, np.zeros(shape), 0, None)


@pytest.mark.parametrize("name", sorted({*ops.BASELINES} - {*ops.BACKGROUND_BASELINES}))
def test_batches_and_low_precision(x, name):
    batch = jnp.stack([x, 2 * x])
    keys = jax.random.split(KEY, 2)
    alone = jax.jit(functools.partial(ops.baseline, b=name, channel_axis=0))
    got = jax.jit(jax.vmap(lambda x, key: alone(x, key=key)))(batch, keys)
    np.testing.assert_allclose(got[1], alone(2 * x, key=keys[1]), atol=1e-6)
    low = alone(x.astype(jnp.bfloat16), key=KEY)
    assert low.dtype == jnp.bfloat16
    assert jnp.broadcast_shapes(low.shape, x.shape) == x.shape
