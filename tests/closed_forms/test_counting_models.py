"""Scores of models that count features, or look at a few."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

import jaxeval as je
from tests.closed_forms.known import (
    COUNTING,
    ONES,
    ZEROS,
    F,
    W,
    score,
)
from tests.world import N


@pytest.mark.parametrize("kind", ["smooth", "ties", "edge"])
@pytest.mark.parametrize("order", ["morf", "lerf", "random"])
@pytest.mark.parametrize("steps", [1, 5, 8, 128])
def test_flipping_counts_down(steps, order, kind):
    """Whatever the order, F - floor(F s / S) features are left after s steps."""
    metric = je.PixelFlipping(n_steps=steps, order=order, baseline=0.0, output="logit")
    got = score(metric, COUNTING, ONES, ZEROS, W.maps[kind])
    curve = F - F * np.arange(1, steps + 1) // steps
    np.testing.assert_array_equal(got.curve, np.tile(curve, (N, 1)))
    area = (curve.sum() - (curve[0] + curve[-1]) / 2) / (steps - 1) if steps > 1 else curve[0]
    np.testing.assert_allclose(got.score, area, rtol=1e-6)


def test_areas_on_a_counting_model():
    """Straight lines from F to 0: half of F under them, also for pixels with two channels."""
    given = {"baseline": 0.0, "output": "logit"}
    a, y = W.maps["ties"], ZEROS
    for maps in (a, a.sum(1), a.sum(1, keepdims=True)):
        for metric in (je.Deletion(n_steps=8, **given), je.Insertion(n_steps=8, **given)):
            out = score(metric, COUNTING, ONES, y, maps)
            np.testing.assert_allclose(out.score, F / 2, rtol=1e-6)
            line = np.linspace(0, F, 9)
            want = line if isinstance(metric, je.Insertion) else line[::-1]
            np.testing.assert_array_equal(out.curve, np.tile(want, (N, 1)))
    by_group = je.PixelFlipping(features_in_step=50, **given)
    got = score(by_group, COUNTING, ONES, y, a)
    np.testing.assert_array_equal(got.curve, np.tile([78, 28, 0], (N, 1)))
    # Patches of 8 x 8: four of 18 entries, two of 12 on either side, and one of 8 in the corner.
    patches = je.RegionPerturbation(patch_size=3, **given)
    got = score(patches, COUNTING, ONES, y, a)
    gone = np.diff(got.curve, axis=1, prepend=0)
    np.testing.assert_array_equal(np.sort(gone, 1), np.tile([8] + [12] * 4 + [18] * 4, (N, 1)))
    np.testing.assert_allclose(got.score, np.sum(got.curve, 1) / 10, rtol=1e-6)
    got = score(je.Selectivity(patch_size=3, **given), COUNTING, ONES, y, a)
    np.testing.assert_array_equal(-np.diff(got.curve, axis=1, prepend=F), gone)
    assert (got.curve[:, -1] == 0).all()  # nothing is left
    got = score(je.SRG(n_steps=8, **given), COUNTING, ONES, y, a)
    np.testing.assert_array_equal(got.curve, np.zeros((N, 8)))  # whatever the order


def test_a_model_of_a_few_features():
    """f = x_0: in order of relevance it is gone at once, in reverse it stays to the end."""
    model = je.Model(lambda p, x: jnp.stack([x[:, 0], 0 * x[:, 0]], 1), {})
    x, y, a = np.ones((3, 10), np.float32), np.zeros(3, int), np.eye(10, dtype=np.float32)[[0] * 3]
    given = {"n_steps": 10, "baseline": 0.0, "output": "logit"}
    for metric, want in (
        (je.PixelFlipping(**given), 0),
        (je.PixelFlipping(order="lerf", **given), 1 - 1 / 18),
        (je.Deletion(**given), 1 / 20),
        (je.Insertion(**given), 1 - 1 / 20),
        (je.SRG(**given), 1 - 1 / 18),
    ):
        np.testing.assert_allclose(score(metric, model, x, y, a).score, want, atol=1e-6)
    wrong = np.eye(10, dtype=np.float32)[[9] * 3]  # ties to the lowest index: 9, 0, 1, ...
    for metric, want in (
        (je.PixelFlipping(**given), 1 / 18),
        (je.PixelFlipping(order="lerf", **given), 0),
        (je.SRG(**given), -1 / 18),
    ):
        np.testing.assert_allclose(score(metric, model, x, y, wrong).score, want, atol=1e-6)


def test_a_map_that_is_zero_where_the_model_does_not_look():
    model = je.Model(lambda p, x: jnp.stack([x[:, :6].sum(1), 0 * x[:, 0]], 1), {})
    x, y = np.full((3, 12), -1, np.float32), np.zeros(3, int)
    metric = je.NonSensitivity(n_samples=3, output="logit")
    a = np.repeat([[1.0, 0.0]], 6, 1).repeat(3, 0)
    for maps, want in ((a, 0), (1 - a, 1), (0 * a, 0.5), (1 + a, 0.5)):
        np.testing.assert_allclose(score(metric, model, x, y, maps).score, want, atol=1e-6)
