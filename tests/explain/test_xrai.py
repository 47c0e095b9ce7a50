"""XRAI: the greedy choice of regions in NumPy, and its segmentation."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxeval import explain

from .helpers import assert_close, linear, make


def greedy(a, masks, least, area=1.0, fast=False):
    """The map for attributions a [H, W] and a list of masks."""
    out, covered, left = np.full(a.shape, np.nan), np.zeros(a.shape, bool), list(masks)
    if fast:
        left.sort(key=lambda m: -a[m].mean() if m.any() else np.inf)
    while left and (fast or covered.mean() <= area):
        left = [m for m in left if (m & ~covered).sum() >= least]
        if not left:
            break
        gains = [a[m & ~covered].mean() for m in left]
        best = left.pop(0 if fast else int(np.argmax(gains)))
        new = best & ~covered
        out[new] = a[new].mean()
        covered |= best
    if not covered.all():
        out[~covered] = a[~covered].mean()
    return out


def regions(n=9, size=18, seed=0):
    """Rectangles that overlap, one of them empty."""
    rng, masks = np.random.default_rng(seed), np.zeros((n, size, size), bool)
    for m in masks[:-1]:
        (top, left), (high, wide) = rng.integers(0, size - 3, 2), rng.integers(3, 9, 2)
        m[top : top + high, left : left + wide] = True
    return masks


@pytest.mark.parametrize("settings", [{}, {"area": 0.3}, {"algorithm": "fast"}], ids=str)
@pytest.mark.parametrize("least", [1, 12])
def test_regions_are_added_by_their_new_mean(least, settings):
    case, masks = make("rgb"), np.stack([regions(seed=i) for i in range(3)])
    base = explain.InputXGradient()
    e = explain.XRAI(segments=masks, explainer=base, min_pixels=least, **settings)
    a = np.asarray(base(case.model, case.x, case.y)).max(1)
    fast = settings.get("algorithm") == "fast"
    expected = [
        greedy(*v, least, settings.get("area", 1), fast) for v in zip(a, masks, strict=True)
    ]
    ours = e(case.model, case.x, case.y)
    assert ours.shape == (3, 1, 18, 18)
    assert_close(ours[:, 0], np.stack(expected), 1e-5)


def test_the_attribution_of_pixels_is_the_mean_of_two_integrated_gradients():
    case = make("rgb")
    pixels = np.arange(18 * 18).reshape(18, 18)
    ours = explain.XRAI(segments=pixels, n_steps=4, method="endpoints", min_pixels=1)
    maps = []
    for b in (case.x.min((1, 2, 3), keepdims=True), case.x.max((1, 2, 3), keepdims=True)):
        way = case.x - b
        g = [explain.Gradient()(case.model, b + t * way, case.y) for t in np.linspace(0, 1, 4)]
        maps.append(way * np.mean(g, 0))
    expected = np.mean(maps, 0).max(1, keepdims=True)
    assert_close(ours(case.model, case.x, case.y), expected, 1e-5)
    np.testing.assert_allclose(
        np.asarray(ours(case.model, case.x, case.y)).sum(), expected.sum(), rtol=1e-4
    )


def test_segments_in_every_form():
    case, ids = make("rgb"), np.arange(18)[:, None] // 6 * 3 + np.arange(18) // 6
    masks = ids == np.arange(9)[:, None, None]
    e = explain.XRAI(segments=ids, explainer=explain.InputXGradient(), min_pixels=1)
    a = e(case.model, case.x, case.y)
    for given in (masks, np.stack([masks] * 3), lambda x: jnp.asarray(masks)):
        same = dataclasses.replace(e, segments=given)(case.model, case.x, case.y)
        np.testing.assert_array_equal(a, same)
    under_jit = jax.jit(lambda x: e(case.model, x, case.y))(case.x)
    np.testing.assert_allclose(a, under_jit, atol=1e-6)


def test_segments_by_scikit_image():
    """Of four fields: their mean, apart from pixels at the borders, which belong to several."""
    model = linear(shape=(1, 32, 32))
    x = np.zeros((2, 1, 32, 32), np.float32)
    x[0, :, :16, 16:], x[0, :, 16:, :16], x[0, :, 16:, 16:] = 1, -1, 3
    e = explain.XRAI(explainer=lambda m, x, y, keys: x)
    a = np.asarray(e(model, x, np.zeros(2, int)))[:, 0]
    inner = a[0, 4:12, 4:12], a[0, 4:12, 20:28], a[0, 20:28, 4:12], a[0, 20:28, 20:28]
    assert all(np.ptp(v) < 1e-6 for v in inner)
    means = [v.mean() for v in inner]
    assert means[3] > means[1] > means[0] > means[2]
    np.testing.assert_array_equal(a[1], 0)  # a constant image is one segment
    alone = e(model, x[:1], np.zeros(1, int))
    np.testing.assert_array_equal(alone[0, 0], a[0])


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"segments": np.ones((18, 18))}, TypeError, r"segments.*masks.*float64\[18, 18\]"),
        ({"segments": np.zeros((5, 5), int)}, ValueError, r"shape \[M, 18, 18\].*got \[3, 1, 5, 5"),
        ({"segments": regions()[None]}, ValueError, r"\[3, M, ...\] for 3 samples.*\[1, 9, 18"),
        ({"algorithm": "slow"}, ValueError, "'full', 'fast'"),
        ({"area": 2}, ValueError, "area=2.*at most 1"),
        ({"method": "mean"}, ValueError, "method='mean'"),
        ({"explainer": 3}, TypeError, "explainer"),
    ],
)
def test_wrong_settings_are_named(settings, error, message):
    case = make("rgb")
    with pytest.raises(error, match=message):
        explain.XRAI(**settings)(case.model, case.x, case.y)


def test_segments_are_found_within_jit():
    case, e = make("rgb", 2), explain.XRAI(explainer=explain.InputXGradient())
    inside = jax.jit(lambda x: e(case.model, x, case.y))(case.x)
    np.testing.assert_allclose(inside, e(case.model, case.x, case.y), atol=1e-6)
    shape = jax.eval_shape(lambda x: e(case.model, x, case.y), case.x).shape
    assert shape == (2, 1, 18, 18)
