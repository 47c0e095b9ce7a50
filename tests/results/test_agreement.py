import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from jaxeval.results import Results, kendalls_w, mean_spearman, row_ranks
from jaxeval.types import Outcome

GRID = hnp.arrays(
    np.int64, st.tuples(st.integers(2, 5), st.integers(2, 6)), elements=st.integers(0, 4)
)


def w_of_the_definition(scores):
    """Kendall's W with his correction for ties, by loops."""
    m, n = scores.shape
    sums, ties = np.zeros(n), 0.0
    for row in scores.tolist():
        for j, v in enumerate(row):
            sums[j] += sum(w < v for w in row) + (row.count(v) + 1) / 2
        ties += sum(row.count(v) ** 3 - row.count(v) for v in set(row))
    s = ((sums - m * (n + 1) / 2) ** 2).sum()
    return 12 * s / (m**2 * (n**3 - n) - m * ties)


@settings(max_examples=60)
@given(GRID)
def test_w_agrees_with_its_definition(scores):
    found = kendalls_w(scores, n_permutations=0)
    if all(len(set(row)) == 1 for row in scores.tolist()):
        assert np.isnan([found.w, found.statistic, found.p]).all()
        return
    assert found.w == pytest.approx(w_of_the_definition(scores), abs=1e-12)
    if scores.shape[1] > 2:  # W is Friedman's statistic, scaled
        wanted = scipy.stats.friedmanchisquare(*scores.T)
        assert found.statistic == pytest.approx(wanted.statistic, abs=1e-9)
        assert found.p == pytest.approx(wanted.pvalue, abs=1e-9)


@given(GRID)
def test_w_is_the_mean_correlation_of_raters_without_ties(scores):
    scores = scores + np.random.default_rng(0).uniform(0, 0.5, scores.shape)
    m = len(scores)
    ranks = row_ranks(scores)
    pairs = np.corrcoef(ranks)[np.triu_indices(m, 1)]
    assert kendalls_w(scores, 0).w == pytest.approx(((m - 1) * pairs.mean() + 1) / m)


def test_w_of_known_cases():
    agree = kendalls_w([[1, 2, 3, 4]] * 3)
    assert (agree.w, agree.statistic, agree.df) == (1, 9, 3)
    assert (agree.n_raters, agree.n_items) == (3, 4)
    # 4! ^ 2 pairs of shuffles beside the first, of which 1 in 576 agrees throughout.
    assert agree.p == pytest.approx(1 / 576, abs=1.5e-3)
    assert kendalls_w([[1, 2, 3], [3, 2, 1]]).w == 0
    assert kendalls_w([[1, 2, 3], [3, 2, 1]]).p == 1


@pytest.mark.parametrize("n_permutations", [9, 99])
def test_the_ranking_itself_is_one_of_the_shuffles(n_permutations):
    """No shuffle of five raters over eight items agrees throughout, and p is not 0."""
    found = kendalls_w([list(range(8))] * 5, n_permutations)
    assert found.w == 1
    assert found.p == pytest.approx(1 / (n_permutations + 1), abs=1e-12)


def test_p_by_permutation_is_near_chi_square_with_many_raters():
    rng = np.random.default_rng(1)
    scores = rng.normal(size=(25, 8)) + 0.25 * rng.normal(size=8)
    shuffled, chi = kendalls_w(scores), kendalls_w(scores, 0)
    assert shuffled.w == chi.w
    assert shuffled.p == pytest.approx(chi.p, abs=0.015)
    assert kendalls_w(scores) == shuffled
    assert kendalls_w(scores, seed=1).p != shuffled.p


def test_w_leaves_undefined_items_out():
    scores = np.random.default_rng(2).normal(size=(3, 6))
    holes = scores.copy()
    holes[1, 2] = np.nan
    assert kendalls_w(holes) == kendalls_w(np.delete(scores, 2, axis=1))
    for little in (holes[:1], np.full((3, 4), np.nan), np.ones((3, 4))):
        assert np.isnan(kendalls_w(little).w)


@settings(max_examples=40)
@given(
    hnp.arrays(
        np.float64,
        st.tuples(st.integers(1, 4), st.integers(2, 5), st.integers(1, 3)),
        elements=st.sampled_from([0.0, 1.0, 2.0, 3.0, np.nan]),
    )
)
def test_correlations_agree_with_scipy(scores):
    rho, n = mean_spearman(scores)
    n_metrics = scores.shape[-1]
    for u in range(n_metrics):
        for v in range(n_metrics):
            each = []
            for block in scores:
                both = ~np.isnan(block[:, u] + block[:, v])
                x, y = block[both, u], block[both, v]
                if len(x) > 1 and np.ptp(x) > 0 and np.ptp(y) > 0:
                    ranks = [scipy.stats.rankdata(x), scipy.stats.rankdata(y)]
                    each.append(np.corrcoef(ranks)[0, 1])
            assert n[u, v] == len(each)
            np.testing.assert_allclose(rho[u, v], np.mean(each) if each else np.nan, atol=1e-12)


@pytest.fixture
def measured():
    """Metrics up and down agree, noise does not; of two families."""
    rng = np.random.default_rng(5)
    quality = np.arange(5)[None] + rng.normal(0, 0.3, (40, 5))
    scores = {
        "up": quality,
        "down": -2 * quality + rng.normal(0, 0.3, (40, 5)),
        "noise": rng.normal(size=(40, 5)),
    }
    scores["up"][3, 2] = np.nan
    outcomes = {
        (f"E{e}", m): Outcome(score=s[:, e].astype(np.float32))
        for e in range(5)
        for m, s in scores.items()
    }
    directions = {"up": "higher", "down": "lower", "noise": "higher"}
    families = {"up": "faithfulness", "down": "faithfulness", "noise": "complexity"}
    return Results(outcomes, directions, families, np.arange(40), np.zeros(40, int))


def test_results_agree_within_families_and_over_all(measured):
    table = measured.agreement()
    assert list(table.index) == ["faithfulness", "all"]  # a family of one metric has no agreement
    assert table["n_metrics"].tolist() == [2, 3]
    assert table["n_explainers"].tolist() == [5, 5]
    assert table.loc["faithfulness", "w"] == pytest.approx(1)
    means = measured.means().to_numpy() * [1, -1, 1]
    assert table.loc["all", "w"] == pytest.approx(w_of_the_definition(means.T))
    assert 0 < table.loc["all", "p"] < 1
    assert measured.agreement(["up", "noise"]).index.tolist() == ["all"]


def test_results_agree_sample_by_sample(measured):
    row = measured.agreement(level="sample").loc["all"]
    cube = np.stack([[measured[f"E{e}", m].score for e in range(5)] for m in measured.metrics])
    cube = cube.astype(float) * np.array([1, -1, 1])[:, None, None]
    each = []
    for i in range(40):
        scores = cube[:, :, i]
        each.append(w_of_the_definition(scores[:, ~np.isnan(scores).any(axis=0)]))
    assert row["w"] == pytest.approx(np.mean(each))
    assert row["n_samples"] == 40
    assert row["n_explainers"] == pytest.approx(5 - 1 / 40)
    assert np.isnan(row["p"])


def test_results_correlate_metrics_with_directions_turned(measured):
    rho, n = measured.correlations(counts=True)
    assert list(rho.index) == list(rho.columns) == list(measured.metrics)
    assert rho.loc["up", "down"] > 0.9
    assert abs(rho.loc["up", "noise"]) < 0.3
    np.testing.assert_allclose(np.diag(rho), 1)
    assert (n == 40).all(axis=None)
    means = measured.correlations(over="means")
    assert means.loc["up", "down"] == pytest.approx(1)

    over, explainers = measured.correlations(["up", "down"], over="samples", counts=True)
    assert explainers.loc["up", "down"] == 5
    wanted = []
    for e in measured.explainers:
        x, y = (measured[e, m].score for m in ("up", "down"))
        both = ~np.isnan(x + y)
        wanted.append(scipy.stats.spearmanr(x[both], -y[both]).statistic)
    assert over.loc["up", "down"] == pytest.approx(np.mean(wanted))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda r: r.correlations(over="rows"), "over must be one of 'explainers'"),
        (lambda r: r.correlations(["up", "left"]), "no metric 'left'"),
        (lambda r: r.agreement(level="row"), "level must be"),
    ],
)
def test_refused(measured, call, words):
    with pytest.raises(ValueError, match=words):
        call(measured)
