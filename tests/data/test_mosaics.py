"""Mosaics: what their tiles, classes and masks are, and what `Focus` makes of them."""

import jax.numpy as jnp
import numpy as np
import pytest

import jaxeval as je

RNG = np.random.default_rng(0)
Y = np.array([4, 4, 4, 7, 7, 9, 9, 9, 9])
IMAGES = RNG.uniform(0.1, 1, (len(Y), 3, 2, 5)).astype(np.float32)
LAYOUTS = {1: IMAGES, -1: np.moveaxis(IMAGES, 1, -1), None: IMAGES[:, 0]}


def tile(v, k, height, width):
    """Tile k of one mosaic, cut out again."""
    axes = {height: k // 2, width: k % 2}
    cut = [slice(None)] * v.ndim
    for axis, half in axes.items():
        n = v.shape[axis] // 2
        cut[axis] = slice(half * n, half * n + n)
    return v[tuple(cut)]


@pytest.mark.parametrize("axis", LAYOUTS)
def test_tiles_classes_and_masks(axis):
    x = LAYOUTS[axis]
    made = je.data.mosaic(x, Y, n_per_class=5, channel_axis=axis, seed=2)
    height, width = {1: (1, 2), -1: (0, 1), None: (0, 1)}[axis]
    assert made.y.tolist() == [4] * 5 + [7] * 5 + [9] * 5
    assert made.mask.shape == (15, 4, 10)
    assert made.mask.dtype == bool
    for i in range(15):
        assert len(set(made.tiles[i])) == 4
        assert (Y[made.tiles[i]] == made.y[i]).sum() == 2
        for k, image in enumerate(made.tiles[i]):
            np.testing.assert_array_equal(tile(made.x[i], k, height, width), x[image])
            assert (tile(made.mask[i], k, 0, 1) == (Y[image] == made.y[i])).all()
    # Each image of a class shows it equally often, but for one time; places are mixed.
    for c in np.unique(Y):
        mine = made.tiles[made.y == c]
        times = np.unique(mine[Y[mine] == c], return_counts=True)[1]
        assert np.ptp(times) <= 1
    assert len({tuple(Y[t] == c) for t, c in zip(made.tiles, made.y, strict=True)}) > 3


def test_layouts_and_seeds():
    first, last = (je.data.mosaic(LAYOUTS[a], Y, channel_axis=a) for a in (1, -1))
    np.testing.assert_array_equal(np.moveaxis(first.x, 1, -1), last.x)
    np.testing.assert_array_equal(first.mask, last.mask)
    assert not np.array_equal(je.data.mosaic(IMAGES, Y, seed=1).tiles, first.tiles)


def brightness(params, x):
    return jnp.stack([x.sum((1, 2, 3))] * 10, 1)


@pytest.mark.parametrize("axis", [1, -1])
def test_focus_of_mosaics(axis):
    """An explanation of the target's tiles alone has all focus, an even one half of it."""
    made = je.data.mosaic(LAYOUTS[axis], Y, n_per_class=2, channel_axis=axis)

    model = je.Model(brightness, {}, channel_axis=axis)
    channels = np.expand_dims(made.mask, axis) & (made.x > 0)
    maps = {
        "right": made.mask.astype(np.float32),
        "wrong": ~made.mask - 3.0 * made.mask,
        "even": np.ones_like(made.x),
        "right entries": channels.astype(np.float32),
    }
    got = je.evaluate(
        model,
        made.x,
        made.y,
        explainers=maps,
        metrics={"focus": je.Focus()},
        mask=made.mask,
        progress=False,
    )
    for name, want in (("right", 1), ("wrong", 0), ("even", 0.5), ("right entries", 1)):
        np.testing.assert_allclose(got[name, "focus"].score, want, rtol=1e-6)


@pytest.mark.parametrize(
    ("x", "y", "given", "says"),
    [
        (IMAGES[0], Y, {}, r"no batch of images"),
        (IMAGES, Y, {"channel_axis": None}, r"no batch of images: wanted \[N, C, H, W\] with 1"),
        (IMAGES, Y, {"channel_axis": 0}, "no batch of images"),
        (IMAGES, Y[:3], {}, r"class for each of the 9 images, got int64\[3\]"),
        (IMAGES, Y.astype(float), {}, "float64"),
        (IMAGES, np.zeros(9, int), {}, r"two classes each, got \{0: 9\}"),
        (IMAGES[:4], Y[:4], {}, r"got \{4: 3, 7: 1\}"),
        (IMAGES, Y, {"n_per_class": 0}, "at least 1, got 0"),
    ],
)
def test_what_makes_no_mosaic(x, y, given, says):
    with pytest.raises(ValueError, match=says):
        je.data.mosaic(x, y, **given)
