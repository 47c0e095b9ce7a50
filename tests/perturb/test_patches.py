"""Patches with a side per axis, on volumes, series and small inputs; metrics of signals."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

import jaxeval as je

RNG = np.random.default_rng(0)


def linear(shape):
    w = RNG.normal(size=shape).astype(np.float32)
    return je.Model(lambda p, x: (x * p).sum(tuple(range(1, x.ndim)))[:, None], jnp.asarray(w),
                    outputs="values"), w  # fmt: skip


def test_a_volume_is_tiled_by_sides_per_axis():
    """Patches of 2 x 3 x 4: the curve of a linear model is a sum over the patches that are left."""
    model, w = linear((1, 4, 6, 4))
    x = RNG.normal(size=(2, 1, 4, 6, 4)).astype(np.float32)
    a = RNG.normal(size=x.shape[:1] + x.shape[2:]).astype(np.float32)
    out = je.score(je.Selectivity(patch_size=(2, 3, 4), baseline=0.0), model, x, None, a)
    assert out.curve.shape == (2, 4)
    for row in range(2):
        tiles = [np.s_[d : d + 2, h : h + 3, :] for d in (0, 2) for h in (0, 3)]
        order = sorted(tiles, key=lambda t: -a[row][t].sum())
        left = (x[row] * w)[0].copy()
        want = []
        for tile in order:
            left[tile] = 0
            want.append(left.sum())
        np.testing.assert_allclose(out.curve[row], want, rtol=1e-4, atol=1e-4)


def test_squares_are_drawn_by_sides_per_axis():
    model, _ = linear((1, 3, 5, 4))
    x = RNG.normal(size=(2, 1, 3, 5, 4)).astype(np.float32)
    metric = je.Infidelity(perturbation="square", patch_size=[3, 1, 2], baseline=0.0, n_samples=4)
    a = np.broadcast_to(np.asarray(model.params), x.shape)
    np.testing.assert_allclose(je.score(metric, model, x, None, a).score, 0, atol=1e-8)


@pytest.mark.parametrize("shape", [(1, 5), (2, 6), (1, 7, 30)])
def test_the_default_fits_small_inputs(shape):
    model, _ = linear(shape)
    x = RNG.normal(size=(2, *shape)).astype(np.float32)
    n = int(np.prod([-(-s // min(8, s)) for s in shape[1:]]))
    out = je.score(je.RegionPerturbation(baseline=0.0), model, x, None, x)
    assert out.curve.shape == (2, n)
    assert np.isfinite(out.score).all()


@pytest.mark.parametrize(
    ("size", "kind", "words"),
    [
        ((2, 2), ValueError, "one for each of the 3 axes"),
        ((2, 2, 9), ValueError, r"patch_size=\(2, 2, 9\) is larger than the input"),
        ((2, 0, 2), ValueError, "at least 1"),
        ((2, 1.5, 2), TypeError, "whole numbers"),
        (0, ValueError, "at least 1"),
    ],
)
def test_sides_that_do_not_fit_are_refused(size, kind, words):
    model, _ = linear((1, 4, 6, 4))
    x = np.ones((2, 1, 4, 6, 4), np.float32)
    with pytest.raises(kind, match=words):
        je.score(je.RegionPerturbation(patch_size=size), model, x, None, x)


@pytest.mark.parametrize("metric", [je.AIC(), je.SIC()])
def test_compressed_sizes_are_of_images_and_series(metric):
    w = RNG.normal(size=(16, 2)).astype(np.float32)
    model = je.Model(lambda p, x: x.reshape(len(x), -1) @ p, jnp.asarray(w), channel_axis=1)
    x = RNG.normal(size=(3, 16)).astype(np.float32)
    with pytest.raises(ValueError, match=r"is a table.*use Insertion.*\[N, 1, T\]"):
        je.score(metric, model, x, None, x)
    series = je.score(metric, model, x[:, None], None, x[:, None]).score
    assert series.shape == (3,)
