"""Whatever is random takes its draws from the caller, and says what it draws."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import jaxeval as je
from tests.cases import ROWS, ask_spy, draws_of, metric_of
from tests.contracts.runs import ALL, BATCH, DRAWING, assert_same, base, score, together, tolerance
from tests.world import KEY, N, world


@pytest.mark.parametrize("row", [row for row in ALL if ROWS[row].random])
def test_what_is_random_takes_draws(row):
    assert "draws" in [field.name for field in dataclasses.fields(ROWS[row].metric)]


@pytest.mark.parametrize("row", DRAWING)
def test_draws_shared_by_all_samples_equal_the_same_given_to_each(row):
    w, r = world(), ROWS[row]
    draws = draws_of(row, r.metric, w, shared=True)
    shared = score(dataclasses.replace(r.metric, draws=draws))
    assert not np.isnan(shared.score).all()
    if r.per_sample_draws:
        each = np.broadcast_to(draws, (N, *np.shape(draws)))
        assert_same(score(dataclasses.replace(r.metric, draws=each)), shared, row)
    other_key = score(dataclasses.replace(r.metric, draws=draws), key=KEY + 1)
    assert_same(other_key, shared, f"{row}: the key must not matter")


@together
@pytest.mark.parametrize("row", [row for row in DRAWING if ROWS[row].recover])
def test_own_draws_given_back_give_the_same_scores(row):
    """They are seen in the library's questions."""
    w, r = world(), ROWS[row]
    m = r.metric
    own, spy = ask_spy(row, m, w)
    draws = r.recover(w, w.x, spy.classes if r.explains else None, spy.queries)
    kept = {"a": w.maps["smooth"]} if not r.explains else {"explainer": w.explainer}
    got = je.score(
        dataclasses.replace(m, draws=draws),
        w.model,
        w.x,
        w.y,
        mask=w.mask,
        key=KEY + 1,
        batch_size=BATCH,
        **kept,
    )
    assert_same(got, own, row, rtol=tolerance(row), atol=1e-5)
    assert_same(own, base()["entries", row], row, rtol=tolerance(row), atol=1e-5)


def test_a_random_baseline_of_a_ranked_deletion_is_drawn_once():
    w, m = world(), dataclasses.replace(metric_of("PixelFlipping"), baseline="uniform")
    _, spy = ask_spy("PixelFlipping", m, w)
    changed = spy.queries != w.x[:, None]
    assert (np.diff(changed.astype(int), axis=1) >= 0).all()
    last = spy.queries[:, -1:]
    np.testing.assert_array_equal(spy.queries, np.where(changed, last, w.x[:, None]))
    assert 0 <= last.min() < 0.05 < 0.95 < last.max() <= 1
    assert len(np.unique(last)) > 0.99 * last.size  # samples and entries have their own


def test_a_random_baseline_of_random_subsets_is_drawn_anew():
    w, m = world(), dataclasses.replace(metric_of("FaithfulnessCorrelation"), baseline="uniform")
    _, spy = ask_spy("FaithfulnessCorrelation", m, w)
    new = spy.queries[spy.queries != w.x[:, None]]
    assert new.size == N * m.n_runs * m.subset_size
    assert len(np.unique(new)) > 0.99 * new.size
    assert 0 <= new.min() <= new.max() <= 1


def test_noise_has_the_distribution_that_was_promised():
    """Uniform in [-r, r], and normal with std: moments of 7 x 6 x 128 draws, all of them apart."""
    w = world()
    for row, std in (("MaxSensitivity", 0.2 / np.sqrt(3)), ("LocalLipschitz", 0.1)):
        _, spy = ask_spy(row, metric_of(row), w)
        noise = spy.queries - w.x[:, None]
        assert abs(noise.mean()) < 4 * std / np.sqrt(noise.size)
        np.testing.assert_allclose(noise.std(), std, rtol=0.05)
        flat = noise.reshape(-1, w.x[0].size)
        assert np.abs(np.corrcoef(flat) - np.eye(len(flat))).max() < 0.5
        if row == "MaxSensitivity":
            assert 0.19 < np.abs(noise).max() <= 0.2 + 1e-6
