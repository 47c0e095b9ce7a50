import zlib

import jax
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from scipy.stats import spearmanr

from jaxeval import ops
from tests.reference import maths

code_length = jax.jit(ops.code_length, static_argnums=3)


@pytest.mark.parametrize(
    ("shape", "axis"),
    [((3, 9, 11), 0), ((9, 11, 2), 2), ((9, 11), None), ((2, 30), 0), ((30,), None)],
)
def test_as_one_pixel_at_a_time(rng, shape, axis):
    # Not so near a half that rounding decides which level a value has.
    x = (rng.integers(0, 256, shape) + rng.uniform(-0.4, 0.4, shape)).astype(np.float32) / 8
    got = code_length(x, 0.0, 255 / 8, axis)
    np.testing.assert_allclose(got, maths.code_length(x, np.array([0, 255 / 8]), axis), rtol=1e-6)


def test_known_lengths(rng):
    assert code_length(np.zeros((8, 8), np.float32), 0.0, 1.0, None) == 0
    assert code_length(np.zeros((8, 8), np.float32), 0.0, 0.0, None) == 0
    # Residuals 51, 51, 51, 51, 51: one value, which costs nothing to tell.
    ramp = np.linspace(0.2, 1, 5).astype(np.float32)
    assert code_length(ramp, 0.0, 1.0, None) == 0
    noise = rng.integers(0, 256, (200, 200)).astype(np.float32)
    np.testing.assert_allclose(code_length(noise, 0.0, 255.0, None), 8 * 200**2, rtol=0.01)


def test_it_ranks_images_as_a_compressor_does(rng):
    """More and more detail, against zlib of the plainly filtered rows."""
    x = rng.normal(size=(64, 64))
    ours, theirs = [], []
    for sigma in np.geomspace(0.2, 8, 12):
        v = gaussian_filter(x, sigma)
        v = ((v - v.min()) / np.ptp(v)).astype(np.float32)
        ours.append(float(code_length(v, 0.0, 1.0, None)))
        rows = np.round(255 * v).astype(np.uint8)
        theirs.append(8 * len(zlib.compress(np.diff(rows, axis=1, prepend=0).astype(np.uint8), 9)))
    assert spearmanr(ours, theirs)[0] > 0.97
