"""The draws of the tests: their distribution, what they belong to, and what they leave alone."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

import jaxeval as je
from jaxeval.meta.controls import control
from jaxeval.meta.perturbations import KINDS

KEY = jax.random.key(3)


def test_every_trained_parameter_is_multiplied_by_normal_noise():
    params = {"params": {"w": jnp.full((200, 30), 2.0), "b": jnp.zeros(4)}, "stats": jnp.ones(3)}
    model = je.Model(lambda p, x: x @ p["params"]["w"], params)
    test = je.ModelNoise(minor=0.1, disruptive=0.5)
    seen = []
    for kind in KINDS:
        for p in range(2):
            new = test.model(model, KEY, kind, p).params
            z = (np.asarray(new["params"]["w"]) / 2 - 1).ravel() / getattr(test, kind)
            assert scipy.stats.kstest(z, "norm").pvalue > 1e-3
            np.testing.assert_array_equal(new["params"]["b"], 0)
            np.testing.assert_array_equal(new["stats"], 1)
            seen.append(z)
    assert np.abs(np.corrcoef(seen) - np.eye(4)).max() < 0.1
    again = test.model(model, KEY, KINDS[1], 1).params["params"]["w"]
    np.testing.assert_array_equal(np.asarray(again).ravel() / 2 - 1, seen[-1] * np.float32(0.5))


def test_the_order_of_parameters_in_a_dict_does_not_matter():
    a, b = jnp.ones((3, 2)), jnp.ones(5)
    first, second = ({"a": a, "b": b}, {"b": b, "a": a})
    noisy = [
        je.ModelNoise().model(je.Model(jnp.dot, p), KEY, "disruptive", 0).params
        for p in (first, second)
    ]
    for name in ("a", "b"):
        np.testing.assert_array_equal(noisy[0][name], noisy[1][name])


def test_parameters_keep_their_type():
    params = {"w": jnp.ones(3, jnp.bfloat16), "n": jnp.arange(2)}
    new = je.ModelNoise().model(je.Model(jnp.dot, params), KEY, "minor", 0).params
    assert new["w"].dtype == jnp.bfloat16
    np.testing.assert_array_equal(new["n"], params["n"])


def test_noise_of_inputs_is_uniform_and_floored_by_the_sample_itself():
    x = np.random.default_rng(0).normal(size=(4, 2, 40, 40)).astype(np.float32)
    x[1] += 100
    test, ids = je.InputNoise(minor=0.5, disruptive=3.0), np.arange(4)
    low = test.inputs(x, None, KEY, ids, "minor", 0)
    u = (low - x)[0][x[0] > x[0].min() + 1] / 0.5  # where the floor is out of reach
    assert scipy.stats.kstest(u, "uniform", (-1, 2)).pvalue > 1e-3
    high = test.inputs(x, None, KEY, ids, "disruptive", 0)
    np.testing.assert_array_equal(high.min((1, 2, 3)), x.min((1, 2, 3)))
    assert high.max() > x.max()  # there is no ceiling
    # A sample's noise is its own, wherever it stands.
    other = test.inputs(x[[2, 0]], None, KEY, ids[[2, 0]], "disruptive", 0)
    np.testing.assert_array_equal(other, high[[2, 0]])
    assert not np.array_equal(test.inputs(x, None, KEY, ids, "disruptive", 1), high)


def test_permutations_are_such_and_belong_to_the_samples():
    test, ids = je.MapNoise(), np.arange(50)
    order = test.permutations("e", (3, 4), KEY, ids, 0)
    np.testing.assert_array_equal(np.sort(order, 1), np.tile(np.arange(12), (50, 1)))
    assert len({row.tobytes() for row in order}) == 50
    np.testing.assert_array_equal(test.permutations("e", (3, 4), KEY, ids[7:9], 0), order[7:9])
    maps = np.random.default_rng(0).normal(size=(50, 3, 4)).astype(np.float32)
    maps[4] = 0
    same = test.blended(maps, order, 0.0)
    np.testing.assert_allclose((same**2).mean((1, 2)), np.arange(50) != 4, rtol=1e-6)
    moved = test.blended(maps, order, 1.0)
    np.testing.assert_allclose(np.sort(moved.ravel()), np.sort(same.ravel()), rtol=1e-6)
    half = test.blended(maps, order, 0.5)
    np.testing.assert_allclose(half, (same + moved) / 2, atol=1e-6)


@pytest.mark.parametrize("make", [je.ModelNoise, je.InputNoise])
def test_no_noise_changes_nothing(make):
    test = make(minor=0.0)
    w, x = jnp.ones((3, 2)), np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    if make is je.ModelNoise:
        np.testing.assert_array_equal(test.model(je.Model(jnp.dot, w), KEY, "minor", 0).params, w)
    else:
        np.testing.assert_array_equal(test.inputs(x, None, KEY, np.arange(5), "minor", 0), x)
    assert dataclasses.replace(test, disruptive=1.0).disruptive == 1.0


def test_random_scores_are_uniform_and_independent():
    ids, key = np.arange(5000), np.array([0, 3], np.uint32)
    found = [control("Random", key, ids, 3, at) for at in ((), (1, 0), (1, 1), (2, 0))]
    rows = np.concatenate(found)
    assert all(scipy.stats.kstest(row, "uniform").pvalue > 1e-3 for row in rows)
    assert np.abs(np.corrcoef(rows) - np.eye(len(rows))).max() < 0.06
    np.testing.assert_array_equal(control("Random", key, ids[::-1], 3, (2, 0)), found[3][:, ::-1])


def test_padding_stays_in_its_place():
    """Only the features that count are permuted and scaled, as in maps cut to their lengths."""
    test, ids, key = je.MapNoise(), np.arange(40), jax.random.key(0)
    rng = np.random.default_rng(3)
    counts = np.arange(9) < rng.integers(1, 10, 40)[:, None]
    maps = np.where(counts, rng.normal(size=(40, 9)), 0)
    order = test.permutations("a", (9,), key, ids, 1, counts)
    assert (order != np.arange(9)).any()
    np.testing.assert_array_equal(np.sort(order, axis=1), np.tile(np.arange(9), (40, 1)))
    np.testing.assert_array_equal(order[~counts], np.tile(np.arange(9), (40, 1))[~counts])
    noisy = test.blended(maps, order, 0.5, counts)
    for a, o, c, got in zip(maps, order, counts, noisy, strict=True):
        n = c.sum()
        b = a[:n] / np.sqrt((a[:n] ** 2).mean())
        np.testing.assert_allclose(got[:n], 0.5 * b + 0.5 * b[o[:n]], rtol=1e-12)
        assert not got[n:].any()
    all_of = np.ones((40, 9), bool)
    whole = test.permutations("a", (9,), key, ids, 1)
    np.testing.assert_array_equal(test.permutations("a", (9,), key, ids, 1, all_of), whole)
    given = je.MapNoise(draws=np.tile(np.arange(9)[::-1], (2, 40, 1)))
    reverse = given.permutations("a", (9,), key, ids, 0, counts)
    for o, c in zip(reverse, counts, strict=True):
        assert o[: c.sum()].tolist() == [*range(c.sum())][::-1]
