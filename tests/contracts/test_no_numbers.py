"""Maps and answers that are no numbers: the sample is undefined, and the run goes on."""

from __future__ import annotations

import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxeval as je
from tests.cases import ROWS, metric_of
from tests.close import assert_close
from tests.contracts.runs import PLAIN, metrics, together, tolerance
from tests.world import KEY, N, entries, world

BAD = 3


def spoilt(value: float) -> Any:
    """An explainer that gives one value that is no number, for the sample BAD and what is like it.

    Noise, shifts and masks leave the first entry of a sample near its own.
    """

    def explain(model: Any, x: Any, y: Any, keys: Any) -> Any:
        a = entries(model, x, y, keys)
        near = jnp.abs(x - world().x[BAD]).reshape(len(x), -1).mean(1) < 0.3

        flat = a.reshape(len(a), -1)
        return jnp.where(near[:, None], flat.at[:, 2].set(value), flat).reshape(a.shape)

    return explain


def evaluate(explainer: Any, rows: Any, **given: Any) -> Any:
    w = world()
    given = {"mask": w.mask, "key": KEY, "progress": False, "batch_size": 3} | given
    given |= {"explainers": {"e": explainer}, "metrics": metrics(rows)}
    return je.evaluate(w.model, w.x, w.y, **given)


def assert_undefined(got: Any, want: Any, rows: Any, bad: Any = (BAD,)) -> None:
    """NaN for the bad samples, and for the others what there is without them."""
    for row in rows:
        a, b = got["e", row], want["e", row]
        assert np.isnan(a.score[list(bad)]).all(), row
        if a.curve is not None:
            assert np.isnan(a.curve[list(bad)]).all(), row
        if ROWS[row].over_data:
            continue
        good = np.setdiff1d(np.arange(N), bad)
        np.testing.assert_array_equal(a.score[good], b.score[good], err_msg=row)


@pytest.mark.rows
@together
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_stored_map_that_is_no_number(value):
    a = np.array(world().maps["smooth"])
    want = evaluate(a, PLAIN)
    a[BAD].flat[2] = value
    with pytest.warns(UserWarning, match=f"explainer 'e' .* for 1 of {N} samples"):
        got = evaluate(a, PLAIN)
    assert_undefined(got, want, PLAIN)


@pytest.mark.rows
@together
def test_a_traced_map_that_is_no_number():
    """Of the clean sample, or of what a metric makes of it."""
    want = evaluate(entries, ROWS)
    with pytest.warns(UserWarning, match=f"explainer 'e' .* for 1 of {N} samples"):
        got = evaluate(spoilt(np.nan), ROWS)
    assert_undefined(got, want, ROWS)


@together
def test_a_host_map_that_is_no_number():
    rows = ["PixelFlipping", "MaxSensitivity", "Sparseness", "RIS", "MSTC"]
    inner = spoilt(np.inf)
    host = je.Host(
        lambda model, x, y, keys: np.asarray(inner(world().model, jnp.asarray(x), y, keys))
    )
    want = evaluate(entries, rows)
    with pytest.warns(UserWarning, match=f"explainer 'e' .* for 1 of {N} samples"):
        got = evaluate(host, rows)
    good = np.arange(N) != BAD
    for row in rows:
        a, b = got["e", row].score, want["e", row].score
        assert np.isnan(a[BAD]), row
        rtol = np.broadcast_to(tolerance(row), N)
        assert_close(a[good], b[good], rtol[good], 1e-5, row)


def test_only_the_maps_of_changed_inputs_are_no_numbers():
    """A stored clean map is sound, and the sample is undefined all the same."""
    w = world()
    nothing = lambda model, x, y, keys: x * jnp.nan  # noqa: E731
    with pytest.warns(UserWarning, match=f"for {N} of {N} samples"):
        out = je.score(
            je.MaxSensitivity(n_samples=3), w.model, w.x, w.y, w.maps["smooth"], explainer=nothing
        )
    assert out.n_undefined == N


@pytest.mark.rows
@together
def test_all_maps_are_no_numbers():
    nothing = lambda model, x, y, keys: x * jnp.nan  # noqa: E731
    with pytest.warns(UserWarning, match=f"for {N} of {N} samples"):
        got = evaluate(nothing, ROWS)
    for row in ROWS:
        assert got["e", row].n_undefined == N, row
    assert (got.summary()["n_undefined"] == N).all()


def test_company_does_not_matter():
    """Under metrics that ask for no new maps, only the clean map counts."""
    w = world()
    a = w.maps["smooth"]
    nothing = lambda model, x, y, keys: x * jnp.nan  # noqa: E731

    def of(metrics: Any) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return je.evaluate(
                w.model, w.x, w.y, explainers={"good": a, "nothing": nothing}, metrics=metrics,
                key=KEY, progress=False,
            )  # fmt: skip

    alone = of({"flip": metric_of("PixelFlipping")})
    assert np.isfinite(alone["good", "flip"].score).all()
    assert np.isnan(alone["nothing", "flip"].score).all()


def test_data_set_metrics_leave_the_sample_out():
    """The others are scored as in the data set without it."""
    w, rest = world(), np.setdiff1d(np.arange(N), [BAD])
    a = np.array(w.maps["smooth"])
    a[BAD].flat[0] = np.nan
    metrics = {"near": je.Sufficiency(threshold=0.9), "same": je.Consistency(n=1)}

    def of(rows: Any) -> Any:
        return je.evaluate(
            w.model,
            w.x[rows],
            w.y[rows],
            explainers={"e": a[rows]},
            metrics=metrics,
            progress=False,
        )

    with pytest.warns(UserWarning, match="for 1 of"):
        got = of(np.arange(N))
    want = of(rest)
    for m in metrics:
        np.testing.assert_array_equal(got["e", m].score[rest], want["e", m].score)
        assert np.isnan(got["e", m].score[BAD])


def test_as_function_agrees():
    w = world()
    explain = spoilt(np.nan)
    for metric, explainer in ((je.PixelFlipping(n_steps=4), None), (je.RIS(n_samples=4), explain)):
        f = je.as_function(metric, w.model, explainer)
        a = np.asarray(explain(w.model, jnp.asarray(w.x), jnp.asarray(w.y), None))
        got = jax.vmap(lambda *given, f=f: f(*given[:3], jax.random.key(KEY), given[3]).score)(
            w.x, w.y, a, np.arange(N)
        )
        assert np.isnan(got[BAD])
        assert np.isfinite(np.delete(got, BAD)).all()


def test_attribute_says_so():
    w = world()
    with pytest.warns(UserWarning, match=f"for 1 of {N} samples"):
        a = je.attribute(spoilt(np.nan), w.model, w.x, w.y)
    assert np.isnan(a[BAD]).any()
    assert np.isfinite(np.delete(a, BAD, 0)).all()


def test_padding_may_hold_anything():
    """It is no feature: a map that is no number only there is sound."""
    x = np.random.default_rng(0).normal(size=(3, 6)).astype(np.float32)
    padding = np.zeros((3, 6), bool)
    padding[:, 4:] = True
    a = np.where(padding, np.nan, x)
    model = je.Model(lambda p, x: x[:, :3], channel_axis=None)
    for metric in (je.Sparseness(), je.PixelFlipping(n_steps=2, baseline=0.0)):
        out = je.score(metric, model, x, [0, 1, 2], a, padding=padding)
        assert out.n_undefined == 0


@pytest.mark.parametrize("host", [False, True])
def test_a_model_that_answers_nan(host):
    """Where one of its answers is NaN, a sample is undefined; also under what takes the argmax."""
    w = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    x = np.abs(np.random.default_rng(1).normal(size=(5, 4))).astype(np.float32) + 0.1
    x[2, 0] = 40.0

    def apply(p: Any, v: Any) -> Any:
        xp = np if host else jnp
        return (v @ w) * xp.where((v[:, :1] > 30), xp.nan, 1.0).astype(np.float32)

    model = je.Model(apply, {}, channel_axis=None, host=host)
    metrics = {
        "flip": je.PixelFlipping(n_steps=2, baseline=0.0),
        "near": je.Sufficiency(threshold=1.0),
        "sparse": je.Sparseness(),
    }
    with pytest.warns(UserWarning, match="model answered NaN about 1 of 5"):
        got = je.evaluate(
            model, x, np.zeros(5, int), explainers={"e": x}, metrics=metrics, progress=False
        )
    for m in ("flip", "near"):
        np.testing.assert_array_equal(np.isnan(got["e", m].score), np.arange(5) == 2)
    assert np.isfinite(got["e", "sparse"].score).all()
