"""A metric of one's own, on hidden layers: what it sees, what is asked, what is compiled."""

import jax.numpy as jnp
import numpy as np
import pytest

import jaxeval as je
from jaxeval.engine import TRACES
from jaxeval.perturb import Noise


def hidden(p, x):
    h = jnp.tanh(x @ p["first"])
    return h @ p["second"], {"first": h}


RNG = np.random.default_rng(0)
PARAMS = {
    "first": RNG.normal(size=(6, 5)).astype(np.float32),
    "second": RNG.normal(size=(5, 3)).astype(np.float32),
}
X = RNG.normal(size=(7, 6)).astype(np.float32)
NOISE = RNG.normal(size=(4, 6)).astype(np.float32)


@je.pytree
class HiddenShift(je.Metric):
    """The mean distance of a hidden layer under given noise."""

    family = "robustness"
    direction = "lower"
    asks = frozenset({"hidden"})
    reference = "none"

    def questions(self):
        return Noise(draws=NOISE)

    def measure(self, sample, reference, query, answer):
        return jnp.abs(reference.hidden["first"] - answer.hidden["first"]).sum()

    def reduce(self, sample, reference, measured, valid):
        return je.Outcome(score=measured.mean())


def wanted():
    h = np.tanh(X @ PARAMS["first"])
    moved = np.tanh((X[:, None] + NOISE) @ PARAMS["first"])
    return np.abs(moved - h[:, None]).sum(-1).mean(1)


@pytest.mark.parametrize("batch_size", [2, 7, None])
def test_hidden_layers_are_asked_and_measured(batch_size):
    model = je.Model(lambda p, x: hidden(p, x)[0], PARAMS, hidden=hidden)
    scores = HiddenShift()(model, X, a=X, batch_size=batch_size)
    np.testing.assert_allclose(scores, wanted(), rtol=1e-5, atol=1e-6)


def test_hidden_layers_are_one_more_forward_program_and_are_counted():
    model = je.Model(lambda p, x: hidden(p, x)[0], PARAMS, hidden=hidden)
    before = TRACES["forward"]
    results = je.evaluate(
        model,
        X,
        explainers={"x": X, "2x": 2 * X},
        metrics={"hidden": HiddenShift(), "deletion": je.Deletion(n_steps=3)},
        batch_size=7,
        progress=False,
    )
    assert TRACES["forward"] - before == 2
    assert results.asked["hidden"] == 7 + 4 * 7  # the noise is asked once for both explainers
    assert results.asked["output"] == 7 + 4 * 7 + 2 * 3 * 7
    assert results.asked["naive"]["hidden"] == 2 * (7 + 4 * 7)


def test_a_model_without_hidden_layers_is_refused():
    model = je.Model(lambda p, x: hidden(p, x)[0], PARAMS)
    with pytest.raises(ValueError, match=r"looks at hidden layers: give Model\(hidden="):
        HiddenShift()(model, X, a=X)
