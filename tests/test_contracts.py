"""What docs/architecture.md promises of every metric, and of the house that they live in."""

from __future__ import annotations

import ast
import dataclasses
import functools
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh

import jaxeval as je
from jaxeval.engine import TRACES
from jaxeval.metric import asks_of
from tests import cases
from tests.cases import KEY, ROWS, N, Spy, ask_spy, draws_of, metric_of, world

BATCH = 3
ENTRIES = {"entries": cases.entries}
ALL = list(ROWS)
EXPLAINS = [row for row in ALL if ROWS[row].explains]
PLAIN = [row for row in ALL if not ROWS[row].explains]
DRAWING = [row for row in ALL if draws_of(row, metric_of(row), world()) is not None]

together = pytest.mark.usefixtures("same_worker")
"""Tests that look at the same run of everything."""


def metrics(rows: Any = ALL) -> dict[str, Any]:
    return {row: ROWS[row].metric for row in rows}


def evaluate(**given: Any) -> Any:
    """Everything at once, unless told otherwise."""
    w = world()
    x, y = given.pop("x", w.x), given.pop("y", w.y)
    given = {
        "explainers": ENTRIES,
        "metrics": metrics(),
        "mask": w.mask,
        "key": KEY,
        "batch_size": BATCH,
        "progress": False,
    } | given
    return je.evaluate(given.pop("model", w.model), x, y, **given)


def score(row_or_metric: Any, explainer: Any = cases.entries, a: Any = None, **given: Any) -> Any:
    """One metric of the explainer, or of given maps."""
    w = world()
    row = isinstance(row_or_metric, str)
    metric = metric_of(row_or_metric) if row else row_or_metric
    given = {"mask": w.mask, "key": KEY, "batch_size": BATCH} | given
    x, y = given.pop("x", w.x), given.pop("y", w.y)
    return je.score(metric, given.pop("model", w.model), x, y, a, explainer=explainer, **given)


@functools.cache
def base() -> Any:
    """Every metric of one explainer, three samples at a time, on one device."""
    return evaluate()


def assert_same(got: Any, want: Any, what: Any = "", exactly: bool = False, **tol: float) -> None:
    """Scores and curves agree, and are undefined in the same places."""
    close = functools.partial(np.testing.assert_allclose, **({"rtol": 2e-5, "atol": 2e-6} | tol))
    equal = np.testing.assert_array_equal if exactly else close
    equal(np.asarray(got.score), np.asarray(want.score), err_msg=f"{what}: score")
    assert (got.curve is None) == (want.curve is None)
    if want.curve is not None:
        equal(np.asarray(got.curve), np.asarray(want.curve), err_msg=f"{what}: curve")


@pytest.fixture(params=["@together"])
def same_worker() -> None:
    """A place in the test's id for the group."""


@pytest.fixture
def compiled() -> Iterator[Counter[str]]:
    """How often each program was compiled since the test began, by the compiler's own account."""
    count: Counter[str] = Counter()

    def listen(event: str, seconds: float, **tags: Any) -> None:
        name = str(tags.get("fun_name"))
        if event.endswith("backend_compile_duration") and name != "jit(stage)":  # of a constant
            count[name] += 1

    jax.monitoring.register_event_duration_secs_listener(listen)
    yield count
    jax.monitoring.unregister_event_duration_listener(listen)


def traced_since(before: Counter[str]) -> Counter[str]:
    return TRACES - before


# -- invariance ----------------------------------------------------------------------------------


@functools.cache
def in_batches_of(size: int | None) -> Any:
    return evaluate(batch_size=size)


@together
@pytest.mark.parametrize("row", ALL)
@pytest.mark.parametrize("size", [*(pytest.param(n, marks=pytest.mark.slow) for n in (1, None)), 5])
def test_batch_size_and_chunks(size, row):
    """They are not in the scores."""
    got = in_batches_of(size)["entries", row]
    r = ROWS[row]
    assert_same(got, base()["entries", row], row, rtol=r.rtol / 10, atol=r.atol / 10)


@functools.cache
def on_devices(mesh: Mesh) -> Any:
    return evaluate(mesh=mesh)


@together
@pytest.mark.parametrize("row", ALL)
def test_devices(row, two_devices):
    """One device or two: the same bits."""
    got, want = on_devices(two_devices)["entries", row], base()["entries", row]
    assert_same(got, want, row, exactly=ROWS[row].same_bits, rtol=1e-6, atol=1e-7)


@together
@pytest.mark.parametrize("row", ALL)
def test_alone(row):
    """A metric on its own gives what it gives among all others."""
    assert_same(score(row), base()["entries", row], row)


@functools.cache
def in_company() -> Any:
    return evaluate(explainers={"pixels": cases.pixels, **ENTRIES})


@together
@pytest.mark.parametrize("row", ALL)
def test_other_explainers(row):
    """With another one before it, an explainer has the scores that it has alone."""
    assert_same(in_company()["entries", row], base()["entries", row], row)


@together
def test_order_of_samples_given_ids():
    """Samples permuted with their ids: permuted scores."""
    w = world()
    index = np.array([40, 7, 1_000_000, 0, 2**32 - 1, 12, 13])
    order = np.array([3, 6, 0, 5, 1, 4, 2])
    straight = evaluate(index=index)
    permuted = evaluate(x=w.x[order], y=w.y[order], mask=w.mask[order], index=index[order])
    for cell, outcome in straight.outcomes.items():
        want = jax.tree.map(lambda v: v[order], outcome)
        assert_same(permuted[cell], want, cell)
    np.testing.assert_array_equal(permuted.index, index[order])
    np.testing.assert_array_equal(permuted.y, w.y[order])


@together
def test_the_default_ids_are_positions():
    for cell, outcome in evaluate(index=np.arange(N)).outcomes.items():
        assert_same(outcome, base()[cell], cell, exactly=True)


@together
def test_one_key_gives_the_same_bits_again():
    """A seed, and the key that JAX makes of it."""
    for key in (KEY, jax.random.key(KEY), jax.random.PRNGKey(KEY), np.int64(KEY)):
        for cell, outcome in evaluate(key=key).outcomes.items():
            assert_same(outcome, base()[cell], cell, exactly=True)


@functools.cache
def with_another_key() -> Any:
    return evaluate(key=KEY + 1)


@together
@pytest.mark.parametrize("row", ALL)
def test_another_key(row):
    """Random metrics change with the key, the others do not."""
    got, want = with_another_key()["entries", row], base()["entries", row]
    if ROWS[row].random:
        assert not np.array_equal(got.score, want.score, equal_nan=True)
    else:
        assert_same(got, want, row, exactly=True)


@together
def test_no_global_random_state():
    """NumPy's and Python's generators are neither read nor moved."""
    import random

    np.random.seed(0)
    random.seed(0)
    before = np.random.get_state()[1].copy(), random.getstate()
    first = evaluate()
    np.testing.assert_array_equal(np.random.get_state()[1], before[0])
    assert random.getstate() == before[1]
    for cell, outcome in first.outcomes.items():
        assert_same(outcome, base()[cell], cell, exactly=True)


@functools.cache
def with_another_sample() -> Any:
    """Everything about sample 4 is another, far from the others."""
    w = world()
    x, y, mask = w.x.copy(), w.y.copy(), w.mask.copy()
    x[4] = 100 * x[4] + 7
    y[4] = (y[4] + 1) % cases.K
    mask[4] = ~mask[4]
    return evaluate(x=x, y=y, mask=mask)


@together
@pytest.mark.parametrize("row", [row for row in ALL if not ROWS[row].over_data])
def test_samples_do_not_see_each_other(row):
    others = np.arange(N) != 4
    got, want = with_another_sample()["entries", row], base()["entries", row]
    np.testing.assert_array_equal(got.score[others], want.score[others])
    if want.curve is not None:
        np.testing.assert_array_equal(got.curve[others], want.curve[others])


@together
@pytest.mark.parametrize("kind", ["smooth", "ties"])
def test_the_scale_of_a_map_does_not_matter_where_it_is_normalised(kind):
    rows = [row for row in PLAIN if ROWS[row].metric.normalise is not None]
    a = world().maps[kind]
    got = evaluate(explainers={"a": a, "4 a": 4 * a}, metrics=metrics(rows))
    for row in rows:
        assert_same(got["4 a", row], got["a", row], row, exactly=True)


@together
def test_the_predicted_class_is_explained_by_default():
    w = world()
    y = np.asarray(w.model(w.x)).argmax(-1).astype(np.int32)
    rows = ["PixelFlipping", "MaxSensitivity", "RandomLogit"]
    got, want = (evaluate(y=v, metrics=metrics(rows)) for v in (None, y))
    np.testing.assert_array_equal(got.y, y)
    for cell, outcome in want.outcomes.items():
        assert_same(got[cell], outcome, cell)


# -- one sample as a pure function ---------------------------------------------------------------


@functools.cache
def clean_maps() -> np.ndarray:
    w = world()
    return np.asarray(je.attribute(cases.entries, w.model, w.x, w.y, key=KEY, batch_size=BATCH))


def as_function(row: str) -> Any:
    w, explainer = world(), cases.entries if ROWS[row].explains else None
    f = je.as_function(ROWS[row].metric, w.model, explainer)
    # What the host makes of each image is given.
    extras = {
        name: np.stack([make(x, w.channel_axis) for x in w.x])
        for question in asks_of(ROWS[row].metric)
        for name, make in question.host_extras().items()
    }

    def one(x: Any, y: Any, a: Any, key: Any, index: Any, mask: Any) -> Any:
        own = {name: jnp.asarray(rows)[index] for name, rows in extras.items()}
        return f(x, y, a, key, index=index, mask=mask, extras=own)

    return one


@pytest.mark.parametrize("row", ALL)
@together
def test_as_function_under_jit_and_vmap(row):
    if ROWS[row].over_data:
        with pytest.raises(TypeError, match="whole data set"):
            as_function(row)
        return
    if ROWS[row].on_host:
        with pytest.raises(TypeError, match="finished on the host"):
            as_function(row)
        return
    w = world()
    f = jax.jit(jax.vmap(as_function(row), in_axes=(0, 0, 0, None, 0, 0)))
    got = f(w.x, w.y, clean_maps(), jax.random.key(KEY), jnp.arange(N), w.fitted(w.mask))
    assert_same(got, base()["entries", row], row, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("row", ["Deletion", "FaithfulnessCorrelation", "MPRT", "AUC"])
@together
def test_as_function_under_jit(row):
    w, i = world(), 5
    f = jax.jit(as_function(row))
    got = f(w.x[i], w.y[i], clean_maps()[i], jax.random.key(KEY), i, w.fitted(w.mask)[i])
    want = jax.tree.map(lambda v: v[i], base()["entries", row])
    assert_same(got, want, row, rtol=1e-5, atol=1e-5)


def test_as_function_is_differentiable():
    """Completeness in the map: the sign of the sum's gap, on every feature."""
    w = world()
    f = je.as_function(je.Completeness(), w.model)
    g = jax.grad(lambda a: f(w.x[0], w.y[0], a, 0).score)(clean_maps()[0])
    assert np.isin(g, (-1, 1)).all()
    assert len(np.unique(g)) == 1


# -- draws ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("row", [row for row in ALL if ROWS[row].random])
def test_what_is_random_takes_draws(row):
    assert "draws" in [field.name for field in dataclasses.fields(ROWS[row].metric)]


@pytest.mark.parametrize("row", DRAWING)
def test_draws_for_all_samples_and_for_each(row):
    """Draws shared by all samples equal the same draws given to each."""
    w, r = world(), ROWS[row]
    draws = draws_of(row, r.metric, w, shared=True)
    shared = score(dataclasses.replace(r.metric, draws=draws))
    assert not np.isnan(shared.score).all()
    if r.per_sample_draws:
        each = np.broadcast_to(draws, (N, *np.shape(draws)))
        assert_same(score(dataclasses.replace(r.metric, draws=each)), shared, row)
    other_key = score(dataclasses.replace(r.metric, draws=draws), key=KEY + 1)
    assert_same(other_key, shared, f"{row}: the key must not matter")


@together
@pytest.mark.parametrize("row", [row for row in DRAWING if ROWS[row].recover])
def test_own_draws_given_back(row):
    """The library's own draws, seen in its questions and given back, give the same scores."""
    w, r = world(), ROWS[row]
    m = r.metric
    own, spy = ask_spy(row, m, w)
    draws = r.recover(w, w.x, spy.classes if r.explains else None, spy.queries)
    kept = {"a": w.maps["smooth"]} if not r.explains else {"explainer": w.explainer}
    got = je.score(
        dataclasses.replace(m, draws=draws),
        w.model,
        w.x,
        w.y,
        mask=w.mask,
        key=KEY + 1,
        batch_size=BATCH,
        **kept,
    )
    assert_same(got, own, row, rtol=max(1e-4, r.rtol), atol=1e-5)
    assert_same(own, base()["entries", row], row, rtol=max(1e-4, r.rtol), atol=1e-5)


def test_a_random_baseline_of_a_ranked_deletion_is_drawn_once():
    w, m = world(), dataclasses.replace(metric_of("PixelFlipping"), baseline="uniform")
    _, spy = ask_spy("PixelFlipping", m, w)
    changed = spy.queries != w.x[:, None]
    assert (np.diff(changed.astype(int), axis=1) >= 0).all()
    last = spy.queries[:, -1:]
    np.testing.assert_array_equal(spy.queries, np.where(changed, last, w.x[:, None]))
    assert 0 <= last.min() < 0.05 < 0.95 < last.max() <= 1
    assert len(np.unique(last)) > 0.99 * last.size  # samples and entries have their own


def test_a_random_baseline_of_random_subsets_is_drawn_anew():
    w, m = world(), dataclasses.replace(metric_of("FaithfulnessCorrelation"), baseline="uniform")
    _, spy = ask_spy("FaithfulnessCorrelation", m, w)
    new = spy.queries[spy.queries != w.x[:, None]]
    assert new.size == N * m.n_runs * m.subset_size
    assert len(np.unique(new)) > 0.99 * new.size
    assert 0 <= new.min() <= new.max() <= 1


def test_noise_has_the_distribution_that_was_promised():
    """Uniform in [-r, r], and normal with std: moments of 7 x 6 x 128 draws, all of them apart."""
    w = world()
    for row, std in (("MaxSensitivity", 0.2 / np.sqrt(3)), ("LocalLipschitz", 0.1)):
        _, spy = ask_spy(row, metric_of(row), w)
        noise = spy.queries - w.x[:, None]
        assert abs(noise.mean()) < 4 * std / np.sqrt(noise.size)
        np.testing.assert_allclose(noise.std(), std, rtol=0.05)
        flat = noise.reshape(-1, w.x[0].size)
        assert np.abs(np.corrcoef(flat) - np.eye(len(flat))).max() < 0.5
        if row == "MaxSensitivity":
            assert 0.19 < np.abs(noise).max() <= 0.2 + 1e-6


def test_the_same_noise_is_one_question():
    """Given the same noise, all that explain noisy inputs share one pass."""
    w = world()
    noise = cases.noise(w, je.MaxSensitivity(n_samples=4), np.random.default_rng(0))
    asked = evaluate(metrics=noisy(draws=noise)).asked
    assert asked["attribution"] == N + 4 * N
    assert asked["output"] == asked["hidden"] == N + 4 * N


NOISY = [
    "MaxSensitivity",
    "AvgSensitivity",
    "LocalLipschitz",
    "RIS",
    "ROS",
    "RRS",
    "AverageStability",
]


def noisy(**fields: Any) -> dict[str, Any]:
    """All metrics that explain noisy inputs."""
    return {r: dataclasses.replace(ROWS[r].metric, **fields) for r in NOISY}


@together
def test_a_noise_in_common():
    """`noise=` says what to share: seven metrics, and the calls of one; the scores of each."""
    for kind in ("uniform", "gaussian"):
        shared = je.Noise(kind=kind, scale=0.15, n_samples=4)
        calls = {"explainer": 0}

        def explainer(model: Any, x: Any, y: Any, keys: Any, calls: Any = calls) -> Any:
            calls["explainer"] += len(x)
            return numpy_explainer(model, x, y, keys)

        got = evaluate(explainers={"entries": je.Host(explainer)}, metrics=noisy(noise=shared))
        assert calls["explainer"] == got.asked["attribution"] == N + 4 * N
        assert got.asked["output"] == got.asked["hidden"] == N + 4 * N
        assert got.asked["naive"]["attribution"] == len(NOISY) * (N + 4 * N)
        for row in NOISY if kind == "uniform" else NOISY[:1]:
            alone = score(dataclasses.replace(ROWS[row].metric, noise=shared))
            r = ROWS[row]
            assert_same(got["entries", row], alone, row, rtol=r.rtol, atol=r.atol)
    # It wins over the metric's own settings, and over its draws.
    own = {"MaxSensitivity": je.MaxSensitivity(radius=0.15, n_samples=4)}
    same = {"MaxSensitivity": je.MaxSensitivity(noise=je.Noise(scale=0.15, n_samples=4), radius=9)}
    got, want = (evaluate(metrics=m)["entries", "MaxSensitivity"] for m in (same, own))
    assert_same(got, want, exactly=True)


# -- compiled programs ---------------------------------------------------------------------------


def nudged(metric: Any, numbers: Any, which: int) -> Any:
    """The metric with every number at one of two values."""
    fields = {}
    for field in dataclasses.fields(metric):
        v = getattr(metric, field.name)
        if field.metadata.get("static") or isinstance(v, bool):
            continue
        if field.name in numbers:
            fields[field.name] = numbers[field.name][which]
        elif field.name == "baseline":
            fields[field.name] = (-2.0, np.float32(-1.5))[which]
        elif isinstance(v, int):
            fields[field.name] = v + which
        elif isinstance(v, float):
            fields[field.name] = v * (1 + which / 4)
    return dataclasses.replace(metric, **fields)


@together
@pytest.mark.parametrize("row", ALL)
def test_another_number_compiles_nothing(row, compiled):
    numbers = ROWS[row].numbers
    first, second = (nudged(ROWS[row].metric, numbers, k) for k in (0, 1))
    score(first)
    before = TRACES.copy()
    compiled.clear()
    score(second)
    assert not traced_since(before)
    assert not compiled


@together
def test_one_program_with_the_model_and_one_for_each_explainer(compiled):
    """However many metrics: one forward (a second one with hidden layers), one explain each."""
    w = world()

    def apply(params: Any, x: Any) -> Any:
        return cases.apply(params, x)

    def hidden(params: Any, x: Any) -> Any:
        return cases.hidden(params, x)

    def first(model: Any, x: Any, y: Any, keys: Any) -> Any:
        return cases.entries(model, x, y, keys)

    def second(model: Any, x: Any, y: Any, keys: Any) -> Any:
        return cases.pixels(model, x, y, keys)

    base()
    before = TRACES.copy()
    compiled.clear()
    model = dataclasses.replace(w.model, apply=apply, hidden=hidden)
    evaluate(
        model=model,
        explainers={"a": first, "b": second, "stored": w.maps["ties"]},
        metrics=metrics(few := ["PixelFlipping", "FaithfulnessCorrelation", "AUC", "Completeness"]),
    )
    assert not any("hidden" in ROWS[row].metric.asks for row in few)
    assert traced_since(before)["forward"] == 1
    assert traced_since(before)["explain"] == 2
    evaluate(model=model, explainers={"a": first, "b": second})
    asks_hidden = any("hidden" in ROWS[row].metric.asks for row in ALL)
    assert traced_since(before)["forward"] == 1 + asks_hidden
    # Models with other parameters (MPRT's) are no other programs, those of another `apply` are.
    asked = [p for row in ALL for p in asks_of(ROWS[row].metric)]
    others = {type(p) for p in asked if type(p).model is not je.Perturbation.model}
    assert traced_since(before)["explain"] == 2 * (1 + len(others))
    assert compiled["jit(forward)"] == 1 + asks_hidden
    assert compiled["jit(explain)"] == 2 * (1 + len(others))


@together
def test_another_model_of_the_same_shape_compiles_nothing(compiled):
    """Parameters are arguments; inputs, classes and keys too."""
    w = world()
    evaluate()  # not base(): what was compiled for that may have been let go
    before = TRACES.copy()
    compiled.clear()
    params = jax.tree.map(lambda p: 0.9 * p, w.model.params)
    evaluate(model=dataclasses.replace(w.model, params=params), x=0.5 * w.x, key=8)
    assert not traced_since(before)
    assert not compiled


# -- what is asked -------------------------------------------------------------------------------


def asked(metrics: Any, explainers: Any = None, **given: Any) -> Any:
    explainers = explainers or {"entries": cases.entries}
    return evaluate(metrics=metrics, explainers=explainers, **given).asked


def test_sensitivities_share_one_pass():
    """0.2 and float32(0.2) are one number."""
    got = asked(
        {
            "max": je.MaxSensitivity(n_samples=4),
            "avg": je.AvgSensitivity(n_samples=4, radius=np.float32(0.2)),
            "ris": je.RIS(n_samples=4, radius=jnp.float32(0.2)),
        }
    )
    assert got == {
        "output": N + 4 * N,  # RIS looks at predictions
        "attribution": N + 4 * N,
        "hidden": 0,
        "naive": {"output": N + 4 * N, "attribution": 3 * (N + 4 * N), "hidden": 0},
    }


def test_another_radius_is_another_question():
    radii = {"a": je.MaxSensitivity(n_samples=4), "b": je.MaxSensitivity(n_samples=4, radius=0.3)}
    assert asked(radii)["attribution"] == N + 2 * 4 * N


def test_flipping_and_deletion_share_their_steps():
    got = asked(
        {
            "flipping": je.PixelFlipping(n_steps=6),
            "deletion": je.Deletion(n_steps=6),
            "logit": je.Deletion(n_steps=6, output="logit"),
            "raw": je.Deletion(n_steps=6, normalise=None),  # another map, so another question
        },
    )
    assert got["output"] == N + 2 * 6 * N
    assert got["naive"]["output"] == 4 * (N + 6 * N)
    assert got["attribution"] == N
    assert got["naive"]["attribution"] == 4 * N


def test_both_orders_of_flipping_are_shared():
    got = asked(
        {
            "gain": je.SRG(n_steps=6),
            "morf": je.PixelFlipping(n_steps=6),
            "lerf": je.PixelFlipping(n_steps=6, order="lerf"),
            "deletion": je.Deletion(n_steps=6),
        }
    )
    assert got["output"] == N + 2 * 6 * N
    assert got["naive"]["output"] == (N + 2 * 6 * N) + 3 * (N + 6 * N)


def test_information_curves_share_the_steps_of_insertion():
    got = asked({"i": je.Insertion(n_steps=6), "s": je.SIC(n_steps=6), "a": je.AIC(n_steps=6)})
    assert got["output"] == N + 6 * N


def test_only_real_superpixels_are_asked():
    """Padding to the most that there may be costs nothing."""
    segments = np.zeros((N, 8, 8), int)
    for i in range(N):
        segments[i, :, 4:] = 1
        segments[i, 0, : i % 3] = 3  # an id between is not used, samples differ in how many are
    got = asked({"irof": je.IROF(n_segments=10)}, extras={"segments": segments})
    assert got["output"] == N + sum(len(np.unique(v)) for v in segments)


def test_patches_are_shared():
    """Selectivity takes all patches, and so does RegionPerturbation where there are few."""
    got = asked({"s": je.Selectivity(patch_size=4), "r": je.RegionPerturbation(patch_size=4)})
    assert got["output"] == N + 4 * N


def test_one_masked_input_serves_three():
    got = asked({"d": je.AverageDrop(), "i": je.IncreaseInConfidence(), "a": je.ADCC()})
    assert got["output"] == N + N
    assert got["attribution"] == N + N


def test_random_cells_are_asked_once_for_all_explainers():
    """The grid is of the input, whatever a feature is."""
    explainers = {"entries": cases.entries, "pixels": cases.pixels}
    assert asked({"mu": metric_of("MuFidelity")}, explainers)["output"] == N + 8 * N


def test_random_subsets_are_asked_once_for_all_explainers():
    w = world()
    three = {"a": w.maps["smooth"], "b": w.maps["ties"], "c": cases.entries}
    metric = {"correlation": metric_of("FaithfulnessCorrelation")}
    got, one = asked(metric, three), asked(metric, {"a": three["a"]})
    assert got["output"] == one["output"] == N + 8 * N
    assert got["naive"]["output"] == 3 * one["naive"]["output"] == 3 * (N + 8 * N)
    assert got["attribution"] == got["naive"]["attribution"] == N
    # Pixels are other features: other questions.
    assert asked(metric, {**three, "d": cases.pixels})["output"] == N + 2 * 8 * N


def test_layers_are_randomised_for_each_explainer():
    got = asked({"mprt": je.MPRT(n_seeds=2)}, {"a": cases.entries, "b": cases.pixels})
    assert got["attribution"] == got["naive"]["attribution"] == 2 * (N + 2 * 2 * N)
    assert got["output"] == got["naive"]["output"] == 0


def test_a_ranked_question_is_asked_for_each_explainer():
    w = world()
    two = {"a": w.maps["smooth"], "b": w.maps["ties"]}
    assert asked({"flipping": je.PixelFlipping(n_steps=6)}, two)["output"] == N + 2 * 6 * N


def test_a_metric_without_questions_asks_nothing():
    got = asked({"s": je.Sparseness(), "c": je.Complexity()}, {"a": world().maps["smooth"]})
    zero = {"output": 0, "attribution": 0, "hidden": 0}
    assert got == {**zero, "naive": zero}


def test_padding_is_not_counted():
    """The model is really called as often as `asked` says, also with ragged batches."""
    w = world()
    for size in (1, 3, 5, 100):
        spy = Spy(w)
        got = evaluate(
            model=spy.model,
            explainers={"a": w.maps["smooth"]},
            metrics={"f": je.PixelFlipping(n_steps=6), "s": je.Sparseness()},
            batch_size=size,
        ).asked
        assert sum(map(len, spy.x)) == got["output"] == N + 6 * N
        assert max(map(len, spy.x)) <= size


@together
def test_all_together_asks_no_more_than_each_alone():
    got = base().asked
    for what in ("output", "attribution", "hidden"):
        assert got[what] <= got["naive"][what]


# -- perturbations see what they declare ---------------------------------------------------------


@je.pytree
class Peeking(je.Perturbation):
    reads = frozenset()
    at: str = je.static("a")

    def n_steps(self, sample: Any) -> int:
        return 2

    def apply(self, sample: Any, plan: Any, step: Any) -> Any:
        seen = {"a": sample.a, "features": sample.features, "mask": sample.mask}[self.at]
        extra = seen.sum() if self.at != "features" else len(seen)
        return je.Query(x=sample.x + extra, y=sample.y)


@je.pytree
class Peek(je.Metric):
    family, direction, reference = "axiomatic", "lower", "none"
    asks = frozenset({"output"})
    at: str = je.static("a")

    def questions(self) -> Any:
        return Peeking(at=self.at)

    def reduce(self, sample: Any, reference: Any, measured: Any, valid: Any) -> Any:
        return je.Outcome(score=measured.mean())


@pytest.mark.parametrize("at", ["a", "features", "mask"])
def test_a_perturbation_that_peeks_is_told(at):
    with pytest.raises(TypeError, match=f'looked at sample.{at}, .*does not declare: add "{at}"'):
        score(Peek(at=at))


# -- host callables ------------------------------------------------------------------------------


def numpy_model(x: Any) -> np.ndarray:
    """A function of x that JAX cannot trace."""
    net = world().net
    return np.array([net.logits(v) for v in np.asarray(x, np.float64)])


def numpy_explainer(model: Any, x: Any, y: Any, keys: Any) -> np.ndarray:
    net, rows = world().net, zip(np.asarray(x, np.float64), np.asarray(y), strict=True)
    return np.array([net.gradient(v, c) for v, c in rows])


@together
def test_a_numpy_model_gives_the_same_scores():
    """A bare function, found out to be a host callable; the last batch is ragged."""
    maps, rows = clean_maps(), [r for r in PLAIN if not ROWS[r].changes_params]
    got = evaluate(model=numpy_model, explainers={"a": maps}, metrics=metrics(rows))
    for row in rows:
        r = ROWS[row]
        assert_same(got["a", row], base()["entries", row], row, rtol=r.rtol, atol=r.atol)


@together
@pytest.mark.parametrize("wrapped", [False, True])
def test_a_numpy_explainer_gives_the_same_scores(wrapped):
    explainer = je.Host(numpy_explainer) if wrapped else numpy_explainer
    rows = [r for r in EXPLAINS if not ROWS[r].changes_params] + ["PixelFlipping", "Sparseness"]
    got = evaluate(explainers={"a": explainer}, metrics=metrics(rows))
    for row in rows:
        r = ROWS[row]
        assert_same(got["a", row], base()["entries", row], row, rtol=r.rtol, atol=r.atol)
    want = evaluate(explainers={"a": cases.entries}, metrics=metrics(rows))
    assert got.asked == want.asked


@together
def test_a_jax_explainer_on_the_host():
    """je.Host of what could be traced: the same maps, computed outside compiled programs."""
    rows = ["MaxSensitivity", "Sparseness"]
    got = evaluate(explainers={"a": je.Host(cases.entries, arrays="jax")}, metrics=metrics(rows))
    for row in rows:
        assert_same(got["a", row], base()["entries", row], row, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("row", [row for row in ALL if ROWS[row].changes_params])
def test_a_host_explainer_of_changed_parameters_is_refused(row):
    before = TRACES.copy()
    with pytest.raises(ValueError, match=r"changes the model's parameters.*host callable"):
        score(row, numpy_explainer)
    with pytest.raises(ValueError, match=r"changes the model's parameters.*host model"):
        score(row, cases.entries, model=numpy_model)
    assert not traced_since(before)


@dataclasses.dataclass(eq=False)
class Failing:
    """Answers two batches and then does something else."""

    then: Any
    calls: int = 0

    def __call__(self, model: Any, x: Any, y: Any, keys: Any) -> Any:
        self.calls += 1
        good = numpy_explainer(model, x, y, keys)
        return good if self.calls < 3 else self.then(good)


def burn(maps: np.ndarray) -> np.ndarray:
    raise ZeroDivisionError("the torch went out")


@pytest.mark.parametrize(
    ("then", "says"),
    [
        (burn, "ZeroDivisionError: the torch went out"),
        (lambda a: a[:, 0], r"shape \[1, 8, 8\], wanted \[1, 2, 8, 8\]"),
        (lambda a: a[:0], r"shape \[0, 2, 8, 8\], wanted \[1, 2, 8, 8\]"),
        (lambda a: None, "wanted"),
    ],
    ids=["raises", "shape", "rows", "none"],
)
def test_an_explainer_that_fails_on_its_third_batch(then, says):
    """The error names explainer and batch, and what was scored until then is not lost."""
    with pytest.raises(je.EvaluationError, match=says) as caught:
        evaluate(
            explainers={"stored": world().maps["smooth"], "lamp": je.Host(Failing(then))},
            metrics=metrics(["Sparseness", "PixelFlipping"]),
        )
    assert "'lamp'" in str(caught.value)
    assert "samples 6..6" in str(caught.value)
    partial = caught.value.partial
    want = evaluate(
        explainers={"stored": world().maps["smooth"], "lamp": numpy_explainer},
        metrics=metrics(["Sparseness", "PixelFlipping"]),
    )
    for cell, outcome in want.outcomes.items():
        assert_same(partial[cell], jax.tree.map(lambda v: v[:6], outcome), cell)
    if then is burn:
        assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_an_explainer_that_fails_on_a_perturbed_batch():
    """Sparseness needs no perturbed inputs, so of it the failing batch is there, too."""
    with pytest.raises(
        je.EvaluationError, match=r"'lamp' on the batch of samples 0\.\.2"
    ) as caught:
        evaluate(
            explainers={"lamp": je.Host(Failing(burn))},
            metrics=metrics(["Sparseness", "MaxSensitivity"]),
        )
    partial = caught.value.partial
    assert len(partial["lamp", "Sparseness"].score) == 3
    assert ("lamp", "MaxSensitivity") not in partial.outcomes


def test_a_host_model_that_fails():
    def model(x: Any) -> Any:
        if np.asarray(x).shape[0] == 1:
            burn(x)
        return numpy_model(x)

    with pytest.raises(je.EvaluationError, match=r"the model .*failed.*torch went out") as caught:
        evaluate(
            model=model,
            explainers={"a": world().maps["smooth"]},
            metrics=metrics(["Sparseness", "PixelFlipping"]),
        )
    assert len(caught.value.partial["a", "PixelFlipping"].score) == 6


# -- no mutation ---------------------------------------------------------------------------------


@together
@pytest.mark.parametrize("kind", [np.array, jnp.array], ids=["numpy", "jax"])
def test_nothing_of_the_caller_is_changed(kind):
    """Arrays that could be written to, or donated, are as they were."""
    w = world()
    draws = draws_of("MaxSensitivity", metric_of("MaxSensitivity"), w)
    given = {
        "x": w.x,
        "y": w.y,
        "mask": w.mask,
        "a": clean_maps(),
        "draws": draws,
        "index": np.arange(N),
        "params": w.model.params,
    }
    given = jax.tree.map(kind, given)
    extra = dataclasses.replace(metric_of("MaxSensitivity"), draws=given["draws"])
    evaluate(
        model=dataclasses.replace(w.model, params=given["params"]),
        x=given["x"],
        y=given["y"],
        mask=given["mask"],
        index=given["index"],
        metrics={**metrics(), "with draws": extra},
    )
    evaluate(
        x=given["x"],
        y=given["y"],
        mask=given["mask"],
        explainers={"a": given["a"]},
        metrics=metrics(PLAIN),
    )
    want = {
        "x": w.x,
        "y": w.y,
        "mask": w.mask,
        "a": clean_maps(),
        "draws": draws,
        "index": np.arange(N),
        "params": w.model.params,
    }
    jax.tree.map(np.testing.assert_array_equal, given, want)


# -- undefined scores ----------------------------------------------------------------------------


@together
def test_a_model_that_says_the_same_of_everything():
    """Constant outputs and zero gradients: NaN where a score is undefined, never a crash."""
    w = world()
    params = jax.tree.map(jnp.zeros_like, w.model.params)
    got = evaluate(model=dataclasses.replace(w.model, params=params))
    undefined = {
        "FaithfulnessCorrelation",
        "FaithfulnessEstimate",
        "SensitivityN",
        "MaxSensitivity",
        "AvgSensitivity",
        "Sparseness",
        "Complexity",
        "MPRT",
        "SmoothMPRT",
        "EfficientMPRT",
        "ClassSensitivity",
        "RandomLogit",
        "RelevanceMassAccuracy",
        "AttributionLocalisation",
        "Focus",
        "MSTC",
    } & set(ROWS)
    for (_, row), outcome in got.outcomes.items():
        nans = int(np.isnan(outcome.score).sum())
        assert outcome.n_undefined == nans
        assert not np.isinf(outcome.score).any()
        if row in undefined:
            assert nans == N, row
    for row in ("PixelFlipping", "Deletion", "Insertion"):
        np.testing.assert_allclose(got["entries", row].score, 1 / cases.K, rtol=1e-6)
    table = got.summary()
    assert table["n_undefined"].sum() == sum(o.n_undefined for o in got.outcomes.values())


@together
def test_inputs_that_are_constant():
    """x = 0 everywhere: black is white is 0, and nothing changes when features go."""
    w = world()
    got = evaluate(x=np.zeros_like(w.x))
    assert np.isnan(got["entries", "FaithfulnessEstimate"].score).all()
    np.testing.assert_allclose(got["entries", "RegionPerturbation"].score, 0, atol=1e-7)
    for outcome in got.outcomes.values():
        assert not np.isinf(outcome.score).any()


def test_a_constant_map_has_no_correlation():
    """Sums of equally many equal attributions are equal, however they are rounded."""
    w = world()
    for value in (1.0, 0.1, -1 / 3):
        a = np.full_like(w.maps["smooth"], value)
        for normalise in ("max", "second_moment", None):
            m = dataclasses.replace(metric_of("FaithfulnessCorrelation"), normalise=normalise)
            out = score(m, None, a)
            assert out.n_undefined == N, f"{value}, {normalise}: {out.score}"


# -- bad input -----------------------------------------------------------------------------------


def bad(array: Any, value: float) -> Any:
    array = np.array(array)
    array[2].flat[3] = value
    return array


def in_jit(x: Any) -> Any:
    return jax.jit(lambda v: score(je.Sparseness(), None, world().maps["smooth"], x=v).score)(x)


def map_in_jit(a: Any) -> Any:
    return jax.jit(lambda v: score(je.Sparseness(), None, v).score)(a)


def sparse(**given: Any) -> Any:
    given = {"a": world().maps["smooth"]} | given
    return lambda: score(je.Sparseness(), None, **given)


def flipping(**given: Any) -> Any:
    given = {"a": world().maps["smooth"]} | given
    return lambda: score(je.PixelFlipping(n_steps=6), None, **given)


def drawn(row: str, draws: Any, **fields: Any) -> Any:
    """A metric with these draws, of stored maps or of the explainer."""

    def call() -> Any:
        m = dataclasses.replace(ROWS[row].metric, draws=draws, **fields)
        return score(m) if ROWS[row].explains else score(m, None, world().maps["smooth"])

    return call


def flat(x: Any) -> Any:
    """A model of tables."""
    return x @ jnp.ones((4, cases.K))


W = world()
SMOOTH = W.maps["smooth"]

BAD: dict[str, tuple[Any, type[Exception], str]] = {
    # x
    "nan in x": (flipping(x=bad(W.x, np.nan)), ValueError, r"x holds 1 NaN.*sample 2"),
    "inf in x": (flipping(x=bad(W.x, np.inf)), ValueError, r"x holds 1 NaN or inf.*sample 2"),
    "integer x": (flipping(x=W.x.astype(int)), TypeError, r"x must be floating-point, got int64"),
    "no samples": (flipping(x=W.x[:0]), ValueError, r"x must be a batch \[N, ...\]"),
    "x without a batch": (flipping(x=W.x[0, 0, 0]), ValueError, r"x must be a batch"),
    "x of words": (flipping(x=np.full((N, 3), "a")), TypeError, "x must be a numeric array"),
    "x that the model cannot take": (
        flipping(x=W.x[:, :1], a=SMOOTH[:, :1]),
        (ValueError, TypeError),
        "128",
    ),
    # a
    "a of another shape": (
        sparse(a=SMOOTH[..., :4]),
        ValueError,
        r"\[N, 2, 8, 4\] for inputs \[N, 2, 8, 8\]: wanted \[N, 2, 8, 8\] or \[N, 8, 8\]",
    ),
    "a with other channels": (sparse(a=np.repeat(SMOOTH, 2, 1)), ValueError, r"\[N, 4, 8, 8\]"),
    "flat a": (sparse(a=SMOOTH.reshape(N, -1)), ValueError, r"\[N, 128\] for inputs"),
    "a of fewer samples": (sparse(a=SMOOTH[:5]), ValueError, r"each of the 7 samples, got \[5, "),
    "neither a nor explainer": (lambda: score(je.Sparseness(), None), ValueError, "give a="),
    "a of words": (sparse(a=[["a"]] * N), TypeError, "explainer|array"),
    # y
    "y out of range": (flipping(y=[0, 1, 2, 3, 4, 5, 0]), ValueError, r"class 5.* 5 outputs"),
    "negative y": (flipping(y=[0, 1, 2, 3, -1, 0, 0]), ValueError, r"from 0 on, got -1"),
    "short y": (flipping(y=[0, 1]), ValueError, r"each of the 7 samples, got \[2\]"),
    "y of another rank": (flipping(y=W.y[:, None]), ValueError, r"got \[7, 1\]"),
    "float y": (flipping(y=W.y.astype(np.float32)), TypeError, "integer classes, got float32"),
    "bool y": (flipping(y=W.y > 2), TypeError, "integer classes, got bool"),
    # masks
    "no mask": (
        lambda: score(je.AUC(), None, SMOOTH, mask=None),
        ValueError,
        "'AUC'.*give mask=",
    ),
    "mask of another size": (
        lambda: score(je.AUC(), None, SMOOTH, mask=W.mask[:, :4]),
        ValueError,
        r"mask of shape \[7, 4, 8\] does not fit.*\[7, 2, 8, 8\]",
    ),
    "mask per entry for a pixel map": (
        lambda: score(je.AUC(), cases.pixels, mask=np.ones((N, 2, 8, 8), bool)),
        ValueError,
        r"mask of shape \[7, 2, 8, 8\] does not fit.*\[7, 8, 8\]",
    ),
    "mask of fewer samples": (
        lambda: score(je.AUC(), None, SMOOTH, mask=W.mask[:3]),
        ValueError,
        r"mask must have one row for each of the 7 samples, got \[3",
    ),
    "mask of shades": (
        lambda: score(je.AUC(), None, SMOOTH, mask=0.5 * W.mask),
        ValueError,
        "mask must be boolean",
    ),
    # index, key, sizes
    "index of another length": (sparse(index=[1, 2]), ValueError, "one integer id for each of"),
    "index of floats": (sparse(index=np.arange(7.0)), ValueError, "one integer id.*float64"),
    "negative index": (sparse(index=np.arange(-1, 6)), ValueError, r"0\.\.2\*\*32 - 1, got -1"),
    "a key of floats": (sparse(key=0.5), TypeError, "key must be an integer seed or one JAX"),
    "a word as key": (sparse(key="0"), TypeError, "key must be an integer seed"),
    "many keys": (sparse(key=jax.random.split(jax.random.key(0), N)), TypeError, "one JAX random"),
    "batch_size 0": (sparse(batch_size=0), ValueError, "batch_size must be a positive.*got 0"),
    "batch_size 2.5": (sparse(batch_size=2.5), ValueError, "batch_size.*got 2.5"),
    "batch_size True": (sparse(batch_size=True), ValueError, "batch_size.*got True"),
    "another mesh": (sparse(mesh="cpu"), TypeError, "mesh must be a jax.sharding.Mesh, got str"),
    "unknown precision": (
        sparse(precision="hihgest"),
        ValueError,
        "precision='hihgest'.*Did you mean 'highest'",
    ),
    "unknown output of the run": (
        sparse(output="logits"),
        ValueError,
        "output='logits'.*Did you mean 'logit'",
    ),
    # metrics and explainers
    "a metric's class": (lambda: score(je.Sparseness, None, SMOOTH), TypeError, "instance"),
    "a metric's class in evaluate": (
        lambda: evaluate(metrics={"s": je.Sparseness}),
        TypeError,
        r"class Sparseness: give an instance, Sparseness\(\)",
    ),
    "no metric": (lambda: evaluate(metrics={}), ValueError, "metrics is empty"),
    "a word as metric": (lambda: evaluate(metrics={"s": "Sparseness"}), TypeError, "got str"),
    "metrics in a list twice": (
        lambda: evaluate(metrics=[je.Sparseness(), je.Sparseness()]),
        ValueError,
        "more than one Sparseness",
    ),
    "a metric outside a dict": (lambda: evaluate(metrics=je.Sparseness()), TypeError, "dict"),
    "no explainer": (lambda: evaluate(explainers={}), ValueError, "explainers is empty"),
    "an explainer's class": (
        lambda: evaluate(explainers={"g": je.explain.Gradient}),
        TypeError,
        r"class Gradient: give an instance, Gradient\(\)",
    ),
    "a word as explainer": (lambda: evaluate(explainers={"g": "Gradient"}), TypeError, "got str"),
    "stored maps for a metric that explains": (
        lambda: score(metric_of("MaxSensitivity"), None, SMOOTH),
        ValueError,
        "'MaxSensitivity' explains changed inputs.*give the explainer itself",
    ),
    "stored maps of another shape than the explainer's": (
        lambda: score(je.Sparseness(), cases.entries, SMOOTH.sum(1)),
        ValueError,
        r"\[7, 8, 8\], but the explainer makes maps of shape \[2, 8, 8\]",
    ),
    "an explainer of another shape": (
        lambda: score(je.Sparseness(), lambda m, x, y, k: x[..., 0]),
        ValueError,
        r"\[N, 2, 8\] for inputs",
    ),
    "an explainer of one number": (
        lambda: score(je.Sparseness(), lambda m, x, y, k: x.sum()),
        ValueError,
        "one map a sample",
    ),
    "a model of words": (lambda: evaluate(model="resnet"), TypeError, "model must be.*got str"),
    "a model that gives no logits": (
        lambda: evaluate(model=lambda x: x),
        ValueError,
        r"logits \[N, K\]; for N = 2 it gave float32\[2, 2, 8, 8\]",
    ),
    # settings
    "unknown normalise": (
        lambda: je.PixelFlipping(normalise="maks"),
        ValueError,
        "PixelFlipping.normalise='maks'.*Did you mean 'max'",
    ),
    "unknown output": (
        lambda: je.PixelFlipping(output="probabilty"),
        ValueError,
        "Did you mean 'probability'",
    ),
    "unknown baseline": (
        lambda: je.PixelFlipping(baseline="blakc"),
        ValueError,
        "baseline='blakc'.*Did you mean 'black'",
    ),
    "unknown order": (
        lambda: je.PixelFlipping(order="mrof"),
        ValueError,
        "order='mrof'.*Did you mean 'morf'",
    ),
    "unknown order of layers": (
        lambda: je.MPRT(order="topdown"),
        ValueError,
        "Did you mean 'top_down'",
    ),
    "unknown similarity": (lambda: je.MPRT(similarity="sim"), ValueError, "Did you mean 'ssim'"),
    "unknown layer": (
        lambda: score(je.MPRT(layers=("hiden",))),
        ValueError,
        "no layer 'hiden', only .*Did you mean 'hidden'",
    ),
    "unknown perturbation": (
        lambda: je.Infidelity(perturbation="gausian"),
        ValueError,
        "Did you mean 'gaussian'",
    ),
    "an unknown field": (lambda: je.PixelFlipping(steps=3), TypeError, "steps"),
    "absolute of words": (
        lambda: je.Sparseness(absolute="yes"),
        (TypeError, ValueError),
        "absolute='yes'",
    ),
    "no steps": (lambda: je.PixelFlipping(n_steps=0), ValueError, "n_steps.*at least 1"),
    "a fraction of steps": (lambda: je.PixelFlipping(n_steps=2.5), TypeError, "n_steps=2.5"),
    "a noise by name": (
        lambda: je.MaxSensitivity(noise="gaussian"),
        TypeError,
        "noise='gaussian'.*a Noise or None",
    ),
    "an unknown noise": (lambda: je.Noise(kind="gausian"), ValueError, "Did you mean 'gaussian'"),
    "no noise": (lambda: je.Noise(scale=0), ValueError, "scale=0.*above 0"),
    "noise of no samples": (lambda: je.Noise(n_samples=0), ValueError, "n_samples.*at least 1"),
    "a hidden layer that is not there": (
        lambda: score(je.RRS(layers=("hiden",))),
        ValueError,
        "no layer 'hiden', only hidden. Did you mean 'hidden'",
    ),
    "a hidden layer, not in a list": (lambda: je.RRS(layers="hidden"), TypeError, "must be names"),
    "no hidden layers": (lambda: je.RRS(layers=()), TypeError, "must be names, or None"),
    "hidden layers that the model does not show": (
        lambda: score(je.RRS(), model=dataclasses.replace(W.model, hidden=None)),
        ValueError,
        r"'RRS' looks at hidden layers: give Model\(hidden=",
    ),
    "more signs than features": (
        lambda: score(je.Consistency(n=65), cases.pixels),
        ValueError,
        "n=65 is larger than the 64 features",
    ),
    "one shift": (lambda: je.Continuity(n_steps=1), ValueError, "n_steps.*at least 2"),
    "a spanning tree of a table": (
        lambda: score(je.MSTC(), None, np.ones((N, 4)), x=W.x[:, 0, 0, :4], mask=None, model=flat),
        ValueError,
        r"'MSTC'.*two spatial axes, got inputs of shape \(4,\)",
    ),
    "a percentile above 100": (lambda: je.MSTC(percentile=101), ValueError, "at most 100"),
    "negative radius": (lambda: je.MaxSensitivity(radius=-1), ValueError, "radius.*above 0"),
    "no percentage": (
        lambda: je.ROAD(percentages=(0, 50)),
        ValueError,
        "percentages must be a list of finite numbers above 0 and at most 100",
    ),
    "a percentage": (lambda: je.ROAD(percentages=50), TypeError, "percentages must be a list"),
    "all pixels": (
        lambda: score(je.ROAD(percentages=(50, 100)), None, SMOOTH),
        ValueError,
        "leave none of the 64 pixels",
    ),
    "noise for other percentages": (
        drawn("ROAD", np.zeros((3, 2, 8, 8))),
        ValueError,
        "draws give 3 steps for 4 percentages",
    ),
    "replacements of other groups": (
        drawn("MonotonicityCorrelation", np.zeros((3, 2, 8, 8))),
        ValueError,
        "draws give 3 replacements, wanted groups x n_samples = 8 x 2",
    ),
    "cells beyond the grid": (
        drawn("MuFidelity", np.full((8, 3), 16)),
        ValueError,
        "draws must lie in -1 to 15, got 16",
    ),
    "one superpixel": (lambda: je.IROF(n_segments=1), ValueError, "n_segments.*at least 2"),
    "nan radius": (lambda: je.MaxSensitivity(radius=np.nan), ValueError, "radius.*finite"),
    "nan baseline": (lambda: je.PixelFlipping(baseline=np.nan), ValueError, "baseline.*finite"),
    "a share above 1": (
        lambda: je.SensitivityN(n_max_percentage=1.5),
        ValueError,
        "n_max_percentage.*at most 1",
    ),
    "a subset larger than the features": (
        lambda: score(je.FaithfulnessCorrelation(subset_size=129), None, SMOOTH),
        ValueError,
        "subset of 129 features is larger than the 128 features",
    ),
    "the default subset": (
        lambda: score(je.FaithfulnessCorrelation(), None, SMOOTH),
        ValueError,
        "224 features is larger than the 128",
    ),
    "more top features than features": (
        lambda: score(je.TopKIntersection(k=65), cases.pixels),
        ValueError,
        r"'TopKIntersection' for explainer .*k=65 is larger than the 64 features.*\(8, 8\)",
    ),
    "a size larger than the features": (
        lambda: score(je.SensitivityN(sizes=(3, 65)), cases.pixels),
        ValueError,
        "65 features is larger than the 64",
    ),
    "a patch larger than the input": (
        lambda: score(je.RegionPerturbation(patch_size=9), None, SMOOTH),
        ValueError,
        r"patch_size=9 is larger than the input.*\(8, 8\)",
    ),
    "a baseline of another shape": (
        lambda: score(je.PixelFlipping(baseline=np.zeros(5)), None, SMOOTH),
        ValueError,
        r"baseline of shape \(5,\) does not broadcast.*\(2, 8, 8\)",
    ),
    # draws
    "noise of another shape": (
        drawn("MaxSensitivity", np.zeros((6, 2, 8, 4))),
        ValueError,
        r"draws of shape \[6, 2, 8, 4\] do not fit: wanted \[S, 2, 8, 8\]",
    ),
    "noise of another rank": (
        drawn("MaxSensitivity", np.zeros((2, 8, 8))),
        ValueError,
        r"draws of shape \[2, 8, 8\] do not fit: wanted \[S",
    ),
    "noise for fewer samples": (
        drawn("MaxSensitivity", np.zeros((3, 6, 2, 8, 8))),
        ValueError,
        "3 rows for 7 samples",
    ),
    "nan in noise": (
        drawn("MaxSensitivity", np.full((6, 2, 8, 8), np.nan)),
        ValueError,
        "draws.*(NaN|finite)",
    ),
    "noise of words": (
        drawn("MaxSensitivity", np.full((6, 2, 8, 8), "a")),
        (TypeError, ValueError),
        "draws",
    ),
    "subsets beyond the features": (
        drawn("FaithfulnessCorrelation", np.full((8, 5), 128)),
        ValueError,
        r"draws must lie in -1 to 127, got 128",
    ),
    "subsets of floats": (
        drawn("FaithfulnessCorrelation", np.zeros((8, 5))),
        ValueError,
        "draws must be whole numbers, got float64",
    ),
    "subsets of another rank": (
        drawn("FaithfulnessCorrelation", np.arange(5)),
        ValueError,
        "draws of shape",
    ),
    "an order of fewer features": (
        drawn("PixelFlipping/random", np.arange(100)),
        ValueError,
        "draws.*128",
    ),
    "an order beyond the features": (
        drawn("PixelFlipping/random", np.arange(1, 129)),
        ValueError,
        "draws",
    ),
    "an order that repeats a feature": (
        drawn("PixelFlipping/random", np.zeros(128, int)),
        ValueError,
        "draws",
    ),
    "fewer replacements": (
        drawn("NonSensitivity", np.zeros(100, np.float32)),
        ValueError,
        "draws give 100 replacements, wanted .* 1 x 128",
    ),
    "corners with an axis too many": (
        drawn("Infidelity/square", np.zeros((6, 3), int)),
        ValueError,
        "draws",
    ),
    "corners beyond the input": (
        drawn("Infidelity/square", np.full((6, 2), 6)),
        ValueError,
        "draws",
    ),
    "a class beyond the model's": (drawn("RandomLogit", np.int32(5)), ValueError, "draws"),
    "classes for fewer samples": (
        drawn("RandomLogit", np.zeros(3, int)),
        ValueError,
        "3 rows for 7 samples",
    ),
    "parameters of another tree": (
        drawn("MPRT", {"hidden": np.zeros(1)}),
        ValueError,
        "draws must be a pytree like the model's params",
    ),
    "draws where nothing is drawn": (
        lambda: je.Infidelity(perturbation="patches", draws=np.zeros((3, 2))),
        ValueError,
        "draws nothing",
    ),
    "an order of one's own for a ranked one": (
        lambda: score(je.PixelFlipping(order="morf", draws=np.arange(128)), None, SMOOTH),
        ValueError,
        "draws",
    ),
    # tracers
    "a tracer as x": (lambda: in_jit(W.x), TypeError, "x is a tracer.*use jaxeval.as_function"),
    "a tracer as a": (lambda: map_in_jit(SMOOTH), TypeError, "tracer.*use jaxeval.as_function"),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_input_fails_early_and_says_why(what, compiled):
    call, error, says = BAD[what]
    before = TRACES.copy()
    with pytest.raises(error) as caught:
        call()
    assert not traced_since(before), "it was found out after compilation"
    assert not any(name.startswith("jit(forward") for name in compiled)
    assert re.search(says, str(caught.value), re.DOTALL), str(caught.value)


def test_superpixels_without_scikit_image(monkeypatch):
    """The error says what to install, and what else to give."""
    monkeypatch.setitem(sys.modules, "skimage.segmentation", None)
    metric = je.IROF(n_segments=7)
    with pytest.raises(ImportError, match=r'pip install "jaxeval\[image\]".*extras='):
        score(metric, None, SMOOTH)
    own = np.arange(64).reshape(8, 8) // 8 + np.zeros((N, 1, 1), int)
    assert score(metric, None, SMOOTH, extras={"segments": own}).n_undefined == 0


def test_as_function_refuses_what_it_cannot_do():
    model = W.model
    for call, says in (
        (lambda: je.as_function(je.MaxSensitivity(), model), "give explainer="),
        (lambda: je.as_function(je.MaxSensitivity(), model, je.Host(numpy_explainer)), "host"),
        (lambda: je.as_function(je.PixelFlipping(), numpy_model), "must be a jaxeval.Model"),
        (lambda: je.as_function(je.PixelFlipping(), Spy(W).model), "host callable"),
    ):
        with pytest.raises(TypeError, match=says):
            call()


# -- precision -----------------------------------------------------------------------------------


def test_differences_of_confident_probabilities():
    """1 - p is below float32's resolution, and the correlation is right all the same."""
    rng = np.random.default_rng(0)
    n, f, k = 10, 40, 4
    weights = rng.normal(size=(f, k)).astype(np.float32)
    x = rng.normal(size=(n, f)).astype(np.float32)
    y = rng.integers(0, k, n)
    for i in range(n):  # y wins by 21: 1 - p is about 1e-9
        gap = (x[i] @ weights)[y[i]] - np.delete(x[i] @ weights, y[i]).max()
        toward = weights[:, y[i]] - np.delete(weights, y[i], 1).mean(1)
        x[i] += (21 - gap) * toward / (toward @ (weights[:, y[i]] - weights.mean(1)) + 1e-9)
    a = (x * weights[:, y].T).astype(np.float32)

    def model(w: Any, v: Any) -> Any:
        return v @ w

    metric = je.SensitivityN(
        n_runs=60, sizes=(5,), baseline=0.0, normalise=None, output="probability"
    )
    # The subsets as asked, from a NumPy twin.
    asked: list[np.ndarray] = []

    def watched(v: Any) -> np.ndarray:
        asked.append(np.asarray(v))
        return np.asarray(v) @ weights

    je.score(metric, watched, x, y, a, key=KEY, batch_size=4096)
    gone = np.concatenate(asked[1:]).reshape(n, 60, f) != x[:, None]
    got = je.score(metric, je.Model(model, weights), x, y, a, key=KEY, batch_size=100).score

    def correlations(dtype: Any) -> np.ndarray:
        out = []
        for i in range(n):
            z = np.where(gone[i], 0, x[i]).astype(dtype) @ weights.astype(dtype)
            z = np.vstack([x[i].astype(dtype) @ weights.astype(dtype), z])
            p = np.exp(z - z.max(1, keepdims=True))
            p = (p / p.sum(1, keepdims=True))[:, y[i]]
            sums = np.where(gone[i], a[i], 0).sum(1)
            out.append(np.corrcoef(sums, p[0] - p[1:])[0, 1])
        return np.array(out)

    exact, naive = correlations(np.float64), correlations(np.float32)
    assert not np.abs(naive - exact).max() < 0.1  # or NaN
    np.testing.assert_allclose(got, exact, atol=1e-3)


# -- the house -----------------------------------------------------------------------------------

ROOT = Path(je.__file__).parent
FILES = sorted(p for p in ROOT.rglob("*.py"))
METRIC_FILES = sorted(p for p in (ROOT / "metrics").glob("*/*.py") if p.stem != "__init__")

# Who may import whom; all may use the leaves `check` and `registry`. A room that is not here may
# import anything but what sits on top.
MAY = {
    "types": set(),
    "check": set(),
    "digests": set(),
    "progress": set(),
    "registry": set(),
    "version": set(),
    "private_jax": set(),
    "cache": {"private_jax"},
    "lifetime": {"types"},
    "identity": {"digests", "types"},
    "ops": {"types"},
    "model": {"identity", "lifetime", "types"},
    "classes": {"model"},
    "trace": {"model", "types"},
    "content": {"digests", "trace"},
    "describe": {"digests"},
    "metric": {"ops", "types"},
    "perturb": {"model", "ops", "trace", "types"},
    "metrics": {"explain", "metric", "model", "ops", "perturb", "types"},
    "cpu": {"identity", "lifetime", "model", "private_jax", "trace", "types"},
    "explain": {"classes", "cpu", "lifetime", "model", "ops", "trace", "types"},
    "engine": {
        "classes",
        "cpu",
        "digests",
        "identity",
        "lifetime",
        "metric",
        "model",
        "ops",
        "perturb",
        "trace",
        "types",
    },
    "of_flax": {"content", "lifetime", "model"},
    "functional": {"metrics"},
    "names": {"explain", "metrics", "perturb"},
    "results": {"ops", "types"},
    "plot": {"ops", "results", "types"},
}
TOP = {"plot", "report", "cli", "demo", "gallery"}


def imports(path: Path) -> Iterator[tuple[str, bool]]:
    """(absolute module name, whether only when called), for every import outside TYPE_CHECKING."""
    package = ("jaxeval", *path.relative_to(ROOT).parent.parts)

    def visit(node: ast.AST, lazy: bool) -> Iterator[tuple[str, bool]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
                continue
            if isinstance(child, ast.Import):
                yield from ((alias.name, lazy) for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                up = package[: len(package) - child.level + 1] if child.level else ()
                module = ".".join((*up, *filter(None, [child.module])))
                yield from ((f"{module}.{alias.name}", lazy) for alias in child.names)
            else:
                inside = isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
                yield from visit(child, lazy or inside)

    yield from visit(ast.parse(path.read_text()), False)


def room(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_one_way(path):
    here = room(path)
    for name, lazy in imports(path):
        parts = name.split(".")
        assert parts[0] not in {"torch", "jaxeval_torch", "captum", "quantus", "tests"}, name
        if parts[0] != "jaxeval" or here == "__init__":
            continue
        there = parts[1] if len(parts) > 1 else "__init__"
        if there == here or there in ("check", "registry"):
            continue
        if here == "metric" and there == "api" and lazy:
            continue  # a metric can be called
        if here == "results" and there == "report" and lazy:
            continue  # results can be reported
        if here == "model" and there == "explain" and lazy:
            continue  # a model lists its layers
        if here in MAY:
            assert there in MAY[here], f"{here} imports {name}"
        else:
            assert there not in TOP or here in TOP, f"{here} imports {name}"


@pytest.mark.parametrize("path", METRIC_FILES, ids=lambda p: p.stem)
def test_no_metric_imports_another(path):
    for name, _ in imports(path):
        assert not name.startswith("jaxeval.metrics") or "metrics.bases" in name, name


@pytest.mark.parametrize("path", METRIC_FILES, ids=lambda p: p.stem)
def test_a_metric_file(path):
    """Short, and its class says what, which way, of whom."""
    text = path.read_text()
    assert len(text.splitlines()) < 110
    assert "jit(" not in text, "the engine compiles"
    family = path.parent.name
    exported = [v for v in vars(getattr(je.metrics, family)).values() if isinstance(v, type)]
    classes = [c for c in exported if c.__module__ == f"jaxeval.metrics.{family}.{path.stem}"]
    assert classes, f"{path.stem} exports no metric"
    for cls in classes:
        assert cls in je.METRICS.values()
        doc = cls.__doc__
        assert ".. math::" in doc, cls
        assert re.search(r"(Higher|Lower) is better", doc), cls
        assert "NaN" in doc, f"{cls} does not say when it is NaN"
        assert "Outcome:" in doc, cls
        assert cls.family == family
        assert cls.direction in ("higher", "lower")
        assert re.search(r"(19|20)\d\d", cls.reference), cls
        assert set(cls.asks) <= {"output", "attribution", "hidden"}
        assert set(cls.needs) <= {"mask"}
    functions = [
        node for node in ast.parse(text).body if isinstance(node, ast.FunctionDef)
    ]  # the pure function, with an example
    assert any(">>>" in (ast.get_docstring(node) or "") for node in functions)
    assert any(hasattr(je.functional, node.name) for node in functions)


def test_directions_follow_their_fields():
    assert je.PixelFlipping.direction == je.PixelFlipping().direction == "lower"
    assert je.PixelFlipping(order="lerf").direction == "higher"
    assert je.Completeness().direction == "lower"
    assert je.Completeness(satisfied=True).direction == "higher"
    assert all(m.direction in ("higher", "lower") for m in je.METRICS.values())
    assert evaluate(
        metrics={"f": je.PixelFlipping(n_steps=6, order="lerf")},
        explainers={"a": SMOOTH},
    ).directions == {"f": "higher"}


def test_other_names():
    assert je.LocalLipschitzEstimate is je.LocalLipschitz
    assert je.ABPC is je.SRG
    assert je.RelativeInputStability is je.RIS
    assert je.RelativeOutputStability is je.ROS
    assert je.RelativeRepresentationStability is je.RRS
