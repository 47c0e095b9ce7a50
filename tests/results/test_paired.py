import itertools

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from jaxeval.results import Results, holm, signed_rank
from jaxeval.types import Outcome

# Demšar 2006, Table 2: AUC of C4.5 without and with a tuned minimum of examples in leaves, in
# thousandths, so that equal differences are equal.
C45 = [763, 599, 954, 628, 882, 936, 661, 583, 775, 1000, 940, 619, 972, 957]
C45_M = [768, 591, 971, 661, 888, 931, 668, 583, 838, 1000, 962, 666, 981, 978]


def brute_force(d, zeros):
    """(R+, R-, two-sided p) by counting every assignment of signs."""
    d = [v for v in d if v != 0 or zeros == "pratt"]
    ranks = []
    for v in d:
        below = sum(abs(w) < abs(v) for w in d)
        equal = sum(abs(w) == abs(v) for w in d)
        ranks.append(below + (equal + 1) / 2)
    above = sum(r for r, v in zip(ranks, d, strict=True) if v > 0)
    below = sum(r for r, v in zip(ranks, d, strict=True) if v < 0)
    signed = [r for r, v in zip(ranks, d, strict=True) if v != 0]
    sums = [
        sum(r for r, up in zip(signed, ups, strict=True) if up)
        for ups in itertools.product([False, True], repeat=len(signed))
    ]
    extreme = np.mean([s <= min(above, below) for s in sums])
    return above, below, min(1, 2 * extreme)


@settings(max_examples=60)
@given(
    hnp.arrays(np.int64, st.integers(1, 9), elements=st.integers(-4, 4)),
    st.sampled_from(["wilcox", "pratt"]),
)
def test_small_samples_agree_with_counting_all_signs(d, zeros):
    above, below, p = brute_force(d.tolist(), zeros)
    found = signed_rank(d, np.zeros(len(d)), zeros=zeros)
    assert found.statistic == min(above, below)
    assert found.p == pytest.approx(p, abs=1e-12)
    assert found.n_zero == (d == 0).sum()
    if above + below:
        assert found.effect == pytest.approx((above - below) / (above + below))
    else:
        assert np.isnan(found.effect)
        assert found.p == 1


@pytest.mark.parametrize("zeros", ["wilcox", "pratt"])
@pytest.mark.parametrize("n", [20, 100, 300])
@pytest.mark.parametrize("levels", [7, None])
def test_agrees_with_scipy(zeros, n, levels):
    rng = np.random.default_rng(n)
    a, b = rng.normal(0.2, 1, size=(2, n)) + np.array([[0.15], [0.0]])
    if levels:  # many ties and zeros
        a, b = np.round(a * levels / 6), np.round(b * levels / 6)
    found = signed_rank(a, b, zeros=zeros)
    exact = n <= 50 and not levels
    wanted = scipy.stats.wilcoxon(a, b, zero_method=zeros, method="exact" if exact else "approx")
    assert found.statistic == wanted.statistic
    # Where ties make scipy take the normal distribution, ours is still exact.
    rtol = 0.25 if n <= 50 and levels else 1e-9
    assert found.p == pytest.approx(wanted.pvalue, rel=rtol)


def test_worked_example_of_demsar():
    found = signed_rank(C45_M, C45, zeros="pratt")
    # He splits the ranks 1.5 and 1.5 of the two zeros between R+ = 93 and R- = 12.
    assert found.statistic == 12 - 1.5
    assert found.effect == pytest.approx((91.5 - 10.5) / (91.5 + 10.5))
    assert found.n_zero == 2
    assert 0.005 < found.p < 0.02  # he finds z = -2.54, p = 0.01
    assert signed_rank(C45_M, C45, zeros="wilcox").statistic == 1.5 + 5


def test_exact_and_normal_meet():
    rng = np.random.default_rng(0)
    d = rng.normal(0.25, 1, 50)
    exact = signed_rank(d, np.zeros(50)).p
    normal = scipy.stats.wilcoxon(d, method="approx").pvalue
    assert exact == pytest.approx(normal, rel=0.1)


def test_direction_undefined_and_rounding():
    a = np.array([3.0, 2.0, np.nan, 5.0, 1.0, np.inf, np.inf])
    b = np.array([1.0, 1.0, 1.0, np.nan, 1.0 + 1e-9, np.inf, 2.0])
    up, down = (signed_rank(a, b, d, tolerance=1e-6) for d in ("higher", "lower"))
    assert (up.n, up.n_undefined, up.n_zero) == (5, 2, 2)
    assert up.effect == 1
    assert down.effect == -1
    assert up.p == down.p == 2 / 8
    assert signed_rank(a, b).n_zero == 1
    nothing = signed_rank([np.nan, 1.0], [1.0, np.nan])
    assert (nothing.n, nothing.n_undefined) == (0, 2)
    assert np.isnan([nothing.p, nothing.statistic, nothing.effect, nothing.advantage]).all()
    same = signed_rank([1.0, 2.0], [1.0, 2.0])
    assert (same.p, same.statistic, same.n_zero) == (1, 0, 2)


def test_rounding_is_that_of_a_sample_s_own_scores():
    """One huge score says nothing about the others."""
    a, b = np.array([1e9, 1.0, 2.0, 3.0]), np.array([2e9, 2.0, 3.0, 4.0])
    assert signed_rank(a, b, tolerance=1e-6).n_zero == 0


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: signed_rank([1], [1, 2]), "same samples"),
        (lambda: signed_rank([1], [1], "up"), "direction must be"),
        (lambda: signed_rank([1], [1], zeros="zsplit"), "zeros must be"),
    ],
)
def test_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def holm_by_steps(p):
    """The definition: reject the smallest while p <= alpha / (what is left)."""
    adjusted = []
    for own in p:
        # The least alpha at which it is rejected: all smaller ones must be, too.
        smaller = sorted(v for v in p if v <= own)
        steps = [v * (len(p) - i) for i, v in enumerate(smaller)]
        adjusted.append(min(1, max(steps)))
    return adjusted


@given(hnp.arrays(np.float64, st.integers(1, 8), elements=st.floats(0, 1), unique=True))
def test_holm_agrees_with_its_definition(p):
    np.testing.assert_allclose(holm(p), holm_by_steps(p.tolist()))


def test_holm_of_known_numbers():
    # As R's p.adjust(c(.01, .02, .03, .04, .05), "holm").
    np.testing.assert_allclose(holm([0.01, 0.02, 0.03, 0.04, 0.05]), [0.05, 0.08, 0.09, 0.09, 0.09])
    # Demšar 2006: three comparisons with C4.5; the first two are rejected, the third is not.
    z = (3.143 - np.array([1.964, 2.000, 2.893])) / np.sqrt(4 * 5 / (6 * 14))
    p = 2 * scipy.stats.norm.sf(z)
    np.testing.assert_allclose(p, [0.016, 0.019, 0.607], atol=2e-3)
    assert (holm(p) < 0.05).tolist() == [True, True, False]
    np.testing.assert_array_equal(holm([np.nan, 0.5]), [np.nan, 0.5])
    assert holm([]).shape == (0,)


@pytest.fixture
def compared():
    rng = np.random.default_rng(2)
    base = rng.normal(size=60).astype(np.float32)
    scores = {"A": base, "B": base + 0.5, "C": base + rng.normal(0, 1, 60).astype(np.float32)}
    scores["C"][:5] = np.nan
    outcomes = {(e, m): Outcome(score=s) for e, s in scores.items() for m in ("up", "down")}
    directions = {"up": "higher", "down": "lower"}
    return Results(
        outcomes, directions, dict.fromkeys(directions, "f"), np.arange(60), np.zeros(60, int)
    )


def test_results_compare_each_pair_per_metric(compared):
    table = compared.wilcoxon()
    assert table[["a", "b"]].drop_duplicates().to_numpy().tolist() == [
        ["A", "B"],
        ["A", "C"],
        ["B", "C"],
    ]
    assert list(table["metric"]) == ["up"] * 3 + ["down"] * 3
    assert table["n"].tolist() == [60, 55, 55] * 2
    assert table["n_undefined"].tolist() == [0, 5, 5] * 2
    up, down = table[table["metric"] == "up"], table[table["metric"] == "down"]
    np.testing.assert_allclose(up["p"], down["p"])
    np.testing.assert_allclose(up["effect"], -down["effect"])
    np.testing.assert_allclose(up["p_holm"], holm(up["p"]))
    assert up["better"].iloc[0] == "B"
    assert down["better"].iloc[0] == "A"
    assert up["advantage"].iloc[0] == pytest.approx(-0.5, abs=1e-6)
    for _, row in up.iterrows():
        a, b = (compared[row[e], "up"].score.astype(float) for e in "ab")
        both = ~np.isnan(a + b)
        wanted = scipy.stats.wilcoxon(a[both], b[both], method="approx")
        assert row["p"] == pytest.approx(wanted.pvalue, rel=1e-9)
    assert len(compared.wilcoxon("up")) == 3
    assert (compared.wilcoxon("up", alpha=1e-12)["better"].iloc[1:] == "").all()


def test_a_pair_without_common_samples_is_no_test(compared):
    outcomes = dict(compared.outcomes)
    outcomes["A", "up"] = Outcome(score=np.full(60, np.nan))
    r = Results(outcomes, compared.directions, compared.families, compared.index, compared.y)
    table = r.wilcoxon("up")
    assert table["p_holm"].isna().tolist() == [True, True, False]
    assert table["better"].tolist()[:2] == ["", ""]
    assert table["p_holm"].iloc[2] == table["p"].iloc[2]


def test_results_of_one_explainer_have_no_pair(compared):
    one = {c: o for c, o in compared.outcomes.items() if c[0] == "A"}
    r = Results(one, compared.directions, compared.families, compared.index, compared.y)
    assert len(r.wilcoxon()) == 0
    with pytest.raises(ValueError, match="no metric 'sideways'"):
        r.wilcoxon("sideways")
    with pytest.raises(ValueError, match="alpha"):
        r.wilcoxon(alpha=5)
