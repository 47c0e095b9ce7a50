import dataclasses

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from jaxeval.results import Results, critical_difference, friedman_test, nemenyi_p, row_ranks
from jaxeval.types import Outcome

# Demšar 2006, Table 6: ranks of four variants of C4.5 on 14 data sets.
NAMES = ("C4.5", "C4.5+m", "C4.5+cf", "C4.5+m+cf")
RANKS = [
    [4, 3, 2, 1], [1, 2, 3, 4], [4, 1, 2, 3], [4, 1, 3, 2], [4, 2, 3, 1], [1, 2.5, 4, 2.5],
    [3, 2, 4, 1], [2.5, 2.5, 4, 1], [4, 3, 2, 1], [2.5] * 4, [4, 2.5, 1, 2.5], [3, 2, 4, 1],
    [4, 1, 2, 3], [3, 1, 4, 2],
]  # fmt: skip


def results(scores, names=None, direction="lower"):
    """Results of scores [N, E] under one metric."""
    scores = np.asarray(scores, np.float32)
    names = names or [f"E{i}" for i in range(scores.shape[1])]
    outcomes = {(e, "m"): Outcome(score=scores[:, i]) for i, e in enumerate(names)}
    n = len(scores)
    return Results(outcomes, {"m": direction}, {"m": "f"}, np.arange(n), np.zeros(n, int))


def test_worked_example_of_demsar():
    test = friedman_test(RANKS)
    # His chi-square has no correction for ties, which divides by this share.
    ties = sum(t**3 - t for t in (2, 2, 4, 2))
    plain = test.statistic * (1 - ties / (14 * 4 * 15))
    assert plain == pytest.approx(9.28, abs=0.01)
    assert 13 * plain / (14 * 3 - plain) == pytest.approx(3.69, abs=0.01)
    assert test.df == 3

    found = results(RANKS, NAMES).friedman("m")
    assert found.ranks.round(3).to_dict() == {
        "C4.5+m+cf": 1.964,
        "C4.5+m": 2.0,
        "C4.5+cf": 2.893,
        "C4.5": 3.143,
    }
    assert found.critical_difference == pytest.approx(1.25, abs=0.005)
    # "At p = 0.05 the post-hoc test is not powerful enough", at 0.10 C4.5 is worse than both.
    assert found.groups() == [("C4.5+m+cf", "C4.5+m", "C4.5+cf", "C4.5")]
    wide = results(RANKS, NAMES).friedman("m", alpha=0.1)
    assert wide.critical_difference == pytest.approx(1.12, abs=0.005)
    assert wide.groups() == [("C4.5+m+cf", "C4.5+m", "C4.5+cf"), ("C4.5+cf", "C4.5")]


@pytest.mark.parametrize(
    ("alpha", "q"),
    [
        (0.05, [1.960, 2.343, 2.569, 2.728, 2.850, 2.949, 3.031, 3.102, 3.164]),
        (0.10, [1.645, 2.052, 2.291, 2.459, 2.589, 2.693, 2.780, 2.855, 2.920]),
    ],
)
def test_critical_values_are_those_of_demsars_table(alpha, q):
    for k, value in enumerate(q, start=2):
        n = k * (k + 1)  # the root is 1 / sqrt(6)
        assert critical_difference(k, n, alpha) * np.sqrt(6) == pytest.approx(value, abs=1.01e-3)


@settings(max_examples=40)
@given(
    hnp.arrays(
        np.int64,
        st.tuples(st.integers(2, 9), st.integers(3, 5)),
        elements=st.integers(0, 4),
    )
)
def test_chi_square_agrees_with_scipy(scores):
    test = friedman_test(row_ranks(scores))
    if all(len(set(row)) == 1 for row in scores.tolist()):
        assert np.isnan([test.statistic, test.p, test.f, test.f_p]).all()
        return
    wanted = scipy.stats.friedmanchisquare(*scores.T)
    assert test.statistic == pytest.approx(wanted.statistic, abs=1e-9)
    assert test.p == pytest.approx(wanted.pvalue, abs=1e-9)


def test_f_is_the_two_way_analysis_of_variance_of_ranks():
    ranks = row_ranks(np.random.default_rng(0).normal(size=(12, 5)) + np.arange(5) / 3)
    n, k = ranks.shape
    between = n * ((ranks.mean(axis=0) - ranks.mean()) ** 2).sum() / (k - 1)
    rest = ranks - ranks.mean(axis=0) - ranks.mean(axis=1, keepdims=True) + ranks.mean()
    f = between / ((rest**2).sum() / ((n - 1) * (k - 1)))
    test = friedman_test(ranks)
    assert test.f == pytest.approx(f)
    assert test.f_p == pytest.approx(scipy.stats.f.sf(f, k - 1, (n - 1) * (k - 1)))


def test_f_is_infinite_where_all_blocks_agree():
    test = friedman_test([[1, 2, 3]] * 4)
    assert test.statistic == pytest.approx(8)
    assert test.f == np.inf
    assert test.f_p == 0


def test_nemenyi_agrees_with_the_critical_difference():
    k, n = 6, 30
    cd = critical_difference(k, n)
    ranks = np.array([1, 1 + cd, 3.3, 4, 5, 6])
    p = nemenyi_p(ranks, n)
    assert p[0, 1] == pytest.approx(0.05, abs=1e-6)
    np.testing.assert_array_equal(p, p.T)
    np.testing.assert_array_equal(np.diag(p), 1)
    for i in range(k):
        for j in range(k):
            if {i, j} != {0, 1} and i != j:
                assert (p[i, j] < 0.05) == (abs(ranks[i] - ranks[j]) > cd)
    two = nemenyi_p([1.2, 1.8], 10)[0, 1]
    assert two == pytest.approx(scipy.stats.norm.sf(0.6 / np.sqrt(0.1)) * 2)


def test_groups_are_the_largest_runs():
    rng = np.random.default_rng(3)
    for _ in range(20):
        scores = rng.normal(size=(25, 7)) + rng.normal(size=7)
        found = results(scores).friedman("m")
        ranks = found.ranks.to_numpy()
        runs = [
            (i, j)
            for i in range(7)
            for j in range(i + 1, 7)
            if ranks[j] - ranks[i] < found.critical_difference
        ]
        largest = [
            r for r in runs if not any(s[0] <= r[0] and r[1] <= s[1] and s != r for s in runs)
        ]
        assert found.groups() == [tuple(found.ranks.index[i : j + 1]) for i, j in largest]


def test_explainers_that_are_the_critical_difference_apart_differ():
    """Also where rounding takes a little off it; and not where a little is really missing."""
    found = results(RANKS, NAMES).friedman("m")
    ranks = found.ranks.to_numpy()
    names = tuple(found.ranks.index)
    apart = ranks[2] - ranks[0]
    for cd in (apart, np.nextafter(apart, 2)):
        exactly = dataclasses.replace(found, critical_difference=cd)
        assert exactly.groups() == [names[:2], names[1:3], names[2:]]
    less = dataclasses.replace(found, critical_difference=apart + 1e-9)
    assert less.groups() == [names[:3], names[2:]]


def test_blocks_that_are_undefined_are_left_out_and_counted():
    scores = np.random.default_rng(1).normal(size=(20, 3)).astype(np.float32)
    holes = scores.copy()
    holes[:4, 1] = np.nan
    holes = np.column_stack([holes, np.full(20, np.nan)])
    found = results(holes).friedman("m")
    whole = results(scores[4:]).friedman("m")
    assert (found.n, found.n_undefined, found.left_out) == (16, 4, ("E3",))
    assert found.statistic == whole.statistic
    assert found.ranks.to_dict() == whole.ranks.to_dict()
    assert found.nemenyi().equals(whole.nemenyi())
    assert found.blocks_left_out == (0, 1, 2, 3)
    said = "16 samples of 'm' (left out: 4 samples with undefined scores, 0, 1, 2, 3; 'E3' without"
    assert said in repr(found)
    assert "(left out: nothing)" in repr(whole)

    never = scores.copy()
    never[:10, 0] = never[10:, 1] = np.nan
    found = results(never).friedman("m")
    assert found.n == 0
    assert found.critical_difference == np.inf
    assert np.isnan([found.statistic, found.p]).all()
    assert np.isnan(found.nemenyi().to_numpy()[0, 1])


def test_explainers_without_a_score_are_named():
    """Also where they leave nobody to compare with."""
    scores = np.random.default_rng(1).normal(size=(5, 3)).astype(np.float32)
    scores[:, 1] = np.nan
    found = results(scores).friedman("m")
    assert found.left_out == ("E1",)
    assert found.left_out_text() == "'E1' without a defined score"
    assert "'E1' without a defined score" in repr(found)
    with pytest.raises(ValueError, match="got 1 of 2 explainers given: 'E1' has no defined"):
        results(scores[:, :2]).friedman("m")


def test_directions_and_rounding():
    scores = np.random.default_rng(1).normal(size=(20, 3))
    lower, higher = (
        results(scores).friedman("m"),
        results(-scores, direction="higher").friedman("m"),
    )
    assert lower.ranks.to_dict() == higher.ranks.to_dict()
    almost = np.ones((9, 3)) + np.random.default_rng(2).uniform(0, 2e-7, (9, 3))
    assert np.isnan(results(almost).friedman("m").statistic)


def test_without_a_metric_the_metrics_rank():
    means = np.array([[1, 2, 3], [1, 3, 2], [3, 2, 1], [1, 2, np.nan]])
    directions = {"a": "lower", "b": "lower", "c": "higher", "d": "lower"}
    outcomes = {
        (f"E{e}", m): Outcome(score=np.float32([means[i, e]] * 2))
        for e in range(3)
        for i, m in enumerate(directions)
    }
    r = Results(
        outcomes, directions, dict.fromkeys(directions, "f"), np.arange(2), np.zeros(2, int)
    )
    found = r.friedman()
    assert (found.n, found.n_undefined, found.blocks) == (3, 1, "metrics")
    wanted = scipy.stats.friedmanchisquare([1, 1, 1], [2, 3, 2], [3, 2, 3])
    assert found.statistic == pytest.approx(wanted.statistic)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: results(np.ones((3, 1))).friedman("m"), "at least 2 treatments, got 1"),
        (lambda: results(np.ones((3, 2))).friedman("x"), "no metric 'x'"),
        (lambda: results(np.ones((3, 2))).friedman("m", alpha=2), "alpha must lie"),
        (lambda: critical_difference(1, 5), "at least 2"),
    ],
)
def test_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call()
