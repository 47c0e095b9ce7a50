"""Padding is no feature: a padded sample has the score of the sample cut to its own length."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import numpy as np
import pytest

import jaxeval as je
from jaxeval.metric import asks_of
from tests.cases import ROWS, metric_of
from tests.contracts.padding import (
    BATCH,
    EXPLAINERS,
    LENGTHS,
    Data,
    E,
    N,
    T,
    apply,
    cut,
    data,
    model,
    takes_padding,
    tokens,
)
from tests.world import KEY

together = pytest.mark.usefixtures("same_worker")
"""Tests that look at the same run of everything."""


@pytest.fixture(params=["@padding"])
def same_worker() -> None:
    """A place in the test's id for the group."""


SMALL = {"patch_size": 3, "grid_size": 4, "features_in_step": 5, "k": 4, "subset_size": 4}
"""Settings for short samples."""


FAST = (
    "PixelFlipping", "PixelFlipping, in steps of 30", "Deletion", "Insertion", "SRG",
    "FaithfulnessCorrelation", "FaithfulnessEstimate", "SensitivityN", "Infidelity",
    "Infidelity/square", "MuFidelity", "MaxSensitivity", "Sparseness", "EffectiveComplexity",
    "TopKIntersection", "RelevanceRankAccuracy", "MPRT", "NonSensitivity",
)  # fmt: skip
"""What is compared in a few seconds; the rest is slow."""


@functools.cache
def settings() -> dict[str, Any]:
    """{row, or row and variant: metric} of all that take padding."""
    found = {}
    for row, r in ROWS.items():
        for variant in (None, *r.variants):
            m = metric_of(row, "tokens", variant)
            small: dict[str, Any] = {
                k: min(v, getattr(m, k))
                for k, v in SMALL.items()
                if isinstance(getattr(m, k, None), int)
            }
            if "per entry" in str(variant):
                small["baseline"] = np.linspace(-1, 1, E, dtype=np.float32)
            m = dataclasses.replace(m, **small)
            if takes_padding(m) and variant not in ("given sizes", "all"):
                found[row if variant is None else f"{row}, {variant}"] = m
    return found


def run(kind: str, d: Data, rows: Any, padding: Any, metrics: Any) -> Any:
    """{metric: outcome} of samples `rows`, on their own ids."""
    plain = {m: v for m, v in metrics.items() if "attribution" not in v.asks}
    explains = {m: v for m, v in metrics.items() if m not in plain}
    given = {"index": np.asarray(rows), "padding": padding, "key": KEY, "batch_size": BATCH}
    given |= {"mask": d.mask, "progress": False}
    out = {}
    for which, e in ((plain, d.a), (explains, EXPLAINERS[kind])):
        if which:
            r = je.evaluate(model(), d.x, d.y, explainers={"e": e}, metrics=which, **given)
            out |= {m: r["e", m] for m in which}
    return out


def group(name: str) -> dict[str, Any]:
    """The metrics that are run together with one."""
    return {m: v for m, v in settings().items() if (m in FAST) == (name in FAST)}


@functools.cache
def _padded(kind: str, fast: bool) -> Any:
    d = data(kind)
    return run(kind, d, range(N), d.padding, group(FAST[0] if fast else ""))


def padded(kind: str, name: str) -> Any:
    return _padded(kind, name in FAST)[name]


@functools.cache
def _alone(kind: str, length: int, fast: bool) -> Any:
    rows = np.flatnonzero(length == LENGTHS)
    return run(kind, cut(data(kind), length), rows, None, group(FAST[0] if fast else ""))


def alone(kind: str, length: int, name: str) -> Any:
    """The samples of one length, without padding."""
    return _alone(kind, length, name in FAST)[name]


def assert_alike(got: Any, want: Any, what: str, rtol: float = 1e-5, atol: float = 1e-5) -> None:
    close = functools.partial(np.testing.assert_allclose, rtol=rtol, atol=atol, err_msg=what)
    close(got.score, want.score)
    if want.curve is not None:
        points = want.curve.shape[-1]
        close(got.curve[..., :points], want.curve)
        assert np.isnan(got.curve[..., points:]).all(), what


def rows_of(outcome: Any, rows: Any) -> Any:
    return jax.tree.map(lambda v: v[rows], outcome)


def cases() -> list[Any]:
    """(metric, kind of map); all but a few are slow."""
    return [
        pytest.param(
            name, kind, marks=[] if kind == "tokens" and name in FAST else pytest.mark.slow
        )
        for kind in EXPLAINERS
        for name in settings()
    ]


@pytest.mark.rows
@together
@pytest.mark.parametrize("length", [5, pytest.param(8, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("name", "kind"), cases())
def test_a_padded_sample_is_the_sample_without_padding(name, kind, length):
    """The shortest, and one in the middle: with the draws of the same ids."""
    got, want = padded(kind, name), alone(kind, length, name)
    assert_alike(rows_of(got, length == LENGTHS), want, f"{name}, {length} tokens")


SOME = ("PixelFlipping", "Insertion", "Infidelity/square", "MuFidelity", "MaxSensitivity")
"""With their own draws; others are compared where they draw nothing."""


@functools.cache
def without_draws() -> dict[str, Any]:
    """Metrics that draw nothing."""
    return {row: m for row, m in settings().items() if row in ROWS and not ROWS[row].random}


@functools.cache
def padded_left() -> Any:
    d = data(left=True)
    return run("tokens", d, range(N), d.padding, without_draws())


@functools.cache
def alone_right(length: int) -> Any:
    rows = np.flatnonzero(length == LENGTHS)
    return run("tokens", cut(data(left=True), length, True), rows, None, without_draws())


@pytest.mark.rows
@pytest.mark.slow
@together
@pytest.mark.parametrize("name", list(without_draws()))
def test_padding_at_the_beginning(name):
    got, want = padded_left()[name], alone_right(8)[name]
    assert_alike(rows_of(got, LENGTHS == 8), want, name)


QUICK = ("PixelFlipping", "FaithfulnessCorrelation", "Sparseness", "NonSensitivity", "SRG")


@functools.cache
def with_none(padding: bool, quick: bool) -> Any:
    """Samples of full length, with padding of all False, and without."""
    d = cut(data(), T)
    rows = np.flatnonzero(T == LENGTHS)
    metrics = {row: m for row, m in settings().items() if row in ROWS}
    metrics = {row: m for row, m in metrics.items() if (row in QUICK) == quick}
    return run("tokens", d, rows, d.padding if padding else None, metrics)


def slow_but(few: tuple[str, ...], names: Any) -> list[Any]:
    return [pytest.param(v, marks=[] if v in few else pytest.mark.slow) for v in names]


@together
@pytest.mark.parametrize("row", slow_but(QUICK, (row for row in settings() if row in ROWS)))
def test_padding_of_nothing_changes_nothing(row):
    got, want = (with_none(padding, row in QUICK)[row] for padding in (True, False))
    assert_alike(got, want, row, rtol=2e-6, atol=1e-6)


@pytest.mark.parametrize("kind", ["with its axis", "for every channel", "numbers"])
def test_shapes_of_padding(kind):
    d = data()
    padding = {
        "with its axis": d.padding[..., None],
        "for every channel": np.repeat(d.padding[..., None], E, -1),
        "numbers": d.padding.astype(int),
    }[kind]
    got = je.score(je.Sparseness(), model(), d.x, d.y, d.a, padding=padding)
    want = je.score(je.Sparseness(), model(), d.x, d.y, d.a, padding=d.padding)
    np.testing.assert_array_equal(got.score, want.score)


@together
@pytest.mark.parametrize("row", SOME)
def test_padding_in_as_function(row):
    d, m, i = data(), settings()[row], 2
    explainer = tokens if "attribution" in m.asks else None
    f = jax.jit(je.as_function(m, model(), explainer))
    a = np.asarray(tokens(model(), d.x, d.y, None)) if explainer else d.a
    got = f(d.x[i], d.y[i], a[i], jax.random.key(KEY), i, padding=d.padding[i])
    assert_alike(got, jax.tree.map(lambda v: v[i], padded("tokens", row)), row)


class Spy:
    """A NumPy model that keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[np.ndarray] = []

    def __call__(self, x: np.ndarray) -> np.ndarray:
        self.asked.append(np.array(x))
        return np.asarray(apply(model().params, x))


PLAIN = {
    row: m
    for row, m in settings().items()
    if row in ROWS and asks_of(m) and "attribution" not in m.asks
}


@pytest.mark.parametrize("row", slow_but(FAST, PLAIN))
def test_nothing_touches_padding(row):
    d, spy = data(), Spy()
    x = np.where(d.padding[..., None], np.float32(3.25), d.x)  # nothing that a baseline would be
    host = je.Model(lambda params, v: spy(v), {}, host=True, channel_axis=-1)
    je.score(PLAIN[row], host, x, d.y, d.a, mask=d.mask, padding=d.padding, batch_size=64)
    asked = np.concatenate(spy.asked)
    assert len(asked) > N
    padded_at = (asked == 3.25).all(-1).sum(1)
    assert set(padded_at) <= set(T - LENGTHS)


def test_short_samples_are_asked_less():
    """As many steps as they have features."""
    d = data()
    r = je.evaluate(
        model(), d.x, d.y, explainers={"a": d.a}, metrics={"m": je.PixelFlipping(n_steps=None)},
        padding=d.padding, progress=False,
    )  # fmt: skip
    assert r.asked["output"] == LENGTHS.sum() + N
    assert (np.isfinite(r["a", "m"].curve).sum(1) == LENGTHS).all()


def test_given_draws_of_a_padded_sample():
    """Subsets and orders are what they are without padding; what they say of padding is ignored."""
    d, rng = data(), np.random.default_rng(3)
    length, i = 5, 2
    subsets = np.stack([rng.choice(length, 3, replace=False) for _ in range(6)])
    order = rng.permutation(T)
    own = order[order < length]
    one = {"key": KEY, "index": [i]}
    rows = slice(i, i + 1)
    for m, whole, short in (
        (je.FaithfulnessCorrelation(n_runs=6, subset_size=3), np.c_[subsets, [9] * 6], subsets),
        (je.PixelFlipping(order="random", n_steps=4), order, own),
        (je.PixelFlipping(order="random", features_in_step=2), order, own),
    ):
        given = dataclasses.replace(m, draws=whole)
        alone = dataclasses.replace(m, draws=short)
        got = je.score(
            given, model(), d.x[rows], d.y[rows], d.a[rows], padding=d.padding[rows], **one
        )
        x, a = d.x[rows, :length], d.a[rows, :length]
        assert_alike(got, je.score(alone, model(), x, d.y[rows], a, **one), str(m))


def test_a_mask_of_entries():
    """It has the channel axis that padding may leave out."""
    d = data("entries")
    m = je.RelevanceMassAccuracy()
    got = je.score(m, model(), d.x, d.y, d.a, mask=d.mask, padding=d.padding).score
    short = cut(d, 5)
    want = je.score(m, model(), short.x, short.y, short.a, mask=short.mask).score
    np.testing.assert_allclose(np.asarray(got)[LENGTHS == 5], want, rtol=1e-5, atol=1e-6)
