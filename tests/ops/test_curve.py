import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given, settings
from scipy.integrate import trapezoid

from jaxeval import ops

area = jax.jit(ops.area)
few = settings(max_examples=25)
curves = hnp.arrays(np.float32, 9, elements=st.floats(-10, 10, width=16))


@given(curves)
@few
def test_area_is_the_trapezoid_rule(curve):
    want = trapezoid(curve.astype(np.float64), dx=1 / 8)
    np.testing.assert_allclose(area(curve), want, atol=1e-5)
    np.testing.assert_allclose(area(curve[::-1]), want, atol=1e-5)


def test_short_curves():
    assert area(jnp.array([0.3])) == np.float32(0.3)
    assert area(jnp.array([0.0, 1.0])) == 0.5


def test_area_of_constants_is_exact():
    assert area(jnp.full(33, 0.75)) == 0.75


def test_area_batches_and_keeps_nan():
    batch = jnp.array([[0.0, 1.0, 2.0], [1.0, np.nan, 1.0]])
    got = jax.vmap(area)(batch)
    assert got[0] == 1
    assert np.isnan(got[1])
    assert jax.grad(area)(batch[0]).tolist() == [0.25, 0.5, 0.25]


def test_information_curves():
    """Uneven information that may fall, which does not count; beyond the last point is all."""
    area, curve = ops.information_curve(
        jnp.array([0.2, 0.6, 0.4, 0.9, 1.0]), jnp.array([10.0, 16.0, 12.0, 22.0, 20.0])
    )
    x, y = [0, 0.6, 0.6, 1, 1], [0.2, 0.6, 0.4, 0.9, 1.0]
    np.testing.assert_allclose(area, trapezoid(y, x), rtol=1e-6)
    want = [0.2, 0.2 + 0.4 * 0.25 / 0.6, 0.2 + 0.4 * 0.5 / 0.6, 0.4 + 0.5 * 0.15 / 0.4, 1]
    np.testing.assert_allclose(curve, want, rtol=1e-5)
    for sizes in ([3.0, 4.0, 3.0], [3.0, 4.0, 2.0]):  # all of it is no more than nothing
        area, curve = ops.information_curve(jnp.array([0.0, 1.0, 1.0]), jnp.array(sizes))
        assert np.isnan(area)
        assert np.isnan(curve).all()
