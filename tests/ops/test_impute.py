import jax
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from jaxeval import ops
from tests.reference.maths import imputed

impute = jax.jit(ops.impute, static_argnums=2)


def holes(shape, share):
    """Removed pixels: in the middle, in a corner, here and there."""
    rng = np.random.default_rng(1)
    at = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij")).astype(float)
    middle = np.reshape([n / 2 for n in shape], (-1,) + (1,) * len(shape))
    kinds = {
        "middle": -np.linalg.norm(at - middle, axis=0),
        "corner": at.sum(0),
        "blobs": gaussian_filter(rng.normal(size=shape), 2),
        "dots": rng.normal(size=shape),
    }
    for name, a in kinds.items():
        order = np.argsort(-a.ravel())[: int(share * a.size)]
        gone = np.zeros(a.size, bool)
        gone[order] = True
        yield name, gone.reshape(shape)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.6, 0.97])
@pytest.mark.parametrize(
    ("shape", "axis"), [((3, 20, 23), 0), ((20, 23, 2), 2), ((20, 23), None), ((2, 40), 0)]
)
def test_as_a_sparse_solver(rng, shape, axis, share):
    x = rng.uniform(-3, 5, shape).astype(np.float32)
    space = tuple(n for i, n in enumerate(shape) if i != axis)
    for name, gone in holes(space, share):
        got = np.asarray(impute(x, gone, axis))
        np.testing.assert_allclose(got, imputed(x, gone, axis), atol=1e-4, err_msg=name)
        there = gone if axis is None else np.expand_dims(gone, axis)
        np.testing.assert_array_equal(np.where(there, 0, got), np.where(there, 0, x))


def test_a_photo_with_wide_holes(rng):
    """Holes as wide as the image: in float32, differences of sums would be off by 1e-3."""
    x = gaussian_filter(rng.normal(size=(80, 80)), 3).astype(np.float32)
    x = x / np.ptp(x)
    for name, gone in holes(x.shape, 0.99):
        if name in ("corner", "dots"):
            np.testing.assert_allclose(
                impute(x, gone, None), imputed(x, gone, None), atol=1e-4, err_msg=name
            )


def test_a_plane_is_imputed_exactly_where_it_is_enclosed():
    at = np.indices((16, 16)).astype(np.float32)
    x = 2 * at[0] - at[1] + 7
    gone = np.zeros((16, 16), bool)
    gone[2:14, 1:13] = True
    accuracy = 1e-5 * np.ptp(x)  # at which conjugate gradients end
    np.testing.assert_allclose(impute(np.where(gone, -50, x), gone, None), x, atol=accuracy)
    # Where nothing is left, nothing can be said.
    assert np.isnan(impute(x, np.ones((16, 16), bool), None)).all()


def test_samples_of_a_batch_do_not_see_each_other(rng):
    x = rng.normal(size=(3, 2, 9, 9)).astype(np.float32)
    gone = rng.uniform(size=(3, 9, 9)) < np.array([0.1, 0.5, 0.95])[:, None, None]
    batch = jax.jit(jax.vmap(lambda v, g: ops.impute(v, g, 0)))
    got = np.asarray(batch(x, gone))
    for i in range(3):
        np.testing.assert_allclose(got[i], impute(x[i], gone[i], 0), rtol=1e-5, atol=1e-6)
    moved = x + np.array([0, 100, 0], np.float32)[:, None, None, None]
    other = np.asarray(batch(moved, gone))
    np.testing.assert_array_equal(other[[0, 2]], got[[0, 2]])


def test_only_images_and_series():
    with pytest.raises(ValueError, match="one or two axes beside the channels, got 3"):
        ops.impute(np.zeros((2, 4, 4, 4), np.float32), np.zeros((4, 4, 4), bool), 0)
