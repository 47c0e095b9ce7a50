"""A fault of the rewriting is an error in tests, and a warning for users, who get their scores."""

from __future__ import annotations

import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import jaxeval as je
from jaxeval.cpu import Rewritten, convolution, faults, rewrite, suited

pytestmark = pytest.mark.skipif(jax.default_backend() != "cpu", reason="of CPUs")
X = jnp.asarray(np.random.default_rng(0).normal(size=(3, 1, 6, 6)), jnp.float32)


def fails(*given: Any, **named: Any) -> Any:
    raise ZeroDivisionError("a fault")


def network() -> je.Model:
    """One that no earlier test has had rewritten."""
    w = jnp.asarray(np.random.default_rng(1).normal(size=(4, 1, 3, 3)), jnp.float32)
    return je.Model(lambda w, x: jnp.tanh(lax.conv(x, w, (1, 1), "SAME")).mean((2, 3)), w)


FAULTS = {
    "choosing": lambda patch: patch.setitem(rewrite.RULES, "conv_general_dilated", fails),
    "computing": lambda patch: [
        patch.setattr(convolution.Convolution, way, fails) for way in ("unfolded", "banded")
    ],
}


@pytest.fixture(params=FAULTS)
def _fault(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    FAULTS[request.param](monkeypatch)


@pytest.fixture
def _lenient(monkeypatch: pytest.MonkeyPatch) -> None:
    """As users have it, who were not warned yet."""
    monkeypatch.delenv(faults.STRICT, raising=False)
    monkeypatch.setattr(faults, "_warned", False)


Y = np.zeros(len(X), np.int32)
WAYS = {
    "model": lambda model: suited(model, X[0], "cpu")(X),
    "explainer": lambda model: je.explain.Gradient()(model, X, Y),
    "score": lambda model: je.score(
        je.PixelFlipping(n_steps=2), model, np.asarray(X), Y, np.asarray(X)
    ),
}


@pytest.mark.usefixtures("_fault")
@pytest.mark.parametrize("way", WAYS)
def test_faults_are_raised_in_tests(way: str) -> None:
    with pytest.raises((ZeroDivisionError, je.EvaluationError), match="a fault"):
        WAYS[way](network())


@pytest.mark.usefixtures("_fault", "_lenient")
def test_users_are_warned_once_and_get_the_model_as_it_is_written() -> None:
    model = network()
    with pytest.warns(UserWarning, match=r"failed to rewrite.*ZeroDivisionError: a fault.*report"):
        out = WAYS["model"](model)
    np.testing.assert_array_equal(out, model(X))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        a, score = (WAYS[way](network()) for way in ("explainer", "score"))
    wanted = jax.grad(lambda x: model(x)[:, 0].sum())(X)
    np.testing.assert_allclose(a, wanted, atol=1e-6)
    assert np.isfinite(score.score).all()


def test_a_model_that_fails_is_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    monkeypatch.setattr(rewrite, "fall_back", calls.append)
    model = je.Model(fails, {})
    assert suited(model, X[0], "cpu") is model
    with pytest.raises(ZeroDivisionError):
        Rewritten(fails)({}, X)

    @jax.custom_jvp
    def tanh(x: Any) -> Any:
        return jnp.tanh(x)

    tanh.defjvp(fails)
    with pytest.raises(ZeroDivisionError):
        jax.grad(lambda x: Rewritten(lambda x: tanh(x).sum())(x))(X)
    assert not calls
