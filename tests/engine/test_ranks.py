"""Metrics that compare ranks get those of each map, which are computed once."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

import jaxeval as je
from jaxeval.engine.rehearsal import Rehearsal, watching
from jaxeval.types import pytree

X = np.random.default_rng(0).normal(size=(4, 12)).astype(np.float32)
W = np.random.default_rng(1).normal(size=(12, 3)).astype(np.float32)
MODEL = je.Model(lambda p, x: jnp.tanh(x @ p["out"]), {"out": W}, channel_axis=None)
GIVEN = {"g": je.explain.Gradient()}
NAMES = ("AverageStability", "MPRT", "QGE", "Reversed")


@pytree
class Reversed(je.AverageStability):
    """Compares the reverse of the clean map."""

    def measure(self, sample, reference, query, answer):
        return super().measure(dataclasses.replace(sample, a=-sample.a), reference, query, answer)


def metrics(names=NAMES):
    stability = je.AverageStability(n_samples=6)
    known = {
        "AverageStability": stability,
        "MPRT": je.MPRT(),
        "QGE": je.QGE(metric=stability, inverse="sign"),
        "Reversed": Reversed(n_samples=6),
    }
    return {name: known[name] for name in names}


def evaluate(names=NAMES):
    return je.evaluate(
        MODEL, X, explainers=GIVEN, metrics=metrics(names), batch_size=4, progress=False
    )


@pytest.fixture(scope="module")
def together():
    return evaluate()


def test_the_clean_map_is_ranked_once_a_block():
    rehearsal = Rehearsal("cpu")
    with watching(rehearsal):
        evaluate(["AverageStability"])
    calls = {p.name: p.calls for p in rehearsal.programs}
    assert calls["measure"] == 6
    assert calls["rank"] == 1 + calls["measure"]


@pytest.mark.parametrize("name", NAMES)
def test_the_same_scores_as_from_maps(together, name):
    """Ranks of a map are not used for another one that a metric makes of it."""
    f = je.as_function(metrics()[name], MODEL, GIVEN["g"])
    found = np.asarray(together["g", name].score)
    y = np.asarray(MODEL(X)).argmax(-1)
    expected = [f(X[i], y[i], None, 0, i).score for i in range(len(X))]
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_the_reverse_is_as_far_on_the_other_side(together):
    own, reverse = (np.asarray(together["g", k].score) for k in ("AverageStability", "Reversed"))
    np.testing.assert_allclose(own + reverse, 2, atol=1e-5)
    np.testing.assert_allclose(np.asarray(together["g", "QGE"].score), 0, atol=1e-5)
