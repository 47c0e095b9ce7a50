"""Localisation, complexity and axioms: the scores of Quantus of maps alone."""

from __future__ import annotations

import numpy as np
import pytest

import jaxeval as je
from tests.parity.compared import (
    F,
    N,
    assert_close,
    maps,
    ours,
    theirs,
)

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.usefixtures("quiet", "one_thread")]


@maps
def test_pointing_game(case, method):
    a = case.maps(method)
    scores = theirs(case, "PointingGame", a)
    assert list(ours(je.PointingGame(), case, a, mask=case.mask).score) == list(scores)


@maps
@pytest.mark.parametrize("name", ["RelevanceRankAccuracy", "AUC"])
def test_ranking_in_the_mask(case, method, name):
    a = case.maps(method)
    metric = getattr(je, name)()
    assert_close(ours(metric, case, a, mask=case.mask).score, theirs(case, name, a))


@maps
@pytest.mark.parametrize("influence", [False, True])
def test_top_k_intersection(case, method, influence):
    a, fields = case.maps(method), {"k": 90, "concept_influence": influence}
    got = ours(je.TopKIntersection(**fields), case, a, mask=case.mask).score
    assert_close(got, theirs(case, "TopKIntersection", a, **fields))


@maps
def test_attribution_localisation(case, method):
    """Unweighted: Quantus's weight multiplies by the object's share of the whole batch."""
    a, fields = case.maps(method), {"abs": False, "positive_attributions": True}
    got = ours(je.AttributionLocalisation(), case, a, mask=case.mask).score
    assert_close(got, theirs(case, "AttributionLocalisation", a, **fields))


@maps
def test_focus(case, method):
    """Quantus is told which tiles are the target's, we where they are."""
    a = case.maps(method)
    images = np.random.default_rng(0).uniform(size=(6, 1, 14, 14)).astype(np.float32)
    made = je.data.mosaic(images, [0, 0, 1, 1, 2, 2], n_per_class=2)
    tiles = [[int(made.mask[i, r, c]) for r in (0, 14) for c in (0, 14)] for i in range(N)]
    got = ours(je.Focus(), case, a, mask=made.mask).score
    assert_close(got, theirs(case, "Focus", a, mosaic=tiles, abs=False))


@maps
@pytest.mark.parametrize("name", ["Sparseness", "Complexity"])
def test_complexity(case, method, name):
    a = case.maps(method)
    # Quantus adds 1e-7 to every normalised magnitude before it sorts them.
    assert_close(ours(getattr(je, name)(), case, a).score, theirs(case, name, a, abs=True))


@maps
def test_effective_complexity(case, method):
    a = case.maps(method)
    scores = theirs(case, "EffectiveComplexity", a, abs=True)
    assert list(ours(je.EffectiveComplexity(), case, a).score) == list(scores)


@maps
def test_relevance_mass_of_magnitudes(case, method):
    """Of signed maps Quantus divides signed sums."""
    a = case.maps(method)
    scores = theirs(case, "RelevanceMassAccuracy", a, abs=True)
    metric = je.RelevanceMassAccuracy(absolute=True)
    assert_close(ours(metric, case, a, mask=case.mask).score, scores)


@maps
def test_non_sensitivity(case, method):
    """Quantus counts, and replaces a feature once; rounding may tip one over the threshold."""
    a = case.maps(method)
    counts = theirs(case, "NonSensitivity", a, abs=True, eps=1e-2)
    metric = je.NonSensitivity(n_samples=1, baseline="black", eps=1e-2)
    apart = np.abs(F * np.asarray(ours(metric, case, a).score) - np.ravel(counts))
    assert apart.max() < 1.01
    assert np.median(apart) < 0.01
