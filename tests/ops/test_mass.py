import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxeval import ops


def test_share_of_the_positive_part(rng):
    a = rng.normal(size=(6, 4, 5)).astype(np.float32)
    mask = rng.random(a.shape) < 0.4
    got = jax.jit(jax.vmap(ops.mass_inside))(a, mask)
    positive = np.clip(np.float64(a), 0, None)
    want = (positive * mask).sum((1, 2)) / positive.sum((1, 2))
    np.testing.assert_allclose(got, want, rtol=1e-6)
    everywhere, nowhere = np.ones_like(mask), np.zeros_like(mask)
    np.testing.assert_allclose(jax.vmap(ops.mass_inside)(a, everywhere), 1, rtol=1e-6)
    assert np.isnan(jax.vmap(ops.mass_inside)(a, nowhere)).all()


@pytest.mark.parametrize("a", [[0.0, 0.0], [-1.0, 0.0]])
def test_nothing_positive(a):
    assert np.isnan(ops.mass_inside(jnp.array(a), jnp.array([True, False])))
    assert np.isfinite(
        jax.grad(ops.mass_inside)(jnp.array([1.0, 0.0]), np.array([True, False]))
    ).all()
