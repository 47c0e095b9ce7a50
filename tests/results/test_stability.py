import itertools

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from jaxeval.results import Results, kendall_tau, rank_shares, row_ranks
from jaxeval.results.stability import fields_of, reversals
from jaxeval.types import Outcome

FEW = st.sampled_from([0.0, 1.0, 2.0, 3.0, np.nan])


@given(hnp.arrays(np.float64, st.tuples(st.integers(1, 5), st.integers(1, 6)), elements=FEW))
def test_shares_are_those_of_breaking_ties_in_every_way(scores):
    ranks = row_ranks(scores.T).T
    wanted = np.zeros((len(scores),) * 2)
    for column in scores.T:
        there = np.flatnonzero(~np.isnan(column))
        orders = [
            o
            for o in itertools.permutations(there)
            if list(column[list(o)]) == sorted(column[there])
        ]
        for order in orders:
            for place, e in enumerate(order):
                wanted[e, place] += 1 / len(orders)
    n = (~np.isnan(scores)).sum(axis=1, keepdims=True)
    with np.errstate(invalid="ignore"):
        np.testing.assert_allclose(rank_shares(ranks), wanted / n, atol=1e-12)


@given(hnp.arrays(np.float64, st.tuples(st.just(2), st.integers(2, 7)), elements=FEW))
def test_tau_agrees_with_scipy(pair):
    a, b = pair[:, ~np.isnan(pair).any(axis=0)]
    wanted = scipy.stats.kendalltau(a, b).statistic if len(a) > 1 else np.nan
    np.testing.assert_allclose(kendall_tau(*pair), wanted, atol=1e-12)


def test_reversals():
    assert reversals([1, 2, 3], [3, 2, 1]) == 1
    assert reversals([1, 2, 3], [1, 3, 2]) == pytest.approx(1 / 3)
    assert reversals([1, 2, np.nan], [1, 1, 1]) == 0
    assert np.isnan(reversals([1], [1]))


def test_fields_are_flat_text():
    described = {"class": "X", "a": [1, 2], "n": {"class": "Noise", "std": 0.1},
                 "b": {"array": "float32[3]", "digest": "abc"}}  # fmt: skip
    assert fields_of(described) == {
        "a": "[1, 2]",
        "n.class": '"Noise"',
        "n.std": "0.1",
        "b": '{"array": "float32[3]", "digest": "abc"}',
    }
    assert fields_of(None) == {}


def study(effect):
    """Results of a grid: metric of baseline x size, with the scores effect(e, baseline, size)."""
    outcomes, described = {}, {}
    for baseline, size in itertools.product(("black", "mean"), (1, 10, 25)):
        name = f"Flip[{baseline},{size}]"
        described[name] = {"class": "Flip", "baseline": baseline, "size": size, "n_steps": 8}
        for e in range(4):
            score = np.float32([effect(e, baseline, size)] * 3) + np.float32([-1, 0, 1]) / 64
            outcomes[f"E{e}", name] = Outcome(score=score)
    described["Alone"] = {"class": "Alone"}
    for e in range(4):
        outcomes[f"E{e}", "Alone"] = Outcome(score=np.float32([e, e, e]))
    directions = dict.fromkeys(described, "lower")
    return Results(
        outcomes, directions, dict.fromkeys(directions, "f"), np.arange(3), np.zeros(3, int),
        settings={"metrics": described},
    )  # fmt: skip


def test_a_ranking_that_settings_do_not_touch_is_stable():
    r = study(lambda e, baseline, size: e + size + (5 if baseline == "mean" else 0))
    table = r.rank_stability()
    assert list(table.index) == [("Flip", f"E{e}") for e in range(4)]
    np.testing.assert_array_equal(table[[1, 2, 3, 4]], np.eye(4))
    assert table["mean rank"].tolist() == [1, 2, 3, 4]
    assert table["std"].tolist() == [0] * 4
    assert table["n"].tolist() == [6] * 4

    rows = r.sensitivity().set_index("parameter")
    assert list(rows.index) == ["baseline", "size"]  # n_steps does not vary
    assert rows["n_values"].tolist() == [2, 3]
    assert rows["n_pairs"].tolist() == [3, 6]
    assert rows["kendall_tau"].tolist() == [1, 1]
    assert rows["reversals"].tolist() == [0, 0]
    assert rows["first_changes"].tolist() == [0, 0]
    np.testing.assert_allclose(rows["score_change"], [5, (9 + 24 + 15) / 3])
    # An additive effect on a full grid splits the variance.
    assert rows["score_share"].sum() == pytest.approx(1)
    size = np.var([1, 10, 25])
    assert rows.loc["size", "score_share"] == pytest.approx(size / (size + np.var([0, 5])))


def test_a_ranking_that_one_parameter_turns():
    r = study(lambda e, baseline, size: e if baseline == "black" else -e)
    table = r.rank_stability().loc["Flip"]
    np.testing.assert_array_equal(table[[1, 2, 3, 4]], (np.eye(4) + np.eye(4)[::-1]) / 2)
    assert table["mean rank"].tolist() == [2.5] * 4

    rows = r.sensitivity().set_index("parameter")
    assert rows.loc["baseline", "kendall_tau"] == -1
    assert rows.loc["baseline", "reversals"] == 1
    assert rows.loc["baseline", "first_changes"] == 1
    assert rows.loc["baseline", "score_share"] == pytest.approx(1)
    assert rows.loc["size", "kendall_tau"] == 1
    assert rows.loc["size", "score_share"] == pytest.approx(0)

    values = r.sensitivity(per="value").set_index(["parameter", "value"])
    assert list(values.loc["baseline"].index) == ['"black"', '"mean"']
    assert values.loc[("baseline", '"black"'), "first"] == "E0"
    assert values.loc[("baseline", '"mean"'), "first"] == "E3"
    assert values.loc[("baseline", '"black"'), "mean"] == pytest.approx(1.5)
    assert values.loc[("baseline", '"black"'), "change"] == pytest.approx(1.5)
    assert values.loc[("size", "10"), "n_settings"] == 2
    # Over all settings no explainer leads: the mean ranks tie, and tau has nothing to compare.
    assert np.isnan(values.loc[("baseline", '"mean"'), "kendall_tau"])
    assert values.loc[("baseline", '"mean"'), "rank_change"] == pytest.approx(1)


def test_rankings_of_samples_and_groups_of_ones_own():
    r = study(lambda e, baseline, size: e)
    assert r.rank_stability(level="sample")["n"].tolist() == [18] * 4
    own = r.rank_stability({"all": ["Alone", "Flip[black,1]"]})
    assert own.loc[("all", "E2"), 3] == 1
    with pytest.raises(ValueError, match="no metric 'Other'"):
        r.rank_stability({"x": ["Other"]})
    with pytest.raises(ValueError, match="level must be"):
        r.rank_stability(level="row")
    with pytest.raises(ValueError, match="per must be"):
        r.sensitivity(per="metric")


def test_undefined_explainers_hold_no_rank():
    r = study(lambda e, baseline, size: np.nan if e == 1 and size == 10 else e + size)
    table = r.rank_stability().loc["Flip"]
    assert table["n"].tolist() == [6, 4, 6, 6]
    assert table["n_undefined"].tolist() == [0, 2, 0, 0]
    assert table.loc["E3", 4] == pytest.approx(4 / 6)
    assert table.loc["E3", 3] == pytest.approx(2 / 6)
    assert r.sensitivity().notna().all(axis=None)


def test_without_settings_there_is_nothing_to_study():
    r = study(lambda e, baseline, size: e)
    plain = Results(r.outcomes, r.directions, r.families, r.index, r.y)
    for call in (plain.rank_stability, plain.sensitivity):
        with pytest.raises(ValueError, match="several settings"):
            call()
