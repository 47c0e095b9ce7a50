"""A sweep's scores are those of `evaluate`; it goes on where it stopped, and says what changed."""

from __future__ import annotations

import json

import jax
import numpy as np
import pytest
import things

import jaxeval as je
from jaxeval.sweep import ChangedError, Plan, Runner, SweepError
from jaxeval.sweep.place import local_mesh


def done(sweep, **options):
    # On one device a shard and the whole data set take the same compiled programs.
    return je.run(sweep, progress=False, mesh=local_mesh(1), **options)


def direct(n=things.N, seed=0, **changes):
    """The same by one call of `evaluate`."""
    sweep = things.sweep("unused", **changes)
    d = things.data(n)
    return je.evaluate(
        sweep.model,
        d["x"],
        d["y"],
        explainers={e: s.made for e, s in sweep.explainer_settings.items()},
        metrics={m: s.made for m, s in sweep.metric_settings.items()},
        key=seed,
        batch_size=5,
        progress=False,
    )


def assert_same(got, want):
    assert got.scores.keys() == want.scores.keys()
    np.testing.assert_array_equal(got.index, want.index)
    np.testing.assert_array_equal(got.y, want.y)
    for cell, scores in want.scores.items():
        np.testing.assert_allclose(got.scores[cell], scores, atol=1e-5, err_msg=str(cell))
    assert got.curves.keys() == want.curves.keys()
    for cell, curve in want.curves.items():
        np.testing.assert_allclose(got.curves[cell], curve, atol=1e-5)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A sweep that has run: two seeds, 21 samples in shards of 5, the last one ragged."""
    folder = tmp_path_factory.mktemp("sweep")
    return folder, done(things.sweep(folder, seeds=(0, 3)))


def test_the_scores_are_those_of_evaluate(finished):
    folder, found = finished
    assert found.complete
    assert found.computed == 5 * 2
    store = je.Store(folder)
    assert_same(store.results(seed=0), direct())
    assert_same(store.results(seed=3), direct(seed=3))
    with pytest.raises(ValueError, match=r"give seed=, one of \[0, 3\]"):
        store.results()
    with pytest.raises(ValueError, match="no scores of seed 7"):
        store.results(seed=7)
    assert len(store.results(seed=0).summary()) == 3 * 4


def test_finished_shards_are_not_computed_again(finished, monkeypatch):
    folder, _ = finished
    monkeypatch.setattr(je.sweep.Plan, "results", None)  # a call would fail
    again = done(things.sweep(folder, seeds=(0, 3)))
    assert (again.computed, again.found, again.complete) == (0, 10, True)


def test_what_is_missing_is_computed_and_nothing_else(tmp_path):
    done(things.sweep(tmp_path))
    store = je.Store(tmp_path)
    before = {key: store.path(key).stat().st_mtime_ns for key in store.done()}
    store.path("b0000002-m0-s0").unlink()
    again = done(things.sweep(tmp_path))
    assert (again.computed, again.found) == (1, 4)
    after = {key: store.path(key).stat().st_mtime_ns for key in store.done()}
    assert {k for k in before if before[k] != after[k]} == {"b0000002-m0-s0"}
    assert_same(store.results(), direct())


CHANGES = {
    "seeds": ({"seeds": (0, 4)}, r"seeds: \[0, 3\] -> \[0, 4\]"),
    "shards": ({"shard_size": 6}, "shard_size: 5 -> 6"),
    "a setting": (
        {"metrics": {**things.metrics(), "flip": je.PixelFlipping(n_steps=2)}},
        r"metrics.flip\(n_steps=3\): .* removed",
    ),
    "a metric's field": (
        {"metrics": {**things.metrics(), "sparse": je.Sparseness(normalise=None)}},
        'metrics.sparse.is.normalise: "max" -> null',
    ),
    "an explainer": (
        {"explainers": {**things.explainers(), "one more": things.mine}},
        "explainers.one more: .* added",
    ),
    "the model's weights": ({"model": things.linear(1.5)}, "models.model.params"),
    "the data": (
        {"data": {**things.data(), "y": np.zeros(things.N, np.int32)}},
        "data.y: ",
    ),
    "more data": ({"data": things.data(30)}, "data.samples: 21 -> 30"),
    "the class score": ({"class_score": "logit"}, 'class_score: "probability" -> "logit"'),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_changed_sweep_is_refused_with_what_changed(finished, name):
    folder, _ = finished
    changes, message = CHANGES[name]
    with pytest.raises(ChangedError, match=message):
        done(things.sweep(folder, **{"seeds": (0, 3), **changes}))


def test_changed_code_is_refused_unless_it_is_allowed(finished, monkeypatch):
    folder, _ = finished
    monkeypatch.setattr(
        "jaxeval.sweep.fingerprint.code", lambda: {"version": "9", "sources": "other"}
    )
    with pytest.raises(ChangedError, match=r"--any-code.*\n  code.version: .*-> \"9\""):
        done(things.sweep(folder, seeds=(0, 3)))
    assert done(things.sweep(folder, seeds=(0, 3)), any_code=True).complete


def test_what_may_change(finished):
    folder, _ = finished
    assert done(things.sweep(folder, seeds=(0, 3), batch_size=7)).complete


def test_the_last_block_takes_no_new_programs(tmp_path):
    plan = Plan(things.sweep(tmp_path))
    runner = Runner(plan, progress=False, mesh=local_mesh(1))
    from jaxeval.engine import TRACES

    found = je.sweep.Done(plan.store)
    for block in (0, 1):
        runner.do(
            plan.shards()[block], plan.source.load(5 * block, 5 * block + 5), 5 * block, found
        )
    before = dict(TRACES)
    runner.do(plan.shards()[4], plan.source.load(20, 21), 20, found)
    assert dict(TRACES) == before
    assert len(je.Results.load(plan.store.path("b0000004-m0-s0")).index) == 1


def test_streams(tmp_path):
    class Stream:
        def __init__(self, order):
            self.order = order

        def __iter__(self):
            d = things.data()
            return iter([(d["x"][i], d["y"][i]) for i in self.order])

    forth = list(range(things.N))
    store = je.Store(tmp_path)
    found = done(things.sweep(tmp_path, data=Stream(forth)))
    assert found.complete
    assert store.noted("samples") == things.N
    assert_same(store.results(), direct())
    store.path("b0000003-m0-s0").unlink()
    again = done(things.sweep(tmp_path, data=Stream(forth)))
    assert (again.computed, again.complete) == (1, True)
    store.path("b0000003-m0-s0").unlink()
    with pytest.raises(SweepError, match="block 0 of the data has other samples"):
        done(things.sweep(tmp_path, data=Stream(forth[::-1])))
    anew = done(things.sweep(tmp_path / "anew", data=lambda: (s for s in Stream(forth))))
    assert anew.complete
    with pytest.raises(SweepError, match="can be read only once"):
        done(things.sweep(tmp_path / "once", data=iter(Stream(forth))))


def test_a_block_that_fails_does_not_stop_the_others(tmp_path):
    d = things.data()
    d["x"][11, 2] = np.nan
    found = done(things.sweep(tmp_path, data=d))
    assert list(found.failed) == ["b0000002-m0-s0"]
    assert "NaN" in found.failed["b0000002-m0-s0"]
    assert (found.computed, found.complete) == (4, False)
    lines = [json.loads(s) for s in (tmp_path / "log" / "rank-0000.jsonl").read_text().splitlines()]
    assert [e["event"] for e in lines] == [
        "start", "shard", "shard", "failed", "shard", "shard", "end",
    ]  # fmt: skip


def test_a_first_failure_is_raised(tmp_path):
    def broken(model, x, y, keys):
        raise OSError("no such disk")

    sweep = things.sweep(tmp_path, explainers={"b": je.Host(broken)})
    with pytest.raises(je.EvaluationError, match="no such disk"):
        done(sweep)
    assert not je.Store(tmp_path).done()


def test_out_of_memory_halves_the_batch_and_goes_on(tmp_path, capsys):
    widths = []

    def hungry(model, x, y, keys):
        widths.append(len(x))
        if len(x) > 2:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes")
        return np.asarray(x)

    sweep = things.sweep(
        tmp_path, explainers={"h": je.Host(hungry)}, metrics={"s": je.Sparseness()}, batch_size=4
    )
    plan = Plan(sweep)
    runner = Runner(plan, mesh=local_mesh(1))
    assert runner().complete
    assert runner.batch_size == 2
    assert max(widths[2:]) == 2
    said = capsys.readouterr().err
    said = " ".join(said.split())
    assert "out of device memory with a batch size of 4: continuing with 2" in said
    log = (tmp_path / "log" / "rank-0000.jsonl").read_text()
    assert log.count('"event": "out of memory"') == 1
    got = je.Store(tmp_path).results().scores["h", "s"]
    want = je.Sparseness()(things.linear(), things.data()["x"], a=things.data()["x"])
    np.testing.assert_allclose(got, want, atol=1e-6)


def test_out_of_memory_with_one_sample_is_an_error(tmp_path):
    def hungry(model, x, y, keys):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory")

    sweep = things.sweep(tmp_path, explainers={"h": je.Host(hungry)})
    with pytest.raises(je.EvaluationError, match="RESOURCE_EXHAUSTED"):
        done(sweep)


def test_stored_attributions(tmp_path):
    a = np.random.default_rng(5).random((things.N, things.F)).astype(np.float32)
    found = done(things.sweep(tmp_path, explainers={"stored": a}))
    assert found.complete
    assert_same(je.Store(tmp_path).results(), direct(explainers={"stored": a}))


def test_a_metric_of_the_whole_data_set(tmp_path):
    d = things.data()
    metrics = {"sufficient": je.Sufficiency()}
    found = done(things.sweep(tmp_path, metrics=metrics, shard_size=100))
    assert (found.computed, found.complete) == (1, True)
    want = je.evaluate(
        things.linear(), d["x"], d["y"], explainers=things.explainers(), metrics=metrics, key=0,
        batch_size=5, progress=False,
    )  # fmt: skip
    assert_same(je.Store(tmp_path).results(), want)


def test_questions_are_shared_within_a_shard(tmp_path):
    done(things.sweep(tmp_path))
    asked = je.Store(tmp_path).results().asked
    want = direct().asked
    assert asked == want  # the last block has one sample, not five
    assert sum(v for v in asked["naive"].values()) > 1.5 * (asked["output"] + asked["attribution"])


def test_a_background_is_part_of_what_is_computed(tmp_path):
    """Scores are those of `evaluate` with it; another one is another sweep."""
    rows = np.random.default_rng(8).normal(size=(7, things.F)).astype(np.float32)
    metrics = {"flip": je.PixelFlipping(n_steps=3, baseline="background")}
    given = {"explainers": {"x": things.mine}, "metrics": metrics, "background": rows}
    found = done(things.sweep(tmp_path, **given))
    assert found.complete
    d = things.data()
    want = je.evaluate(
        things.linear(), d["x"], d["y"], explainers={"x": things.mine}, metrics=metrics,
        background=rows, batch_size=5, progress=False,
    )  # fmt: skip
    got = je.Store(tmp_path).results()
    assert_same(got, want)
    assert got.settings["features"] == {"x": [things.F]}
    with pytest.raises(ChangedError, match="background"):
        done(things.sweep(tmp_path, **{**given, "background": rows + 1}))
    with pytest.raises(SweepError, match=r"needs samples: give background="):
        done(things.sweep(tmp_path / "other", **{**given, "background": None}))
    with pytest.raises(SweepError, match="has no channel axis"):
        done(things.sweep(tmp_path / "pixels", **{**given, "reduce_channels": "sum"}))


def test_a_ragged_last_shard_of_padded_samples_asks_what_evaluate_asks(tmp_path):
    # Samples of different lengths take different numbers of steps.
    d = things.data(8)
    d["padding"] = np.arange(things.F) >= np.array([6, 5, 4, 3, 6, 5, 4, 3])[:, None]
    given = {
        "data": d,
        "explainers": {"x": je.explain.InputXGradient()},
        "metrics": {"cor": je.FaithfulnessEstimate()},
    }
    done(things.sweep(tmp_path, **given))
    want = je.evaluate(
        things.linear(), d["x"], d["y"], padding=d["padding"], explainers=given["explainers"],
        metrics=given["metrics"], key=0, batch_size=5, progress=False,
    )  # fmt: skip
    assert je.Store(tmp_path).results().asked == want.asked
    assert_same(je.Store(tmp_path).results(), want)
