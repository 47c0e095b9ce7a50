"""What a model answers with: each kind gives what logits would."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxeval as je
from jaxeval.model import KINDS
from tests.cases import ROWS
from tests.close import EPS, MARGIN
from tests.outputs.models import FLIP, V, W, X, Y, evaluate, logits, model, probabilities
from tests.world import KEY, entries, world

ALONE = [r for r in ROWS if not ROWS[r].changes_params and ROWS[r].metric.asks]


def _world_model(kind: str) -> je.Model:
    """The contract tests' model, in another kind."""
    given = world().model

    def apply(params: Any, x: Any) -> Any:
        z = given.apply(params, x)
        return jax.nn.softmax(z) if kind == "probabilities" else z

    def hidden(params: Any, x: Any) -> Any:
        return apply(params, x), given.hidden(params, x)[1]

    return je.Model(
        apply, given.params, hidden=hidden, channel_axis=given.channel_axis, outputs=kind
    )


def _explain(model: Any, x: Any, y: Any, keys: Any) -> Any:
    """Maps that do not depend on what the model's outputs are."""
    return entries(world().model, x, y, keys)


@functools.cache
def _all(kind: str, output: str | None) -> Any:
    w, rows = world(), ALONE
    if kind == "probabilities":
        rows = [r for r in rows if "ROS" not in r]
    if kind == "values":
        rows = [r for r in rows if not ROWS[r].metric.of_classes]
    return je.evaluate(
        _world_model(kind),
        w.x,
        w.y,
        explainers={"e": _explain},
        metrics={r: ROWS[r].metric for r in rows},
        mask=w.mask,
        key=KEY,
        output=output,
        progress=False,
    )


def _own_output(row: str) -> Any:
    return ROWS[row].metric.output


def test_probabilities_score_as_their_logits_do():
    """Where a probability is scored; the plain number of a model of probabilities is another."""
    got, want = _all("probabilities", None), _all("logits", None)
    compared = [r for r in got.metrics if _own_output(r) is None]
    assert len(compared) > 30
    for row in compared:
        a, b = got["e", row], want["e", row]
        np.testing.assert_allclose(a.score, b.score, rtol=2e-4, atol=2e-5, err_msg=row)


def test_values_score_as_logits_do_without_a_softmax():
    got, want = _all("values", None), _all("logits", "logit")
    # A class that changes is no reason to leave out a draw where there are no classes.
    rows = [r for r in got.metrics if r not in ("RIS", "ROS", "RRS")]
    assert len(rows) > 25
    for row in rows:
        a, b = got["e", row], want["e", row]
        np.testing.assert_array_equal(a.score, b.score, err_msg=row)


@pytest.mark.parametrize(
    "metric", [je.RIS(n_samples=20, radius=3.0), je.ROS(n_samples=20, radius=3.0)]
)
def test_all_draws_count_where_there_are_no_classes(metric):
    noise = np.random.default_rng(5).uniform(-3, 3, (20, 6)).astype(np.float32)

    metric = dataclasses.replace(metric, draws=noise, normalise=None)
    explain = je.explain.InputXGradient()
    got = metric(model(outputs="values"), X, Y, explainer=explain)
    a = np.asarray(explain(model(), jnp.asarray(X), jnp.asarray(Y)), np.float64)
    worst = np.zeros(7)
    for d in noise:
        b = np.asarray(explain(model(), jnp.asarray(X + d), jnp.asarray(Y)), np.float64)
        change = np.linalg.norm((a - b) / a, axis=1)
        apart = np.linalg.norm(d / X, axis=1)
        if isinstance(metric, je.ROS):
            apart = np.linalg.norm(np.asarray(logits(W, X)) - np.asarray(logits(W, X + d)), axis=1)
        worst = np.maximum(worst, change / apart)
    np.testing.assert_allclose(got, worst, rtol=1e-4)


def sigmoid(z: Any) -> Any:
    return 1 / (1 + np.exp(-np.asarray(z, np.float64)))


@pytest.mark.parametrize("flat", [False, True])
def test_binary_by_hand(flat):
    """One logit z: sigmoid(z) is class 1, the rest class 0; [N] is one column."""
    z = lambda v: 2 * np.tanh(np.asarray(v, np.float64) @ V)[:, 0]  # noqa: E731
    apply = (lambda w, x: logits(w, x)[:, 0]) if flat else logits
    y = np.arange(7) % 2
    got = evaluate(
        model(apply, V, outputs="binary"),
        {
            "p": je.PixelFlipping(n_steps=6, baseline=0.0),
            "z": je.PixelFlipping(n_steps=6, baseline=0.0, output="logit"),
            "f": je.PixelFlipping(n_steps=6, baseline=0.0, output=lambda z, y: z[0]),
            "near": je.Sufficiency(threshold=1.0),
        },
        y=y,
    )
    order = np.argsort(-X, axis=1, kind="stable")
    curve = np.zeros((7, 6))
    for s in range(6):
        v = X.copy()
        np.put_along_axis(v, order[:, : s + 1], 0, 1)
        curve[:, s] = z(v)
    sign = np.where(y == 1, 1, -1)[:, None]
    np.testing.assert_allclose(got["a", "p"].curve, sigmoid(sign * curve), rtol=1e-5)
    np.testing.assert_allclose(got["a", "z"].curve, sign * curve, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(got["a", "f"].curve, curve, rtol=1e-5, atol=1e-6)
    label = z(X) > 0
    share = [(label == c)[np.arange(7) != i].mean() for i, c in enumerate(label)]
    np.testing.assert_allclose(got["a", "near"].score, share, rtol=1e-6)


def test_binary_predicts_class_1_where_the_logit_is_positive():
    results = evaluate(model(logits, V, outputs="binary"), FLIP, y=None)
    np.testing.assert_array_equal(results.y, (X @ V)[:, 0] > 0)


@pytest.mark.parametrize("kind", ["probabilities", "binary", "values"])
def test_explainers_explain_the_plain_number(kind):
    """By default; and other scores by name."""
    apply = {"probabilities": probabilities}.get(kind, logits)
    w = V if kind == "binary" else W
    y = jnp.asarray(np.arange(7) % 2)
    m = model(apply, w, outputs=kind)

    def score(x: Any, name: str) -> Any:
        out = apply(w, x[None])[0]
        if kind != "binary":
            picked = out[y]
            return {"value": picked, "log_probability": jnp.log(picked)}[name]
        z = jnp.where(y == 1, out[0], -out[0])
        names = {"value": z, "probability": jax.nn.sigmoid(z)}
        return {**names, "log_probability": jax.nn.log_sigmoid(z)}[name]

    names = {"values": ["value"], "binary": ["value", "probability", "log_probability"]}
    for name in names.get(kind, ["value", "log_probability"]):
        rows = [jax.grad(lambda v, i=i, name=name: score(v, name)[i])(X[i]) for i in range(7)]
        got = je.explain.Gradient(output=name)(m, jnp.asarray(X), y)
        want = np.stack(rows)
        # A slope of tanh, 1 - t^2, is off by roundings of 1, however small it is itself.
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=8 * MARGIN * EPS * np.abs(want).max())


SUMS = ["DeepLift", "IntegratedGradients", "KernelShap", "ShapleyValueSampling", "LRP"]


@pytest.mark.parametrize("name", SUMS)
@pytest.mark.parametrize("kind", ["probabilities", "binary", "values"])
def test_complete_explainers_sum_to_the_plain_number(name, kind):
    """So Completeness, whose default it is, too, is near 0."""
    apply = {"probabilities": probabilities}.get(kind, logits)
    m = model(apply, V if kind == "binary" else W, outputs=kind)
    fields = {"IntegratedGradients": {"n_steps": 64}, "LRP": {"rule": "epsilon"}}.get(name, {})
    explainer = je.explain.get(name, **fields)
    y = np.arange(7) % 2
    if name == "LRP":  # conserves the score itself: there is no bias
        a = np.asarray(je.attribute(explainer, m, X, y)).sum(1)
        out = np.asarray(m(X), np.float64)
        want = out[np.arange(7), y] if kind != "binary" else np.where(y == 1, 1, -1) * out[:, 0]
        if kind != "probabilities":
            np.testing.assert_allclose(a, want, rtol=1e-3, atol=1e-5)
        return
    gap = je.Completeness(baseline=0.0)(m, X, y, explainer=explainer)
    assert float(gap.max()) < 1e-3


def test_a_function_given_as_a_model():
    results = evaluate(lambda x: probabilities(W, x), FLIP, outputs="probabilities")
    want = evaluate(model(), FLIP)
    np.testing.assert_allclose(
        results["a", "flip"].score, want["a", "flip"].score, rtol=1e-5, atol=1e-6
    )
    assert results.settings["model"]["outputs"] == "probabilities"
    with pytest.raises(ValueError, match="this one is a Model"):
        evaluate(model(), FLIP, outputs="values")


@pytest.mark.parametrize("kind", KINDS)
def test_a_host_model_of_each_kind(kind):
    """A NumPy function scores as the JAX one does."""
    apply = {"probabilities": probabilities}.get(kind, logits)
    w = V if kind == "binary" else W
    host = je.Model(
        lambda p, x: np.asarray(apply(w, jnp.asarray(x))),
        {},
        channel_axis=None,
        host=True,
        outputs=kind,
    )
    metrics = {**FLIP, "fc": je.FaithfulnessCorrelation(n_runs=9, subset_size=2, baseline=0.0)}
    y = np.arange(7) % 2
    got, want = (evaluate(m, metrics, y=y) for m in (host, model(apply, w, outputs=kind)))
    for m in metrics:
        np.testing.assert_allclose(got["a", m].score, want["a", m].score, rtol=1e-5, atol=1e-6)


def test_as_function_knows_the_kinds():
    metric = FLIP["flip"]
    for kind, apply in (("logits", logits), ("probabilities", probabilities)):
        f = je.as_function(metric, model(apply, outputs=kind))
        got = jax.vmap(lambda x, y, f=f: f(x, y, x, jax.random.key(0)).score)(X, Y)
        want = evaluate(model(), FLIP)["a", "flip"].score
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)
    f = je.as_function(metric, model(logits, V))
    with pytest.raises(ValueError, match="always 1"):
        f(X[0], 0, X[0], jax.random.key(0))


def test_flax_takes_the_kind():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x: Any) -> Any:
            return nn.softmax(nn.Dense(3)(x))

    net = Net()
    given = je.from_flax(
        net, net.init(jax.random.key(0), X), channel_axis=None, outputs="probabilities"
    )
    assert np.isfinite(evaluate(given, FLIP)["a", "flip"].score).all()
