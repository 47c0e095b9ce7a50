import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import assume, given, settings
from skimage.metrics import structural_similarity

from jaxeval import ops

ssim = jax.jit(ops.ssim, static_argnames="channel_axis")
few = settings(max_examples=25)
maps = hnp.arrays(np.float32, (9, 8), elements=st.floats(-100, 100, width=16))


def reference(u, v, window=7, **kwargs):
    u, v = np.float64(u), np.float64(v)
    span = max(u.max(), v.max()) - min(u.min(), v.min())
    return structural_similarity(u, v, win_size=window, data_range=span, **kwargs)


def sparse(rng, shape):
    """As attribution maps are: mostly near zero, with a few large entries."""
    return (rng.normal(size=shape) ** 5).astype(np.float32)


@pytest.mark.parametrize("shape", [(7, 7), (28, 28), (64, 48)])
@pytest.mark.parametrize("offset", [0.0, 100.0])
def test_against_skimage(rng, shape, offset):
    for draw in (lambda: rng.normal(size=shape).astype(np.float32), lambda: sparse(rng, shape)):
        u, v = draw() + np.float32(offset), draw() + np.float32(offset)
        for w in (v, u + v / 5, -u):
            np.testing.assert_allclose(ssim(u, w), reference(u, w), atol=1e-5)


def test_maps_of_flat_parts(rng):
    u = np.kron(rng.normal(size=(4, 4)), np.ones((8, 8))).astype(np.float32)
    v = np.kron(rng.normal(size=(4, 4)), np.ones((8, 8))).astype(np.float32)
    np.testing.assert_allclose(ssim(u, v), reference(u, v), atol=1e-5)


@given(maps, maps)
@few
def test_any_maps(u, v):
    assume(max(u.max(), v.max()) > min(u.min(), v.min()))
    got = ssim(u, v)
    np.testing.assert_allclose(got, reference(u, v), atol=1e-5)
    np.testing.assert_allclose(got, ssim(v, u), atol=1e-6)
    np.testing.assert_allclose(got, ssim(u[::-1], v[::-1]), atol=1e-6)
    np.testing.assert_allclose(got, ssim(u * 2.0**-90, v * 2.0**-90), atol=1e-6)


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
def test_channels_are_averaged(rng, axis):
    u, v = rng.normal(size=(2, 9, 10, 11)).astype(np.float32)
    got = ssim(u, v, channel_axis=axis)
    np.testing.assert_allclose(got, reference(u, v, channel_axis=axis), atol=1e-5)


def test_volumes_and_signals(rng):
    u, v = rng.normal(size=(2, 9, 10, 11)).astype(np.float32)
    np.testing.assert_allclose(ssim(u, v, channel_axis=None), reference(u, v), atol=1e-5)
    u, v = rng.normal(size=(2, 40)).astype(np.float32)
    np.testing.assert_allclose(ssim(u, v), reference(u, v), atol=1e-5)
    np.testing.assert_allclose(ssim(u[None], v[None]), reference(u, v), atol=1e-5)


@pytest.mark.parametrize(("shape", "window"), [((6, 6), 5), ((5, 20), 5), ((3, 4), 3)])
def test_small_maps_have_smaller_windows(rng, shape, window):
    u, v = rng.normal(size=(2, *shape)).astype(np.float32)
    np.testing.assert_allclose(ssim(u, v), reference(u, v, window), atol=1e-5)


def test_identical_maps():
    u = jnp.arange(64.0).reshape(8, 8)
    assert ssim(u, u) == 1


def test_undefined():
    ones = jnp.ones((8, 8))
    assert np.isnan(ssim(ones, ones))
    assert np.isnan(ssim(jnp.eye(2), jnp.ones((2, 2))))
    assert np.isnan(ssim(ones.at[0, 0].set(np.nan), ones))
    np.testing.assert_allclose(ssim(ones, 0 * ones), reference(ones, 0 * ones), atol=1e-6)


def test_batches_and_gradients(rng):
    u, v = rng.normal(size=(2, 3, 8, 9)).astype(np.float32)
    got = jax.vmap(ssim)(u, v)
    np.testing.assert_allclose(got, [reference(a, b) for a, b in zip(u, v, strict=True)], atol=1e-5)
    assert np.isfinite(jax.grad(ssim)(u[0], v[0])).all()
    assert np.isfinite(jax.grad(ssim)(u[0], u[0])).all()
