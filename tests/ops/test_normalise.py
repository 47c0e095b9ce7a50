import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings

from jaxeval import ops

prepare = jax.jit(ops.prepare, static_argnums=(1, 2))
unit_range = jax.jit(ops.unit_range)
few = settings(max_examples=25)
maps = hnp.arrays(np.float32, (3, 4), elements=st.floats(-100, 100, width=16))


def reference(a, normalise):
    a = np.asarray(a, np.float64)
    if not a.any() or normalise is None:
        return a
    if normalise == "max":
        return a / abs(a).max()
    if normalise == "second_moment":
        return a / np.sqrt((a**2).mean())
    out = a.copy()
    out[a > 0] /= a.max()
    out[a < 0] /= abs(a.min())
    return out


@pytest.mark.parametrize("normalise", [None, *ops.NORMALISE])
@given(a=maps)
@few
def test_prepare(normalise, a):
    want = reference(a, normalise)
    np.testing.assert_allclose(prepare(a, normalise, False), want, rtol=1e-5, atol=1e-30)
    np.testing.assert_allclose(prepare(a, normalise, True), abs(want), rtol=1e-5, atol=1e-30)


@pytest.mark.parametrize("normalise", ops.NORMALISE)
@given(a=maps, exponent=st.integers(-30, 30))
@few
def test_normalised_maps_have_no_scale(normalise, a, exponent):
    got = prepare(a * np.float32(2.0**exponent), normalise, False)
    np.testing.assert_allclose(got, prepare(a, normalise, False), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("normalise", ops.NORMALISE)
def test_the_largest_maps_are_normalised(normalise):
    a = jnp.array([3.0, -1.0, 2.0])
    np.testing.assert_array_equal(
        prepare(2.0**126 * a, normalise, False), prepare(a, normalise, False)
    )


@pytest.mark.parametrize("normalise", [None, *ops.NORMALISE])
def test_zero_map_stays_zero_with_finite_gradients(normalise):
    zero = jnp.zeros((2, 3))
    assert not ops.prepare(zero, normalise, False).any()
    assert np.isfinite(jax.grad(lambda a: prepare(a, normalise, True).sum())(zero)).all()


def test_one_signed_maps():
    assert ops.prepare(jnp.array([1.0, 2.0]), "negative", False).tolist() == [0.5, 1]
    assert ops.prepare(jnp.array([-1.0, -2.0]), "negative", False).tolist() == [-0.5, -1]


def test_unknown_name_is_refused():
    with pytest.raises(ValueError, match=r"normalise must be one of.*did you mean 'max'"):
        ops.prepare(jnp.ones(3), "maxx", False)


@given(a=maps)
@few
def test_unit_range(a):
    got = np.asarray(unit_range(a))
    if a.min() == a.max():
        assert not got.any()
    else:
        wide = a.astype(np.float64)
        want = (wide - wide.min()) / (wide.max() - wide.min())
        np.testing.assert_allclose(got, want, atol=1e-6)
        assert got.min() == 0
        assert 0.9999999 < got.max() <= 1


def test_samples_are_independent(rng):
    batch = rng.normal(size=(5, 4, 4)).astype(np.float32)
    for name in ops.NORMALISE:
        together = jax.jit(jax.vmap(lambda a, name=name: prepare(a, name, False)))(batch)
        alone = jnp.stack([prepare(a, name, False) for a in batch])
        np.testing.assert_allclose(together, alone, rtol=1e-6, atol=1e-6)
