"""Metrics of one's own that cannot work: refused when defined, or before the first answer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import jaxeval as je

X = np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32)
Y = np.zeros(4, int)


class Counted:
    """A model that knows how often it was called."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, p: Any, x: Any) -> np.ndarray:
        self.calls += 1
        return np.asarray(x)[:, :3]

    @property
    def model(self) -> je.Model:
        return je.Model(self, {}, channel_axis=None, host=True)


JAX = je.Model(lambda p, x: x[:, :3], channel_axis=None)


def score(metric: Any, model: Any = JAX, beside: Any = None, explainer: Any = X) -> Any:
    metrics = {"mine": metric, **(beside or {})}
    return je.evaluate(model, X, Y, explainers={"a": explainer}, metrics=metrics, progress=False)


GOOD = {"family": "complexity", "direction": "lower"}


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        ({"family": "complexty"}, "Did you mean 'complexity'"),
        ({"direction": "up"}, "direction='up': must be one of 'higher', 'lower'"),
        ({"asks": {"outputs"}}, "Did you mean 'output'"),
        (
            {"asks": frozenset({"logits"})},
            "asks=.*must be one of 'output', 'attribution', 'hidden'",
        ),
        ({"needs": {"masks"}}, "Did you mean 'mask'"),
    ],
)
def test_names_are_checked_when_it_is_defined(wrong, match):
    with pytest.raises(ValueError, match=match):
        type("Mine", (je.Metric,), {**GOOD, **wrong})


def test_a_name_in_place_of_a_set():
    with pytest.raises(TypeError, match="must be a set of names, got 'output'"):
        type("Mine", (je.Metric,), {**GOOD, "asks": "output"})


def one(self: Any, sample: Any, *rest: Any) -> Any:
    return je.Outcome(score=sample.a.max())


def made(**parts: Any) -> Any:
    return je.pytree(type("Mine", (je.Metric,), {**GOOD, "reduce": one, **parts}))()


def without(name: str) -> Any:
    parts = {k: v for k, v in {**GOOD, "reduce": one}.items() if k != name}
    return je.pytree(type("Mine", (je.Metric,), parts))()


@pytest.mark.parametrize("name", ["family", "direction", "reduce"])
def test_what_is_missing_is_named(name):
    spy = Counted()
    with pytest.raises(TypeError, match=f"metric 'mine': the class Mine lacks {name}"):
        score(without(name), spy.model)
    assert spy.calls == 0


def test_a_forgotten_decorator():
    class Mine(je.Sparseness):
        def reduce(self, *given: Any) -> Any:
            return super().reduce(*given)

    with pytest.raises(TypeError, match=r"Mine lacks the decorator @jaxeval\.pytree"):
        score(Mine())


OUTCOMES = {
    "a number": (lambda self, sample, *rest: sample.a.max(), "must return a jaxeval.Outcome"),
    "nothing": (lambda self, *rest: None, "must return a jaxeval.Outcome.*NoneType"),
    "a row": (
        lambda self, sample, *rest: je.Outcome(score=sample.a),
        r"one number per sample as the score, but it has the shape \[6\]",
    ),
}


@pytest.mark.parametrize("what", OUTCOMES)
@pytest.mark.parametrize("host", [False, True])
def test_what_is_no_outcome(what, host):
    reduce, match = OUTCOMES[what]
    asks = frozenset({"output"})

    def questions(self: Any) -> Any:
        return je.PixelFlipping(n_steps=3, baseline=0.0).questions()

    spy = Counted()
    metric = made(reduce=reduce, asks=asks, questions=questions)
    with pytest.raises(TypeError, match=match):
        score(metric, spy.model if host else JAX)
    assert spy.calls <= host  # the clean samples, which tell how many classes there are


LOOKS = {
    "output": lambda reference: reference.logits.sum(),
    "hidden": lambda reference: reference.hidden["h"].sum(),
}


@pytest.mark.parametrize("what", LOOKS)
@pytest.mark.parametrize("company", [False, True])
def test_what_it_does_not_ask_for_is_withheld(what, company):
    """Whether or not another metric asks for it."""

    def peek(self: Any, sample: Any, reference: Any, *rest: Any) -> Any:
        return je.Outcome(score=LOOKS[what](reference))

    model = je.Model(
        lambda p, x: x[:, :3],
        hidden=lambda p, x: (x[:, :3], {"h": x}),
        channel_axis=None,
    )
    beside = {"flip": je.PixelFlipping(n_steps=3), "near": je.Sufficiency()} if company else {}
    with pytest.raises(TypeError, match=f'metric Mine looked at .*add "{what}" to its `asks`'):
        score(made(reduce=peek), model, beside)
    asked = made(reduce=peek, asks=frozenset({what}))
    assert np.isfinite(score(asked, model, beside)["a", "mine"].score).all()


def test_a_good_one():
    got = score(made())["a", "mine"].score
    np.testing.assert_allclose(got, (X / np.abs(X).max(1, keepdims=True)).max(1), rtol=1e-6)


def test_a_direction_that_follows_a_field():
    metric = made(direction=property(lambda self: "higher" if self.absolute else "lower"))
    assert score(metric).directions == {"mine": "lower"}
    wrong = made(direction=property(lambda self: "sideways"))
    with pytest.raises(ValueError, match='must be "higher" or "lower", got \'sideways\''):
        score(wrong)
