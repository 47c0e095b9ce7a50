"""Explainers made of given ones, and extras that the host computes once per image."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxeval as je

MODEL = je.Model(lambda p, x: x @ p, jnp.eye(6)[:, :3])
X = np.random.default_rng(0).normal(size=(7, 6)).astype(np.float32)


@je.pytree
class Times:
    """Another explainer's maps, times a factor."""

    explainer: Any
    factor: Any

    def __call__(self, model, x, y, keys):
        return self.factor * self.explainer(model, x, y, keys)


@je.pytree
class Total(je.Metric):
    """The sum of the maps of an explainer made of the given one."""

    family, direction, reference = "complexity", "lower", "none"
    normalise: str | None = je.static(None)
    factor: Any = 1.0

    def explainer(self, explainer):
        return Times(explainer=explainer, factor=self.factor)

    def reduce(self, sample, reference, measured, valid):
        return je.Outcome(score=sample.a.sum())


@je.pytree
class Plain(Total):
    def explainer(self, explainer):
        return explainer


def test_a_metric_may_score_an_explainer_made_of_the_given_one():
    results = je.evaluate(
        MODEL,
        X,
        explainers={"gradient": je.explain.Gradient(), "stored": np.ones_like(X)},
        metrics={
            "plain": Plain(),
            "twice": Total(factor=2.0),
            "two": Total(factor=2),
            "more": Total(factor=3.0),
        },
        progress=False,
    )
    found = {cell: float(score.mean()) for cell, score in results.scores.items()}
    assert found == {
        ("gradient", "plain"): 1,
        ("gradient", "twice"): 2,
        ("gradient", "two"): 2,
        ("gradient", "more"): 3,
        ("stored", "plain"): 6,
        ("stored", "twice"): 6,
        ("stored", "two"): 6,
        ("stored", "more"): 6,
    }
    assert results.explainers == ("gradient", "stored")
    assert results.metrics == ("plain", "twice", "two", "more")
    # The gradient itself; twice it, as 2.0 and as 2, which are two values; three times it.
    assert results.asked["attribution"] == 4 * len(X)


@dataclasses.dataclass(frozen=True)
class Halves:
    """1 for the first half of the entries; counts its calls."""

    calls: Any = dataclasses.field(default_factory=list, compare=False, hash=False)

    def __call__(self, x, channel_axis):
        self.calls.append(x.shape)
        return (np.arange(x.size) < x.size // 2).reshape(x.shape)


HALVES = Halves()


@je.pytree
class HideHalf(je.Perturbation):
    scale: Any = 0.0

    @property
    def reads(self):
        return frozenset({"half"})

    def host_extras(self):
        return {"half": HALVES}

    def n_steps(self, sample):
        return 1

    def apply(self, sample, plan, step):
        return je.Query(x=jnp.where(sample.extras["half"], self.scale, sample.x), y=sample.y)


@je.pytree
class HalfGone(je.Metric):
    family, direction, asks, reference = "faithfulness", "lower", frozenset({"output"}), "none"
    scale: Any = 0.0

    def questions(self):
        return HideHalf(scale=self.scale)

    def reduce(self, sample, reference, measured, valid):
        return je.Outcome(score=measured[0])


def test_the_host_computes_extras_once_per_image():
    HALVES.calls.clear()
    y = np.zeros(len(X), int)
    metrics = {"zero": HalfGone(output="logit"), "one": HalfGone(output="logit", scale=1.0)}
    run = lambda **k: je.evaluate(  # noqa: E731
        MODEL, X, y, explainers={"x": X, "-x": -X}, metrics=metrics, progress=False, **k
    )
    results = run(batch_size=3)
    assert len(HALVES.calls) == len(X)
    np.testing.assert_array_equal(results["x", "zero"].score, np.zeros(len(X)))
    np.testing.assert_array_equal(results["-x", "one"].score, np.ones(len(X)))
    given = run(extras={"half": np.zeros(X.shape, bool)})
    np.testing.assert_allclose(given["x", "zero"].score, X[:, 0], rtol=1e-6)
    assert len(HALVES.calls) == len(X)


def test_as_function_wants_such_extras_given():
    f = je.as_function(HalfGone(output="logit"), MODEL)
    with pytest.raises(TypeError, match=r"needs extras=\{'half'"):
        f(X[0], 0, X[0], 0)
    out = jax.jit(f)(X[0], 0, X[0], jax.random.key(0), extras={"half": jnp.zeros(6, bool)})
    np.testing.assert_allclose(out.score, X[0, 0], rtol=1e-6)


def fails(model, x, y, keys):
    np.asarray(x)
    raise RuntimeError("no map")


@pytest.mark.parametrize("explain", [fails, lambda model, x, y, keys: np.asarray(x)[:, :2]])
def test_a_host_explainer_that_fails_at_once_leaves_results_without_scores(explain):
    """Its first block is evaluated before there is a plan."""
    with pytest.raises(ValueError, match="explainer 'bad'") as caught:
        je.evaluate(
            MODEL,
            X,
            explainers={"bad": explain, "gradient": je.explain.Gradient()},
            metrics={"plain": Plain()},
            progress=False,
        )
    partial = caught.value.partial  # type: ignore[attr-defined]
    assert isinstance(partial, je.Results)
    assert not partial.scores
    assert partial.asked["attribution"] == len(X)
