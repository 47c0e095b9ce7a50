"""Models and functions that cannot be what they say: found before anything is scored."""

from __future__ import annotations

import warnings
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxeval as je

RNG = np.random.default_rng(0)
X = RNG.normal(size=(6, 5)).astype(np.float32)
W = RNG.normal(size=(5, 3)).astype(np.float32)
Y = np.arange(6) % 3
FLIP = {"flip": je.PixelFlipping(n_steps=3, baseline=0.0)}


def linear(w: Any, x: Any) -> Any:
    return x @ w


def evaluate(model: Any, metrics: Any = FLIP, explainers: Any = None, **given: Any) -> Any:
    explainers = {"a": X} if explainers is None else explainers
    given = {"y": Y} | given
    return je.evaluate(model, X, explainers=explainers, metrics=metrics, progress=False, **given)


# -- rows that influence each other ----------------------------------------------------------------


class Normalised(nn.Module):
    train: bool

    @nn.compact
    def __call__(self, x: Any) -> Any:
        x = nn.Dense(8)(x)
        x = nn.BatchNorm(use_running_average=not self.train)(x)
        return nn.Dense(3)(nn.relu(x))


def normalised(train: bool) -> je.Model:
    variables = Normalised(False).init(jax.random.key(0), X)
    net = Normalised(train)

    def apply(v: Any, x: Any) -> Any:
        out, _ = net.apply(v, x, mutable=["batch_stats"])
        return out

    return je.Model(apply, variables, channel_axis=None)


MIXED = {
    "centred": je.Model(lambda w, x: (x - x.mean(0)) @ w, W, channel_axis=None),
    "scaled": je.Model(lambda w, x: x @ w / jnp.abs(x).max(), W, channel_axis=None),
    "attention over the batch": je.Model(
        lambda w, x: jax.nn.softmax(x @ x.T) @ x @ w, W, channel_axis=None
    ),
    "batch normalisation": normalised(True),
    "dropout of a fixed key": je.Model(
        lambda w, x: x * jax.random.bernoulli(jax.random.key(0), 0.5, x.shape) @ w,
        W,
        channel_axis=None,
    ),
}


@pytest.mark.parametrize("what", MIXED)
def test_rows_that_influence_each_other(what):
    for n in (len(X), 1):
        with pytest.raises(ValueError, match=r"rows influence each other.*inference"):
            je.evaluate(
                MIXED[what], X[:n], Y[:n], explainers={"a": X[:n]}, metrics=FLIP, progress=False
            )


@pytest.mark.parametrize("what", ["scaled", "batch normalisation"])
def test_rows_that_influence_each_other_under_explainers(what):
    """Where the model itself is not asked for outputs."""
    with pytest.raises(ValueError, match="rows influence each other"):
        evaluate(
            MIXED[what],
            {"m": je.MaxSensitivity(n_samples=4)},
            {"e": je.explain.InputXGradient()},
        )


def test_rows_that_do_not():
    evaluate(normalised(False))


def test_they_are_refused_where_they_never_meet_too():
    with pytest.raises(ValueError, match="rows influence each other"):
        evaluate(normalised(True), batch_size=1)


def test_they_are_looked_at_once(monkeypatch):
    from jaxeval.engine import block

    looked = []
    check = block.check_alone
    monkeypatch.setattr(block, "check_alone", lambda *given: looked.append(1) or check(*given))
    model = je.Model(linear, W, channel_axis=None)
    for _ in range(3):
        evaluate(model)
    assert len(looked) <= 1


def test_the_look_is_no_question():
    """What was asked does not count it, and host callables are not asked at all."""
    rows = []

    def host(p: Any, x: Any) -> Any:
        rows.append(len(x))
        return x @ W

    got = evaluate(je.Model(host, {}, channel_axis=None, host=True))
    # Without any feature, all samples are the same query.
    assert sum(rows) == got.asked["output"] == len(X) * 4 - len(X) + 1


# -- the host --------------------------------------------------------------------------------------


def test_a_model_that_falls_back_to_the_host_says_so_once():
    def branching(w: Any, x: Any) -> Any:
        return x @ w if x.mean() < 1e9 else x @ w * 2

    model = je.Model(branching, W, channel_axis=None)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        got = evaluate(model, batch_size=2)
    said = [str(v.message) for v in caught if "cannot compile this model" in str(v.message)]
    assert len(said) == 1
    assert "host=True" in said[0]
    assert caught[0].filename == __file__
    assert got.settings["model"] == {"outputs": "logits", "host": "untraceable"}
    want = evaluate(je.Model(linear, W, channel_axis=None))
    assert want.settings["model"]["host"] is False
    np.testing.assert_allclose(
        got["a", "flip"].score, want["a", "flip"].score, rtol=1e-5, atol=1e-6
    )


def test_a_model_that_fails_is_named():
    model = je.Model(lambda w, x: x @ w.T, W, channel_axis=None)
    with pytest.raises(
        je.EvaluationError, match=r"the model failed while JAX traced.*\[2, 5\]"
    ) as error:
        evaluate(model)
    assert "a single one is x[None]" in str(error.value)


def test_only_functions_are_advised_to_run_on_the_host():
    def fails(model, x, y, keys):
        raise ZeroDivisionError

    model, x = je.Model(lambda w, x: x @ w, W, channel_axis=None), np.ones((2, 5), np.float32)
    for given, advised in ((fails, True), (je.explain.LayerActivation(layer="none"), False)):
        with pytest.raises(je.EvaluationError, match="failed while JAX traced it") as error:
            je.attribute(given, model, x)
        assert ("jaxeval.Host" in str(error.value)) == advised


def test_a_model_takes_tensors_and_data_frames():
    import pandas as pd
    import torch

    model, x = je.Model(lambda w, x: x @ w, W, channel_axis=None), np.ones((2, 5), np.float32)
    for given in (torch.from_numpy(x), pd.DataFrame(x)):
        np.testing.assert_array_equal(model(given), model(x))


def test_models_of_other_libraries_name_the_way():
    import torch
    from sklearn.linear_model import LogisticRegression, Ridge

    keras = type("Sequential", (), {"__module__": "keras.src.models", "__call__": lambda s, x: x})
    given = {
        r"jaxeval_torch\.from_torch\(module, example\)": torch.nn.Linear(5, 3),
        r"Keras.*jaxeval\.Model": keras(),
        r"predict_proba.*outputs=\"probabilities\"": LogisticRegression(),
        r"from_sklearn\(estimator\).*estimator\.predict\(x\).*outputs=\"values\"": Ridge(),
        r"jaxeval\.from_flax": nn.Dense(3),
    }
    for match, model in given.items():
        with pytest.raises(TypeError, match=match):
            evaluate(model)
    with pytest.raises(TypeError, match=r"jaxeval_torch\.from_torch"):
        evaluate(je.Model(torch.nn.Linear(5, 3), {}))


def test_the_ways_work():
    from sklearn.linear_model import LogisticRegression, Ridge

    model = LogisticRegression().fit(X, Y)
    given = je.Model(
        lambda _, x: model.predict_proba(x),
        {},
        host=True,
        channel_axis=None,
        outputs="probabilities",
    )
    got = evaluate(given)["a", "flip"].curve
    v = X.copy()
    v[np.arange(6)[:, None], np.argsort(-X, 1, kind="stable")[:, :1]] = 0
    np.testing.assert_allclose(got[:, 0], model.predict_proba(v)[np.arange(6), Y], rtol=1e-5)

    ridge = Ridge().fit(X, X @ W[:, 0])
    given = je.Model(
        lambda _, x: ridge.predict(x), {}, host=True, channel_axis=None, outputs="values"
    )
    got = evaluate(given, y=None)["a", "flip"].curve
    np.testing.assert_allclose(got[:, 0], ridge.predict(v), rtol=1e-4, atol=1e-5)


class Callable:
    """Has no hash, as modules of Equinox have none."""

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, w: Any):
        self.w = w

    def __call__(self, x: Any) -> Any:
        return x @ self.w


def test_callables_without_a_hash():
    want = evaluate(je.Model(linear, W, channel_axis=None))["a", "flip"].score
    one, two = Callable(W), Callable(2 * W)
    np.testing.assert_allclose(evaluate(one)["a", "flip"].score, want, rtol=1e-5, atol=1e-6)
    model = je.Model(lambda p, x: one(x), {})
    np.testing.assert_allclose(evaluate(model)["a", "flip"].score, want, rtol=1e-5, atol=1e-6)
    assert not np.allclose(evaluate(two)["a", "flip"].score, want)

    class Explain(Callable):
        def __call__(self, model: Any, x: Any, y: Any, keys: Any) -> Any:
            return x * jnp.asarray(self.w).T[y]

    got = evaluate(one, {"s": je.Sparseness()}, {"e": Explain(W), "f": Explain(W**2)})
    assert not np.allclose(got["e", "s"].score, got["f", "s"].score)


# -- numbers from outside of JAX -------------------------------------------------------------------


def noise(model: Any, x: Any, y: Any, keys: Any) -> Any:
    return x * np.random.default_rng().uniform(1, 2, x.shape).astype(np.float32)


def number(model: Any, x: Any, y: Any, keys: Any) -> Any:
    return x + float(np.random.default_rng().uniform())


class Counting:
    def __init__(self) -> None:
        self.n = 0

    def __call__(self, model: Any, x: Any, y: Any, keys: Any) -> Any:
        self.n += 1
        return x + self.n


OUTSIDE = {
    "an array": noise,
    "a number": number,
    "inside of jit": jax.jit(noise, static_argnums=0),
    "a state": Counting(),
}


@pytest.mark.parametrize("what", OUTSIDE)
def test_explainers_that_draw_outside_of_jax_run_on_the_host(what):
    explain = OUTSIDE[what]
    model = je.Model(linear, W, channel_axis=None)
    with pytest.warns(UserWarning, match=r"'e' draws numbers outside of JAX .* on the host"):
        got = evaluate(model, {"m": je.MaxSensitivity(n_samples=3, radius=1e-6)}, {"e": explain})
    assert (got["e", "m"].score > 1e-3).all()  # drawn anew, not frozen


def test_explainers_that_do_not_are_compiled():
    def steady(model: Any, x: Any, y: Any, keys: Any) -> Any:
        drawn = jax.vmap(lambda k: jax.random.normal(k, x.shape[1:]))(keys)
        return x * drawn + np.random.default_rng(0).normal(size=x.shape[1:])

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        evaluate(je.Model(linear, W, channel_axis=None), {"s": je.Sparseness()}, {"e": steady})


def test_a_model_that_draws_outside_of_jax_runs_on_the_host():
    def drawing(w: Any, x: Any) -> Any:
        return x @ w + np.random.default_rng().normal(size=3)

    with pytest.warns(UserWarning, match="draws numbers outside of JAX.*on the host"):
        got = evaluate(je.Model(drawing, W, channel_axis=None))
    assert got.settings["model"]["host"] == "untraceable"


def test_torch_in_an_explainer_names_the_host():
    import torch

    def explain(model: Any, x: Any, y: Any, keys: Any) -> Any:
        return torch.tensor(x).abs().numpy()

    model = je.Model(linear, W, channel_axis=None)
    with pytest.raises(je.EvaluationError, match=r"'e' failed.*\n.*jaxeval\.Host\(fn\)"):
        evaluate(model, {"s": je.Sparseness()}, {"e": explain})
    evaluate(model, {"s": je.Sparseness()}, {"e": je.Host(explain)})


def test_an_object_of_captum_names_the_way():
    class Method:
        def attribute(self, x: Any) -> Any:
            return x

    with pytest.raises(TypeError, match="captum_explainer"):
        evaluate(je.Model(linear, W), {"s": je.Sparseness()}, {"e": Method()})
