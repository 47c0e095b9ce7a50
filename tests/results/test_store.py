"""The store: a shard is there as a whole or not at all, and once; other tools read it as it is."""

from __future__ import annotations

import os
import time

import numpy as np
import pyarrow.parquet as pq
import pytest

import jaxeval as je
from jaxeval.types import Outcome

CELLS = [(e, m) for e in ("A", "B") for m in ("m", "curve")]
HASHES = {cell: f"{i:016x}" for i, cell in enumerate(CELLS)}


def results(start, stop):
    index = np.arange(start, stop)

    def outcome(cell):
        score = np.float32(index * (1 + CELLS.index(cell)))
        score[index == 4] = np.nan
        curve = np.stack([score, score + 1], 1) if cell[1] == "curve" else None
        return Outcome(score=score, curve=curve)

    return je.Results(
        {cell: outcome(cell) for cell in CELLS},
        {"m": "higher", "curve": "lower"},
        {"m": "complexity", "curve": "faithfulness"},
        index,
        index % 2,
        {"output": 10, "naive": {"output": 20}},
        {"seconds": 0.5},
    )


def shard(start, stop, **changes):
    plain = {"model": "net", "seed": 0, "start": start, "stop": stop, "hashes": HASHES}
    return {**plain, **changes}


@pytest.fixture
def store(tmp_path):
    found = je.Store(tmp_path / "new" / "scores")
    found.create({"version": 1, "config": {"n": 6}})
    assert found.commit("b1", results(3, 6), shard(3, 6))
    assert found.commit("b0", results(0, 3), shard(0, 3))
    return found


def test_blocks_come_back_in_order(store):
    got, want = store.results(), results(0, 6)
    np.testing.assert_array_equal(got.index, want.index)
    for cell in CELLS:
        np.testing.assert_array_equal(got.scores[cell], want.scores[cell])
    np.testing.assert_array_equal(got.curves["A", "curve"], want.curves["A", "curve"])
    assert got.asked == {"output": 20, "naive": {"output": 40}}
    assert store.shard("b1")["start"] == 3


def test_the_first_one_stays(store):
    before = store.path("b0").read_bytes()
    assert not store.commit("b0", results(0, 2), shard(0, 2))
    assert store.path("b0").read_bytes() == before
    assert store.done() == {"b0", "b1"}
    assert not list(store.tmp.iterdir())
    assert store.create({"version": 1, "config": {"n": 7}})["config"] == {"n": 6}
    assert store.note("samples", 6) == 6
    assert store.note("samples", 7) == 6


def test_of_two_writers_of_a_shard_the_first_one_stays(store, monkeypatch):
    """Also where the second has begun to write when the first one is done."""
    write = pq.write_table

    def meanwhile(*args, **kwargs):
        monkeypatch.undo()
        assert store.commit("b2", results(6, 9), shard(6, 9))
        write(*args, **kwargs)

    monkeypatch.setattr(pq, "write_table", meanwhile)
    assert not store.commit("b2", results(6, 8), shard(6, 8))
    assert store.shard("b2")["stop"] == 9
    assert len(store.results().index) == 9
    assert not list(store.tmp.iterdir())


def test_what_a_killed_writer_left_is_deleted_once_it_is_old(store):
    young, old = store.tmp / "young", store.tmp / "old"
    for file in (young, old):
        file.write_bytes(b"half")
    os.utime(old, (time.time() - 7200,) * 2)
    store.create({"version": 1, "config": {}})
    assert young.exists()
    assert not old.exists()
    assert len(store.results().index) == 6  # what is in tmp is no data


def test_pandas_reads_it(store):
    import pandas as pd

    frame = pd.read_parquet(store.folder / "parts")
    check(frame)


def test_polars_reads_it(store):
    polars = pytest.importorskip("polars")
    frame = polars.read_parquet(store.folder / "parts" / "*.parquet").to_pandas()
    check(frame)


def test_duckdb_reads_it(store):
    duckdb = pytest.importorskip("duckdb")
    check(duckdb.sql(f"from '{store.folder}/parts/*.parquet'").df())


def check(frame):
    assert len(frame) == 6 * len(CELLS)
    assert not frame.duplicated(["model", "seed", "explainer", "metric", "sample"]).any()
    assert set(frame["model"]) == {"net"}
    undefined = frame[frame["status"] == "undefined"]
    assert set(undefined["sample"]) == {4}
    assert undefined["score"].isna().all()
    means = frame.groupby(["explainer", "metric"])["score"].mean()
    assert means["A", "m"] == pytest.approx(np.mean([0, 1, 2, 3, 5]))
    hashes = frame.groupby(["explainer", "metric"])["settings_hash"].unique()
    assert all(hashes[cell].tolist() == [HASHES[cell]] for cell in CELLS)


def test_several_models(store):
    store.commit("b0-other", results(0, 3), shard(0, 3, model="other"))
    with pytest.raises(ValueError, match=r"give model=, one of \['net', 'other'\]"):
        store.results()
    assert len(store.results("net").index) == 6
    assert len(store.results("other").index) == 3


def with_deviations(start, stop, seed):
    """Curves that are means of several repetitions, and differ between seeds."""
    found = results(start, stop)
    for cell, outcome in found.outcomes.items():
        if outcome.curve is not None:
            curve = np.array(outcome.curve) + seed
            found.outcomes[cell] = Outcome(
                score=np.array(outcome.score) + seed, curve=curve, curve_std=0 * curve + 2
            )
    return found


def test_seeds_are_averaged_with_all_that_a_curve_has(tmp_path):
    store = je.Store(tmp_path)
    store.create({"version": 1, "config": {}})
    for seed, blocks in ((0, [(0, 3), (3, 6)]), (4, [(0, 3)])):  # the second is not complete
        for start, stop in blocks:
            block = with_deviations(start, stop, seed)
            assert store.commit(f"b{start}-{seed}", block, shard(start, stop, seed=seed))
    with pytest.raises(ValueError, match=r"give seed=, one of \[0, 4\]"):
        store.results()
    one, found = store.results(seed=0), store.mean()
    np.testing.assert_array_equal(found.index, np.arange(6))
    cell = ("A", "curve")
    plus = np.array([2, 2, 2, 0, np.nan, 0])  # the mean of 0 and 4; of the first seed alone
    np.testing.assert_array_equal(found.scores[cell], one.scores[cell] + plus)
    np.testing.assert_array_equal(found.curves[cell], one.curves[cell] + plus[:, None])
    # Within a seed the deviation is 2, that of 0 and 4 is 2.
    std = found[cell].curve_std
    np.testing.assert_allclose(std[:3], np.sqrt(2**2 + 2**2), rtol=1e-6)
    np.testing.assert_allclose(std[[3, 5]], 2)
    assert found.asked == {"output": 30, "naive": {"output": 60}}
    assert found.settings["seconds"] == pytest.approx(0, abs=2)


def test_nothing_yet(tmp_path):
    store = je.Store(tmp_path / "scores")
    with pytest.raises(FileNotFoundError, match="holds no sweep"):
        store.manifest()
    store.create({"version": 1, "config": {}})
    with pytest.raises(ValueError, match="no scores yet"):
        store.results()
