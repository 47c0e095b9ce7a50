"""Maps with a feature an entry and with a feature a pixel, in one evaluation."""

from __future__ import annotations

import warnings
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

import jaxeval as je

N, SHAPE = 4, (3, 5, 6)
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, *SHAPE)).astype(np.float32)
W = RNG.normal(size=(int(np.prod(SHAPE)), 3)).astype(np.float32)
Y = np.array([0, 1, 2, 1])
ENTRIES = RNG.normal(size=X.shape).astype(np.float32)


def apply(params: Any, x: Any) -> Any:
    return jnp.tanh(x.reshape(len(x), -1) @ params["w"])


MODEL = je.Model(apply, {"w": W})
REDUCE = {"sum": np.sum, "mean": np.mean, "max": np.max}
METRICS = {
    "flip": je.PixelFlipping(n_steps=5, baseline="zero"),
    "sensitivity": je.MaxSensitivity(n_samples=3),
    "mprt": je.MPRT(),
    "smooth": je.SmoothMPRT(n_samples=3),
}


def gradient(model: Any, x: Any, y: Any, keys: Any) -> Any:
    return je.explain.Gradient()(model, x, y)


def on_host(model: Any, x: Any, y: Any, keys: Any) -> Any:
    return np.array(je.explain.Gradient()(model, x, y))


def evaluate(explainers: Any, metrics: Any = None, model: Any = MODEL, **given: Any) -> je.Results:
    metrics = METRICS if metrics is None else metrics
    return je.evaluate(
        model, X, Y, explainers=explainers, metrics=metrics, key=1, progress=False, **given
    )


@pytest.mark.parametrize("how", REDUCE)
def test_all_maps_become_pixel_maps(how):
    """Clean and of changed inputs and models: as of an explainer that does so by itself."""
    got = evaluate({"object": je.explain.Gradient(), "function": gradient}, reduce_channels=how)
    want = evaluate({"own": je.explain.Gradient(reduce_channels=how)})
    for e in got.explainers:
        for m in METRICS:
            np.testing.assert_allclose(got[e, m].score, want["own", m].score, 1e-4, 1e-5)
    assert got.settings["features"]["object"] == [*SHAPE[1:]]
    assert got.settings["explainers"]["object"]["class"] == "Gradient"
    assert got.settings["reduce_channels"] == how


def test_maps_of_the_host_and_stored_ones():
    some = {k: METRICS[k] for k in ("flip", "sensitivity")}
    got = evaluate({"host": je.Host(on_host), "own": gradient}, some, reduce_channels="sum")
    for m in some:
        np.testing.assert_allclose(got["host", m].score, got["own", m].score, 1e-4, 1e-5)
    flip = {"flip": METRICS["flip"]}
    pixels = ENTRIES.max(1)
    given = {"entries": ENTRIES, "pixels": pixels, "one channel": pixels[:, None]}
    got = evaluate(given, flip, reduce_channels="max")
    want = je.score(flip["flip"], MODEL, X, Y, pixels, key=1).score
    for e in given:
        np.testing.assert_array_equal(got[e, "flip"].score, want)
        assert got.settings["features"][e] == [*SHAPE[1:]]
    before = ENTRIES.copy()
    got = je.score(flip["flip"], MODEL, X, Y, ENTRIES, key=1, reduce_channels="max").score
    np.testing.assert_array_equal(got, want)
    np.testing.assert_array_equal(ENTRIES, before)
    outside = je.Model(lambda p, v: np.asarray(apply({"w": W}, v)), {}, host=True)
    host = evaluate({"entries": ENTRIES}, flip, outside, reduce_channels="max")
    np.testing.assert_allclose(host["entries", "flip"].score, want, rtol=1e-5, atol=1e-6)


def test_channels_last():
    x, a = np.moveaxis(X, 1, -1), np.moveaxis(ENTRIES, 1, -1)
    model = je.Model(lambda p, v: apply(p, jnp.moveaxis(v, -1, 1)), {"w": W}, channel_axis=-1)
    got = je.score(METRICS["flip"], model, x, Y, a, reduce_channels="mean").score
    want = je.score(METRICS["flip"], MODEL, X, Y, ENTRIES.mean(1)).score
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def test_what_has_no_channels_is_refused():
    table = je.Model(lambda p, v: v, {}, channel_axis=None)
    with pytest.raises(ValueError, match="has no channel axis"):
        je.score(je.Sparseness(), table, X[:, 0, 0], Y, X[:, 0, 0], reduce_channels="sum")
    with pytest.raises(ValueError, match=r"reduce_channels='summ'.*Did you mean 'sum'"):
        je.score(je.Sparseness(), MODEL, X, Y, ENTRIES, reduce_channels="summ")


def test_mixed_maps_are_not_ranked_against_each_other():
    flip = {"flip": METRICS["flip"]}
    given = {"entries": gradient, "pixels": ENTRIES.sum(1), "others": ENTRIES}
    r = evaluate(given, flip)
    assert r.feature_groups() == [("entries", "others"), ("pixels",)]
    with pytest.warns(UserWarning, match="'pixels' of 5 x 6.*reduce_channels") as seen:
        table = r.ranking()
    assert seen[0].filename == __file__
    assert np.isnan(table.loc["pixels", "flip"])
    assert sorted(table.loc[["entries", "others"], "flip"]) == [1, 2]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert evaluate(given, flip, reduce_channels="sum").ranking().notna().all(axis=None)


# -- what cannot be saved, and what is not there yet ----------------------------------------------


@pytest.mark.parametrize("what", ["explainers", "metrics"])
@pytest.mark.parametrize("name", [("IG", 8), 3, None, "", " ", "a\ud800"], ids=repr)
def test_names_that_cannot_be_saved_are_refused_at_the_start(what, name):
    def never(*_: Any) -> Any:
        raise AssertionError("was called")

    given = {"explainers": {"e": ENTRIES}, "metrics": {"m": je.Sparseness()}}
    given[what] = {name: next(iter(given[what].values()))}
    with pytest.raises((TypeError, ValueError), match=what):
        je.evaluate(never, X, Y, progress=False, **given)


def test_a_partial_result_leaves_metrics_of_the_data_set_out():
    calls = []

    def breaks(model: Any, x: Any, y: Any, keys: Any) -> Any:
        calls.append(len(x))
        if len(calls) > 2:
            raise RuntimeError("lamp")
        return np.asarray(x)

    metrics = {"whole": je.Sufficiency(), "each": je.Sparseness()}
    with pytest.raises(je.EvaluationError, match="lamp") as caught:
        evaluate({"e": je.Host(breaks)}, metrics, batch_size=1)
    partial = caught.value.partial
    assert list(partial.outcomes) == [("e", "each")]
    assert partial["e", "each"].n_undefined == 0
    assert "undefined" not in partial.headline
    with pytest.raises(KeyError, match="no scores of explainer 'e' under metric 'whole' yet"):
        partial["e", "whole"]
