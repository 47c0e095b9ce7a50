"""QGE: the score of a map minus that of its inverse, as two runs would give it."""

from __future__ import annotations

import jax
import numpy as np
import pytest

import jaxeval as je
from jaxeval.metrics.qge import swapped
from tests.meta.world import FEATURES, MODEL, X

GONE = {"baseline": 0.0}
INNER = {
    "flipping": je.PixelFlipping(n_steps=4, **GONE),
    "srg": je.SRG(n_steps=4, **GONE),
    "correlation": je.FaithfulnessCorrelation(n_runs=6, subset_size=3, **GONE),
    "sensitivity": je.MaxSensitivity(n_samples=2, radius=0.1),
    "sparseness": je.Sparseness(),
}


def by_hand(a):
    """Entry by entry: who is k-th gets what who is k-th from the other end had."""
    out, order = np.empty_like(a), np.argsort(a, kind="stable")
    for k, i in enumerate(order):
        out[i] = a[order[len(a) - 1 - k]]
    return out


def explainer(model, x, y, keys):
    return je.explain.InputXGradient()(model, x, y, keys)


INVERSE = {
    "swap": lambda m, x, y, k: jax.vmap(swapped)(explainer(m, x, y, k)),
    "sign": lambda m, x, y, k: -explainer(m, x, y, k),
}


@pytest.mark.parametrize("how", ["swap", "sign"])
def test_equal_to_the_difference_of_two_runs(how):
    gaps = {f"gap {k}": je.QGE(metric=m, inverse=how) for k, m in INNER.items()}
    first = je.evaluate(
        MODEL, X, explainers={"e": explainer}, metrics={**INNER, **gaps}, progress=False
    )
    other = je.evaluate(MODEL, X, explainers={"e": INVERSE[how]}, metrics=INNER, progress=False)
    for k, m in INNER.items():
        got, one, two = first["e", f"gap {k}"], first["e", k], other["e", k]
        # Maps are of size 1, and so are scores and their roundings.
        np.testing.assert_allclose(got.score, one.score - two.score, rtol=1e-4, atol=1e-5)
        if one.curve is not None:
            np.testing.assert_allclose(got.curve, one.curve - two.curve, rtol=1e-4, atol=1e-5)
        assert first.directions[f"gap {k}"] == m.direction
        assert first.families[f"gap {k}"] == m.family
    assert (first["e", "gap flipping"].score < 0).mean() > 0.5  # lower is better
    assert not first["e", "gap sparseness"].score.any()


def test_questions_that_do_not_read_the_map_are_asked_once():
    metric = INNER["correlation"]
    results = je.evaluate(
        MODEL, X, explainers={"e": explainer}, progress=False,
        metrics={"one": metric, "gap": je.QGE(metric=metric)},
    )  # fmt: skip
    assert results.asked["output"] == len(X) * (1 + 6)


def test_the_swapped_map():
    a = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    np.testing.assert_array_equal(swapped(a), by_hand(a.ravel()).reshape(3, 4))
    where = np.ones((3, 4), bool)
    where[:, 3] = False
    found = np.asarray(swapped(a, where))
    np.testing.assert_array_equal(found[:, 3], a[:, 3])
    np.testing.assert_array_equal(found[:, :3].ravel(), by_hand(a[:, :3].ravel()))


def test_padding_does_not_count():
    padding = np.zeros((len(X), FEATURES), bool)
    padding[:, -3:] = True
    model = je.Model(
        lambda w, x: x[:, : FEATURES - 3] @ w, np.eye(FEATURES - 3, 3, dtype=np.float32) + 0.1
    )
    gap, given = je.QGE(metric=INNER["flipping"]), {"y": np.zeros(len(X), int)}
    a = np.abs(X) + 1
    whole = je.score(gap, model, X, a=a, padding=padding, **given).score
    cut = je.Model(lambda w, x: x @ w, model.params)
    short = je.score(gap, cut, X[:, :-3], a=a[:, :-3], **given).score
    np.testing.assert_allclose(whole, short, rtol=1e-4, atol=1e-5)


def test_what_has_no_gap_is_refused():
    with pytest.raises(TypeError, match="must be a jaxeval metric"):
        je.QGE()
    with pytest.raises(ValueError, match="no gap for each sample"):
        je.QGE(metric=je.Consistency())
    with pytest.raises(ValueError, match="inverse='turn'"):
        je.QGE(metric=je.Sparseness(), inverse="turn")
    with pytest.raises(ValueError, match="a gap has no tolerance"):
        je.QGE(metric=je.PGI(tolerance=0.1))


def test_the_class_score_is_that_of_the_metric_inside():
    """Metrics that score logits take a model's own outputs where it has none."""
    w = np.abs(X[:3].T)
    model = je.Model(
        lambda w, x: jax.nn.softmax(x @ w), w, channel_axis=None, outputs="probabilities"
    )
    metric = INNER["correlation"]
    gap = je.QGE(metric=metric, inverse="sign")
    given = {"y": np.zeros(len(X), int)}
    found = je.score(gap, model, X, a=X, **given).score
    want = [np.asarray(je.score(metric, model, X, a=a, **given).score) for a in (X, -X)]
    np.testing.assert_allclose(found, want[0] - want[1], rtol=1e-4, atol=1e-5)
