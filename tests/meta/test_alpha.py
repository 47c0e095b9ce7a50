"""Krippendorff's alpha: worked examples, the package `krippendorff`, and what must hold."""

from __future__ import annotations

import numpy as np
import pytest

from jaxeval.meta import alpha, krippendorff_alpha, midranks

NAN = np.nan
# Krippendorff 2011, "Computing Krippendorff's alpha-reliability", section E: four observers, twelve
# units, with missing values; ordinal alpha is .815.
PUBLISHED = [
    [1, 2, 3, 3, 2, 1, 4, 1, 2, NAN, NAN, NAN],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, NAN, 3],
    [NAN, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, NAN],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, NAN],
]


def test_the_published_example():
    assert round(krippendorff_alpha(PUBLISHED), 3) == 0.815


def pairwise(ratings):
    """From all pairs of ratings of one unit, as the definition says."""
    ratings = np.asarray(ratings, float)
    units = [u[~np.isnan(u)] for u in ratings.T]
    units = [u for u in units if len(u) > 1]
    flat = np.concatenate(units)
    values, counts = np.unique(flat, return_counts=True)

    def distance(a, b):
        low, high = min(a, b), max(a, b)
        inside = counts[(values >= low) & (values <= high)].sum()
        ends = counts[values == low].sum() + counts[values == high].sum()
        return (inside - ends / 2) ** 2 if a != b else 0.0

    observed = sum(
        distance(a, b) / (len(u) - 1)
        for u in units
        for i, a in enumerate(u)
        for j, b in enumerate(u)
        if i != j
    ) / len(flat)
    expected = sum(
        distance(a, b) for i, a in enumerate(flat) for j, b in enumerate(flat) if i != j
    ) / (len(flat) * (len(flat) - 1))
    return 1 - observed / expected


@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_equal_to_the_sum_over_pairs(missing):
    rng = np.random.default_rng(0)
    ratings = np.round(rng.normal(size=(7, 5)) + np.arange(5) / 2)
    ratings[rng.random(ratings.shape) < missing] = NAN
    np.testing.assert_allclose(krippendorff_alpha(ratings), pairwise(ratings), atol=1e-12)


def test_equal_to_the_package():
    package = pytest.importorskip("krippendorff")
    rng = np.random.default_rng(1)
    scores = rng.normal(size=(6, 40)) + np.arange(6)[:, None] / 3
    scores[2] = scores[1]  # ties
    for ratings in (midranks(scores), np.array(PUBLISHED)):
        wanted = package.alpha(reliability_data=ratings, level_of_measurement="ordinal")
        np.testing.assert_allclose(krippendorff_alpha(ratings), wanted, atol=1e-12)


def test_monotone_transforms_and_the_order_of_explainers_do_not_matter():
    scores = np.random.default_rng(2).normal(size=(4, 30))
    first = krippendorff_alpha(midranks(scores))
    for other in (np.exp(scores), -scores, scores[[2, 0, 3, 1]]):
        np.testing.assert_allclose(krippendorff_alpha(midranks(other)), first, atol=1e-12)


def test_agreement_and_chance():
    same = np.arange(4.0)[:, None] + np.zeros(50)
    assert krippendorff_alpha(midranks(same)) == 1
    independent = np.random.default_rng(3).normal(size=(4, 5000))
    assert abs(krippendorff_alpha(midranks(independent))) < 0.01


def test_undefined():
    assert np.isnan(krippendorff_alpha(np.ones((5, 3))))
    assert np.isnan(krippendorff_alpha([[1.0, NAN], [NAN, 2.0]]))
    assert np.isnan(midranks([[1.0, NAN], [2.0, 3.0]])[1]).all()
    with pytest.raises(ValueError, match=r"\[raters, units\]"):
        krippendorff_alpha([1.0, 2.0])


def test_weights_repeat_raters():
    ratings = np.array(PUBLISHED)
    again = np.repeat(ratings, [2, 0, 1, 3], 0)
    got = alpha._alpha(ratings, np.array([[2.0, 0, 1, 3]]))
    np.testing.assert_allclose(got, [krippendorff_alpha(again)], atol=1e-12)
