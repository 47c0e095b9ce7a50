"""The statistics of meta-evaluations: closed forms, SciPy, and an independent reference."""

from __future__ import annotations

import numpy as np
import pytest

from jaxeval import meta
from jaxeval.meta import compared, criteria, statistics
from tests.meta import reference
from tests.meta.reference import draw

PLAIN = ("iac", "iec_minor", "tau", "agree")
DIRECTED = ("iec_disruptive", "react")
CLOSE = {"rtol": 0, "atol": 1e-12}
"""All scores are of size 1, and all statistics too; their sums have some hundred terms."""


@pytest.mark.parametrize("undefined", [False, True])
@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("name", [*PLAIN, *DIRECTED])
def test_equal_to_an_independent_reference(name, ties, undefined):
    given = draw(1, ties=ties, undefined=undefined)
    for more in [()] if name in PLAIN else [("higher",), ("lower",)]:
        got = getattr(meta, name)(*given, *more)
        np.testing.assert_allclose(got, getattr(reference, name)(*given, *more), **CLOSE)


@pytest.mark.parametrize("direction", ["higher", "lower"])
def test_recovery_equals_the_reference(direction):
    rng = np.random.default_rng(0)
    scores = np.round(rng.normal(size=(3, 5, 2, 6)))
    scores[0, :, 1, 2] = 1.0
    scores[1, 2, 0, 4] = np.nan
    levels = (0, 0.2, 0.5, 0.7, 1)
    got = meta.recovery(levels, scores, direction)
    np.testing.assert_allclose(got, reference.recovery(levels, scores, direction), **CLOSE)


def constant(value=0.3, explainers=4, samples=20, perturbations=6):
    clean = np.full((explainers, samples), value)
    used = np.ones((perturbations, samples), bool)
    return clean, np.repeat(clean[None], perturbations, 0), used


def parts(clean, minor, hard, used, direction, groups=1):
    return meta.meta_consistency(
        meta.iac(clean, minor, used),
        meta.iac(clean, hard, used),
        meta.iec_minor(clean, minor, used),
        meta.iec_disruptive(clean, hard, used, direction),
        groups,
    )


@pytest.mark.parametrize("value", [0.3, 1e-30, 0.0, -7e6])
def test_a_constant_metric_has_mc_one_half_and_nothing_else(value):
    clean, same, used = constant(value)
    found = parts(clean, same, same, used, "higher", 3)
    assert [found[p] for p in criteria.PARTS] == [1, 0, 1, 0]
    assert (found["MC"], found["MC_std"]) == (0.5, 0)
    assert not meta.tau(clean, same, used).any()
    assert not meta.react(clean, same, used, "lower").any()
    assert np.isnan(meta.agree(clean, same, used)).all()
    assert np.isnan(meta.effect(clean, same, used)).all()
    assert np.isnan(meta.krippendorff_alpha(meta.midranks(clean)))


@pytest.mark.parametrize(("direction", "sign"), [("higher", -1), ("lower", 1)])
def test_worse_by_a_constant_everywhere(direction, sign):
    clean, _, used = draw(2)
    used[:] = True
    worse = np.repeat(clean[None] + sign * 0.5, len(used), 0)
    assert (meta.iec_disruptive(clean, worse, used, direction) == 1).all()
    assert (meta.react(clean, worse, used, direction) == 1).all()
    assert (meta.effect(clean, worse, used) == -sign).all()
    assert (meta.iec_minor(clean, worse, used) == 1).all()
    assert (meta.tau(clean, worse, used) == 1).all()
    other = {"higher": "lower", "lower": "higher"}[direction]
    assert not meta.iec_disruptive(clean, worse, used, other).any()
    assert (meta.react(clean, worse, used, other) == -1).all()


def test_independent_scores_are_at_chance():
    """Over some 10^5 independent cells, means are within 5 standard errors."""
    rng = np.random.default_rng(3)
    clean, other = rng.normal(size=(4, 20_000)), rng.normal(size=(1, 4, 20_000))
    used = np.ones((1, 20_000), bool)
    assert abs(meta.iec_minor(clean, other, used)[0] - 1 / 4) < 5 * 0.5 / 20_000**0.5
    assert abs(meta.tau(clean, other, used)[0]) < 5 / 20_000**0.5
    assert abs(meta.agree(clean, other, used)[0]) < 5 / 80_000**0.5
    assert abs(meta.react(clean, other, used, "higher")[0]) < 5 / 80_000**0.5


@pytest.mark.parametrize("name", [*PLAIN, *DIRECTED])
def test_the_order_of_explainers_and_samples_does_not_matter(name):
    clean, perturbed, used = draw(4, undefined=True)
    rng = np.random.default_rng(0)
    e, n = rng.permutation(len(clean)), rng.permutation(clean.shape[1])
    more = () if name in PLAIN else ("lower",)
    got = getattr(meta, name)(clean[e][:, n], perturbed[:, e][:, :, n], used[:, n], *more)
    first = getattr(meta, name)(clean, perturbed, used, *more)
    np.testing.assert_allclose(got, first[:, e] if name == "iac" else first, **CLOSE)


@pytest.mark.parametrize("name", [*PLAIN, *DIRECTED, "effect"])
def test_an_empty_selection_is_nan(name):
    clean, perturbed, used = draw(5)
    used[2] = False
    more = ("higher",) if name in DIRECTED else ()
    found = getattr(meta, name)(clean, perturbed, used, *more)
    assert np.isnan(found[2]).all()
    assert not np.isnan(np.delete(found, 2, 0)).any()


def test_effect_is_that_of_the_signed_rank_test():
    clean, perturbed, used = draw(6, undefined=True)
    found = meta.effect(clean, perturbed, used)
    before, after = zip(*reference.pairs(clean, perturbed, used, 1, 2), strict=True)
    d = np.subtract(before, after)
    ranks = np.argsort(np.argsort(np.abs(d))) + 1
    np.testing.assert_allclose(found[1, 2], (ranks * np.sign(d)).sum() / ranks.sum(), **CLOSE)


def test_few_samples_are_judged_by_the_same_approximation():
    clean, perturbed, used = draw(7, samples=5)
    np.testing.assert_allclose(
        meta.iac(clean, perturbed, used), reference.iac(clean, perturbed, used), **CLOSE
    )


@pytest.mark.parametrize("of", [criteria._iac, statistics._agree])
def test_weights_repeat_samples(of):
    clean, perturbed, used = draw(8, ties=True, undefined=True)
    weights = np.random.default_rng(1).integers(0, 3, (4, clean.shape[1])).astype(float)
    got = of(compared.compared(clean, perturbed, used), weights)
    for row, w in zip(got, weights, strict=True):
        at = np.repeat(np.arange(len(w)), w.astype(int))
        again = compared.compared(clean[:, at], perturbed[:, :, at], used[:, at])
        one = of(again, compared.once(len(at)))[0]
        np.testing.assert_allclose(row, one, **CLOSE)


def test_meta_consistency_leaves_out_what_is_undefined():
    one, zero = np.ones((4, 2)), np.zeros(4)
    hard = np.zeros((4, 2))
    hard[1] = np.nan
    found = meta.meta_consistency(one, hard, one[:, 0], zero, groups=2)
    assert (found["IAC_AR"], found["MC"], found["MC_std"]) == (1, 0.75, 0)
    hard[0] = np.nan  # the first group has nothing left
    found = meta.meta_consistency(one, hard, zero, zero, groups=2)
    assert (found["IAC_AR"], found["MC"], found["MC_std"]) == (1, 0.5, 0)


def test_mc_and_its_deviation_by_hand():
    minor = np.array([[1.0, 0.5], [0.5, 0.0]])
    found = meta.meta_consistency(minor, 1 - minor, np.ones(2), np.zeros(2), groups=2)
    first, second = (0.75 + 0.75 + 1 + 0) / 4, (0.25 + 0.25 + 1 + 0) / 4
    np.testing.assert_allclose(found["MC"], (first + second) / 2, **CLOSE)
    np.testing.assert_allclose(found["MC_std"], (first - second) / 2, **CLOSE)


def test_icc_of_a_published_table():
    """Shrout and Fleiss 1979, table 2: six targets, four judges; ICC(2,1) = .29."""
    table = [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]]
    assert round(meta.icc(np.transpose(table)), 2) == 0.29


def test_wrong_arguments_are_refused():
    clean, perturbed, used = draw(9)
    with pytest.raises(ValueError, match=r"perturbed \[P, L, N\]"):
        meta.tau(clean, perturbed[0], used)
    with pytest.raises(ValueError, match="used must be bool"):
        meta.tau(clean, perturbed, used * 2)
    np.testing.assert_array_equal(
        meta.tau(clean, perturbed, used * 1), meta.tau(clean, perturbed, used)
    )
    for direction in ("", "up", True, None):
        with pytest.raises(ValueError, match='"higher" or "lower"'):
            meta.react(clean, perturbed, used, direction)
    with pytest.raises(ValueError, match="T >= 2 levels"):
        meta.recovery([0.0], np.ones((1, 1, 2, 3)), "higher")
