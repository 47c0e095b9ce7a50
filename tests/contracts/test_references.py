"""Every metric equals its NumPy reference: in all layouts, variants, outputs and preparations.

The library computes in float32 and the reference in float64, on the same float32 inputs and the
same draws. Rounding is about 1e-6 of the largest number that enters a score, and ratios and
correlations lose another digit, hence the tolerances of 1e-4 (relative) and 1e-5 of a `Row`.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import numpy as np
import pytest

import jaxeval as je
from tests import close
from tests.cases import EVERY, ROWS, ask_spy, class_name, draws_of, metric_of
from tests.world import KEY, WORLDS, N, World, margin, world

BATCH = 64
OUTPUTS = {f"output {o}": {"output": o} for o in ("logit", "log_probability", "probability")}
OUTPUTS["output function"] = {"output": margin}
PREPARED = {
    f"normalise {n}, absolute {b}": {"normalise": n, "absolute": b}
    for n, b in (("max", True), ("negative", False), ("second_moment", True), (None, False))
}


@functools.cache
def metrics_of(row: str, name: str, more: bool) -> dict[str, Any]:
    """{variant: metric with draws}; `more`: with all variants, outputs and preparations."""
    w, out = world(name), {"as it is": metric_of(row, name)}
    if more:
        out |= {v: metric_of(row, name, v) for v in ROWS[row].variants}
        base = out["as it is"]
        more_fields = {**(OUTPUTS if "output" in base.asks else {}), **PREPARED}
        out |= {v: dataclasses.replace(base, **f) for v, f in more_fields.items()}
    draws = {v: draws_of(row, m, w) for v, m in out.items()}
    return {
        v: m if draws[v] is None else dataclasses.replace(m, draws=draws[v]) for v, m in out.items()
    }


def reference(
    row: str, m: Any, w: World, a: np.ndarray, mask: np.ndarray, queries: Any = None
) -> tuple[np.ndarray, np.ndarray | None]:
    """The reference's scores [N] and curves [N, S], in float64."""
    r, draws = ROWS[row], getattr(m, "draws", None)
    mask = w.fitted(mask)

    def of(draws: Any, i: int) -> Any:
        if draws is None:
            return None
        return draws[i] if r.per_sample_draws else draws

    samples = [
        w.sample(
            i,
            a,
            mask=mask[i],
            draws=of(draws, i),
            queries=None if queries is None else queries[i].astype(np.float64),
        )
        for i in range(N)
    ]
    if r.over_data:
        return np.asarray(r.reference(m, samples), float), None
    found = [r.reference(m, s) for s in samples]
    if not isinstance(found[0], tuple):
        return np.array(found, float), None
    return np.array([v for v, _ in found], float), np.array([c for _, c in found], float)


def assert_close(
    got: je.Outcome, want: tuple[Any, Any], row: str, w: World, maps: Any, what: str
) -> None:
    r, (score, curve) = ROWS[row], want
    assert np.shape(got.score) == (N,)
    assert got.n_undefined == np.isnan(score).sum(), f"{what}: {got.score} for {score}"
    rtol = r.tolerance(w, maps)
    close.assert_close(got.score, score, rtol, r.atol, f"{what}: score")
    if curve is not None:
        assert got.curve is not None, f"{what}: no curve"
        close.assert_close(got.curve, curve, rtol, r.atol, f"{what}: curve")


def stored(w: World, metrics: dict[Any, Any], kinds: tuple[str, ...], mask: Any) -> Any:
    """Outcomes of metrics of given maps, in one run."""
    return je.evaluate(
        w.model,
        w.x,
        w.y,
        explainers={k: w.maps[k] for k in kinds},
        metrics=metrics,
        mask=mask,
        key=KEY,
        batch_size=BATCH,
        progress=False,
    )


def explained(w: World, metrics: dict[Any, Any]) -> Any:
    """Outcomes of metrics of the world's own explainer."""
    return je.evaluate(
        w.model,
        w.x,
        w.y,
        explainers={"smooth": w.explainer},
        metrics=metrics,
        mask=w.mask,
        key=KEY,
        batch_size=BATCH,
        progress=False,
    )


def test_every_metric_has_a_row():
    classes = {class_name(row) for row in EVERY}
    missing = set(je.METRICS) - classes
    assert not missing, f"add a row to tests/rows for {', '.join(sorted(missing))}"
    assert classes <= set(je.METRICS)
    for row, r in EVERY.items():
        assert type(r.metric) is je.METRICS[class_name(row)]


PLAIN = [row for row, r in ROWS.items() if not r.explains]
EXPLAINS = [row for row, r in ROWS.items() if r.explains]
ASKED = [row for row, r in ROWS.items() if r.asked]


@pytest.mark.slow
@pytest.mark.parametrize("row", PLAIN)
def test_variants_equal_the_reference(row):
    """Entry maps, smooth and mostly zero: options, outputs, preparations."""
    w, metrics = world(), metrics_of(row, "entries", True)
    got = stored(w, metrics, ("smooth", "ties"), w.mask)
    for kind in ("smooth", "ties"):
        for variant, m in metrics.items():
            if kind == "ties" and variant in PREPARED:
                continue  # dividing makes ties of sums, which rounding breaks
            a = w.maps[kind]
            want = reference(row, m, w, a, w.mask)
            assert_close(got[kind, variant], want, row, w, a, f"{row}, {variant}, {kind}")


@pytest.mark.slow
@pytest.mark.parametrize("row", EXPLAINS)
def test_variants_of_explaining_metrics_equal_the_reference(row):
    w, metrics = world(), metrics_of(row, "entries", True)
    got = explained(w, metrics)
    for variant, m in metrics.items():
        want = reference(row, m, w, w.maps["smooth"], w.mask)
        assert_close(got["smooth", variant], want, row, w, w.maps["smooth"], f"{row}, {variant}")


@pytest.mark.parametrize("row", EXPLAINS)
@pytest.mark.parametrize("kind", ["ties", "edge"])
def test_explaining_metrics_of_given_maps_equal_the_reference(row, kind):
    """The clean map is given, mostly zeros or degenerate; changed inputs are explained."""
    w, m = world(), metrics_of(row, "entries", False)["as it is"]
    a = w.maps[kind]
    got = je.score(
        m, w.model, w.x, w.y, a, explainer=w.explainer, mask=w.mask, key=KEY, batch_size=BATCH
    )
    assert_close(got, reference(row, m, w, a, w.mask), row, w, a, f"{row}, {kind}")


@pytest.mark.parametrize("row", ASKED)
@pytest.mark.parametrize("name", ["entries", "pixels", "last"])
def test_questions_are_asked_as_the_reference_has_them(row, name):
    """What was asked is seen by a NumPy model, and the reference judges it."""
    if name in ROWS[row].skip:
        pytest.skip("not defined")
    w = world(name)
    for variant in [None, *ROWS[row].variants] if name == "entries" else [None]:
        m = metric_of(row, name, variant)
        got, spy = ask_spy(row, m, w)
        want = reference(row, m, w, w.maps["smooth"], w.mask, spy.queries)
        assert_close(got, want, row, w, w.maps["smooth"], f"{row}, {variant}")


@functools.cache
def in_world(name: str, kinds: tuple[str, ...]) -> dict[str, Any]:
    """{row: {kind: outcome}, or the error} of every metric with its own settings, in one run."""
    w = world(name)
    metrics = {
        row: metrics_of(row, name, False)["as it is"] for row in PLAIN if name not in ROWS[row].skip
    }
    mask = w.edge_mask if kinds == ("edge",) else w.mask

    def outcomes(metrics: dict[str, Any]) -> dict[str, Any]:
        got = stored(w, metrics, kinds, mask)
        return {row: {k: got[k, row] for k in kinds} for row in metrics}

    try:
        return outcomes(metrics)
    except Exception:  # which one was it?
        found: dict[str, Any] = {}
        for row, m in metrics.items():
            try:
                found |= outcomes({row: m})
            except Exception as e:
                found[row] = e
        return found


BETWEEN = ("pixels", "pixels_1", "last")
"""Worlds whose features are laid out as in one of the others, and whose axes as in another."""


def by_world(rows: list[str], worlds: tuple[str, ...]) -> list[Any]:
    """(row, world), each world on one worker, which compiles what its tests share once."""
    return [
        pytest.param(row, name, id=f"{row}-@{name}", marks=[pytest.mark.slow] * (name in BETWEEN))
        for name in worlds
        for row in rows
        if name not in ROWS[row].skip
    ]


@pytest.mark.parametrize(("row", "name"), by_world(PLAIN, WORLDS[1:]))
def test_layouts_equal_the_reference(row, name):
    """Pixel maps, channel-last models and tables."""
    w, m = world(name), metrics_of(row, name, False)["as it is"]
    got = in_world(name, ("smooth", "ties"))[row]
    if isinstance(got, Exception):
        raise got
    for kind, outcome in got.items():
        want = reference(row, m, w, w.maps[kind], w.mask)
        assert_close(outcome, want, row, w, w.maps[kind], f"{row}, {name}, {kind}")


@pytest.mark.parametrize(("row", "name"), by_world(PLAIN, ("entries", "pixels")))
def test_degenerate_maps_and_masks(row, name):
    """Zeros, constants, one feature, all negative, tiny; empty and full masks: NaN or a score."""
    w, m = world(name), metrics_of(row, name, False)["as it is"]
    got = in_world(name, ("edge",))[row]
    if isinstance(got, Exception):
        raise got
    want = reference(row, m, w, w.maps["edge"], w.edge_mask)
    assert_close(got["edge"], want, row, w, w.maps["edge"], f"{row}, {name}, degenerate maps")


@functools.cache
def explained_in_world(name: str) -> Any:
    rows = [row for row in EXPLAINS if name not in ROWS[row].skip]
    return explained(world(name), {r: metrics_of(r, name, False)["as it is"] for r in rows})


@pytest.mark.parametrize(("row", "name"), by_world(EXPLAINS, WORLDS[1:]))
def test_layouts_of_explaining_metrics_equal_the_reference(row, name):
    w, m = world(name), metrics_of(row, name, False)["as it is"]
    a = w.maps["smooth"]
    want = reference(row, m, w, a, w.mask)
    assert_close(explained_in_world(name)["smooth", row], want, row, w, a, f"{row}, {name}")
