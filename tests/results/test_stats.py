import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from jaxeval.results import bootstrap_mean_ci, explainer_ranks, mean_and_std, row_ranks

SMALL = st.sampled_from([-1.0, 0.0, 0.5, 2.0, np.nan])  # few values, so that ties are common


@given(hnp.arrays(np.float64, hnp.array_shapes(min_dims=2, max_dims=3, max_side=6), elements=SMALL))
def test_moments_leave_undefined_values_out(values):
    mean, std, n = mean_and_std(values)
    for at in np.ndindex(values.shape[1:]):
        column = values[(slice(None), *at)]
        column = column[~np.isnan(column)]
        assert n[at] == len(column)
        np.testing.assert_allclose(mean[at], column.mean() if len(column) else np.nan)
        np.testing.assert_allclose(std[at], column.std(ddof=1) if len(column) > 1 else np.nan)


@pytest.mark.parametrize("confidence", [0.8, 0.95])
@pytest.mark.parametrize("draw", ["normal", "exponential"])
def test_bootstrap_agrees_with_scipy(draw, confidence):
    x = getattr(np.random.default_rng(1), draw)(size=120)
    ours = bootstrap_mean_ci(x, confidence, n_bootstrap=5000)
    scipys = scipy.stats.bootstrap(
        (x,),
        np.mean,
        confidence_level=confidence,
        n_resamples=5000,
        method="percentile",
        random_state=np.random.default_rng(2),  # `rng` since SciPy 1.15
    ).confidence_interval
    # The 2.5 % quantile of 5000 resamples itself varies by about 4 % of a standard error.
    error = x.std(ddof=1) / np.sqrt(len(x))
    np.testing.assert_allclose(ours, scipys, atol=0.2 * error)


def test_bootstrap_covers_the_mean_as_often_as_it_says():
    x = np.random.default_rng(3).normal(size=(60, 400))
    low, high = bootstrap_mean_ci(x, 0.9, n_bootstrap=400)
    assert 0.84 < np.mean((low < 0) & (high > 0)) < 0.94


def test_bootstrap_is_paired_and_leaves_undefined_values_out():
    rng = np.random.default_rng(4)
    x = rng.normal(size=(50, 3))
    x[:, 1] = x[:, 0] + 3
    x[::4, 2] = np.nan
    low, high = bootstrap_mean_ci(x)
    np.testing.assert_allclose([low[1] - low[0], high[1] - high[0]], 3)
    alone = bootstrap_mean_ci(x[~np.isnan(x[:, 2]), 2])
    np.testing.assert_array_equal([low[2], high[2]], alone)
    np.testing.assert_array_equal(bootstrap_mean_ci(x), (low, high))
    assert bootstrap_mean_ci(x, seed=1)[0][0] != low[0]


def test_bootstrap_of_little_or_constant_values():
    x = np.array([[0.1, np.nan, np.inf, np.nan], [0.1, 5.0, 1.0, np.nan]])
    low, high = bootstrap_mean_ci(x)
    assert low[0] == high[0] == 0.1
    assert np.isnan([low[1:], high[1:]]).all()
    assert np.isnan(bootstrap_mean_ci(np.zeros((0, 2)))).all()


def test_bootstrap_of_many_samples_goes_in_blocks(monkeypatch):
    x = np.random.default_rng(5).normal(size=(10_000, 2))
    monkeypatch.setattr("jaxeval.results.stats._CHUNK", 300_000)
    low, high = bootstrap_mean_ci(x, n_bootstrap=200)
    np.testing.assert_allclose((high - low) / 2, 1.96 * 0.01, rtol=0.25)


@pytest.mark.parametrize("wrong", [{"confidence": 1.0}, {"confidence": 95}, {"n_bootstrap": 0}])
def test_bootstrap_refuses(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        bootstrap_mean_ci(np.arange(3.0), **wrong)


@settings(max_examples=60)
@given(
    hnp.arrays(np.float64, st.tuples(st.integers(1, 7), st.integers(1, 4)), elements=SMALL),
    st.data(),
)
def test_ranks_agree_with_scipy(scores, data):
    directions = data.draw(
        st.lists(
            st.sampled_from(["higher", "lower"]),
            min_size=scores.shape[1],
            max_size=scores.shape[1],
        )
    )
    ranks = explainer_ranks(scores, directions)
    for j, direction in enumerate(directions):
        signed = scores[:, j] if direction == "lower" else -scores[:, j]
        wanted = scipy.stats.rankdata(signed, method="average", nan_policy="omit")
        np.testing.assert_array_equal(ranks[:, j], wanted)
        np.testing.assert_array_equal(explainer_ranks(scores[:, j], direction), wanted)


def test_ranks_take_infinities_and_refuse_what_does_not_fit():
    assert explainer_ranks([np.inf, 1, -np.inf], "lower").tolist() == [3, 2, 1]
    with pytest.raises(ValueError, match="upwards"):
        explainer_ranks([1.0], "upwards")
    with pytest.raises(ValueError, match="2 columns"):
        explainer_ranks(np.zeros((3, 3)), ["higher", "lower"])


def test_one_rule_for_ties():
    """What ties with one of a group ties with all of it, in whatever order and direction."""
    t = 1e-6
    chain = np.array([1.0, 1 - 0.8 * t, 1 - 1.6 * t, 0.5])
    for direction, wanted in (("higher", [2, 2, 2, 4]), ("lower", [3, 3, 3, 1])):
        assert explainer_ranks(chain, direction, t).tolist() == wanted
        assert explainer_ranks(chain[::-1], direction, t).tolist() == wanted[::-1]
    assert row_ranks(-chain, t).tolist() == [2, 2, 2, 4]


@settings(max_examples=60)
@given(hnp.arrays(np.float64, st.tuples(st.integers(1, 6), st.integers(1, 4)), elements=SMALL))
def test_ranks_with_ties_are_ranks(scores):
    """They add up, agree with `row_ranks`, and respect the order."""
    ranks = explainer_ranks(scores, "lower", 0.2)
    np.testing.assert_array_equal(ranks, row_ranks(scores.T, 0.2).T)
    there = ~np.isnan(scores)
    n = there.sum(0)
    np.testing.assert_allclose(np.where(there, ranks, 0).sum(0), n * (n + 1) / 2)
    for i, j in np.ndindex(len(scores), len(scores)):
        assert not ((scores[i] < scores[j]) & (ranks[i] > ranks[j])).any()
