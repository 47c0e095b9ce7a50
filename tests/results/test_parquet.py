import contextlib
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from jaxeval.results import Results, parquet
from jaxeval.types import Outcome

FLOATS = st.floats(width=32, allow_nan=True, allow_infinity=True, allow_subnormal=True)


def make(score, curve=None, index=None, y=None, **given):
    index = np.arange(len(score)) if index is None else index
    y = np.arange(len(index), dtype=np.int32) if y is None else y
    outcomes = {
        ("A", "m"): Outcome(score=score, curve=curve, curve_std=None if curve is None else -curve),
        ("B", "m"): Outcome(score=score[: len(score) // 2], curve=None),
        ("A", "k"): Outcome(score=score[::-1].astype(np.float64) / 3),
    }
    families = {"k": "robustness", "m": "faithfulness"}
    return Results(outcomes, {"k": "higher", "m": "lower"}, families, index, y, **given)


def same_bits(a, b):
    if a is None or b is None:
        return a is b
    # NaN carries no payload through a null, so it is compared as NaN.
    a, b = (np.where(np.isnan(v), np.array(np.nan, v.dtype), v) for v in (a, b))
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def assert_same(a, b):
    assert list(a.outcomes) == list(b.outcomes)
    for cell in a.outcomes:
        assert same_bits(a[cell].score, b[cell].score)
        assert same_bits(a[cell].curve, b[cell].curve)
        assert same_bits(a[cell].curve_std, b[cell].curve_std)
    for name in ("explainers", "metrics", "directions", "families", "asked", "settings"):
        assert getattr(a, name) == getattr(b, name)
    for name in ("index", "y"):
        mine, theirs = getattr(a, name), getattr(b, name)
        assert mine.dtype == theirs.dtype
        np.testing.assert_array_equal(mine, theirs)


@settings(max_examples=40)
@given(
    st.integers(0, 5).flatmap(
        lambda n: st.tuples(
            hnp.arrays(np.float32, n, elements=FLOATS),
            st.none()
            | st.integers(0, 4).flatmap(lambda s: hnp.arrays(np.float32, (n, s), elements=FLOATS)),
        )
    )
)
def test_a_table_gives_back_every_bit(arrays):
    r = make(*arrays)
    assert_same(r, Results(**parquet.from_arrow(parquet.to_arrow(r))))


@pytest.mark.parametrize(
    "index",
    [
        np.array([7, 3, 2**40, -1]),
        np.array([1, 2, 3, 2**64 - 1], np.uint64),
        np.array([0, 1, 2, 255], np.uint8),
        np.array(["a", "", "ünï", "a"]),
    ],
    ids=["int64", "uint64", "uint8", "text"],
)
def test_a_file_gives_back_everything(tmp_path, index):
    score = np.float32([0.1, np.nan, -0.0, np.inf])
    curve = np.random.default_rng(0).normal(size=(4, 33)).astype(np.float32)
    curve[0, 30:] = np.nan
    r = make(
        score,
        curve,
        index,
        np.array([3, 1, 2, 9], np.int64),
        asked={"output": 10, "naive": {"output": 40}},
        settings={"key": 0, "metrics": {"m": {"baseline": "black"}}, "names": ["ä", None]},
    )
    path = r.save(tmp_path / "new" / "folder" / "r.parquet")
    assert os.listdir(path.parent) == ["r.parquet"]
    assert_same(r, Results.load(str(path)))
    assert_same(r, Results.load(Results.load(path).save(tmp_path / "again")))


def test_partial_and_empty_results_keep_the_samples_without_scores(tmp_path):
    r = make(np.float32([1, 2]), index=np.array(["p", "q", "r"]), y=np.array([5, 6, 7]))
    assert_same(r, Results.load(r.save(tmp_path / "partial")))
    r = Results({}, {"m": "lower"}, {"m": "complexity"}, np.arange(3), np.arange(3))
    assert_same(r, Results.load(r.save(tmp_path / "empty")))


def test_many_rows_go_in_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet, "ROW_GROUP", 7)
    rng = np.random.default_rng(0)
    r = make(rng.normal(size=50).astype(np.float32), rng.normal(size=(50, 3)).astype(np.float32))
    path = r.save(tmp_path / "r")
    assert pq.ParquetFile(path).num_row_groups > 1
    assert_same(r, Results.load(path))


def test_the_file_tells_other_readers_what_it_holds(tmp_path):
    score = np.float32([0.5, np.nan])
    curve = np.float32([[1, 2], [3, np.nan]])
    r = Results(
        {("A", "m"): Outcome(score=score, curve=curve), ("A", "k"): Outcome(score=score)},
        {"m": "lower", "k": "higher"},
        {"m": "faithfulness", "k": "complexity"},
        np.array([10, 11]),
        np.array([3, 4], np.int32),
        settings={"precision": "highest"},
    )
    table = pq.read_table(r.save(tmp_path / "r.parquet"))
    assert table.schema.remove_metadata() == parquet.schema(r.index.dtype, np.dtype("float32"))
    assert table.schema.field("curve").type == pa.list_(pa.float32())
    assert table.slice(0, 2).to_pylist() == [
        {
            "explainer": "A",
            "metric": "m",
            "family": "faithfulness",
            "direction": "lower",
            "sample": 10,
            "label": 3,
            "score": 0.5,
            "status": "ok",
            "curve": [1.0, 2.0],
            "curve_std": None,
            "error": None,
            "effective": None,
            "asked": None,
        },
        {
            "explainer": "A",
            "metric": "m",
            "family": "faithfulness",
            "direction": "lower",
            "sample": 11,
            "label": 4,
            "score": None,
            "status": "undefined",
            "curve": [3.0, None],
            "curve_std": None,
            "error": None,
            "effective": None,
            "asked": None,
        },
    ]
    assert table["curve"].to_pylist()[2:] == [None, None]
    meta = json.loads(table.schema.metadata[b"jaxeval"])
    assert meta["settings"] == {"precision": "highest"}


def test_files_that_are_not_ours_are_refused_by_what_they_lack(tmp_path):
    path = tmp_path / "r.parquet"
    with pytest.raises(FileNotFoundError):
        Results.load(path)
    path.write_bytes(b"explainer,metric\n")
    with pytest.raises(ValueError, match="not a Parquet file"):
        Results.load(path)
    pq.write_table(pa.table({"score": [1.0]}), path)
    with pytest.raises(ValueError, match="no key 'jaxeval'"):
        Results.load(path)

    table = parquet.to_arrow(make(np.float32([1, 2, 3])))
    for broken, words in (
        (table.drop_columns(["curve", "label"]), "lacks the columns label, curve"),
        (table.slice(1), "has 6 rows, but its metadata says 7"),
        (table.take([6, 5, 4, 3, 2, 1, 0]), "rows have been reordered"),
    ):
        pq.write_table(broken, path)
        with pytest.raises(ValueError, match=words):
            Results.load(path)

    pq.write_table(table.drop_columns(["curve_std"]), path)
    assert Results.load(path).curves == {}  # as written before there was such a column

    meta = json.loads(table.schema.metadata[b"jaxeval"]) | {"version": 99}
    newer = table.replace_schema_metadata({"jaxeval": json.dumps(meta)})
    with pytest.raises(ValueError, match="version 99"):
        parquet.from_arrow(newer)


def test_saving_onto_a_folder_or_through_a_link(tmp_path):
    r = make(np.float32([1, 2]))
    with pytest.raises(IsADirectoryError, match="name a file"):
        r.save(tmp_path)
    (tmp_path / "link").symlink_to(tmp_path / "target")
    r.save(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert_same(r, Results.load(tmp_path / "target"))


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError, MemoryError])
@pytest.mark.parametrize("at", ["write", "fsync", "replace"])
def test_an_error_while_saving_leaves_the_old_file_and_nothing_else(
    tmp_path, monkeypatch, error, at
):
    old, new = make(np.float32([1, 2])), make(np.float32([3, 4]))
    path = old.save(tmp_path / "r.parquet")

    def fail(*args, **kwargs):
        if at == "write":
            args[1].write(b"PAR1 half of it")
        raise error

    if at == "write":
        monkeypatch.setattr(pq, "write_table", fail)
    else:
        monkeypatch.setattr(os, at, fail)
    with pytest.raises(error):
        new.save(path)
    monkeypatch.undo()
    assert os.listdir(tmp_path) == ["r.parquet"]
    assert_same(old, Results.load(path))


CHILD = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
import numpy as np
from jaxeval.results import Results
from jaxeval.types import Outcome

path, signal_at, number = sys.argv[1], sys.argv[2], int(sys.argv[3])

def make(value):
    outcome = Outcome(score=np.full(200, value), curve=np.full((200, 33), value, np.float32))
    return Results({("A", "m"): outcome}, {"m": "lower"}, {"m": "f"}, np.arange(200),
                   np.zeros(200, int))

make(0.0).save(path)
if signal_at != "any time":
    call = getattr(os, signal_at)
    def kill(*args):
        os.kill(os.getpid(), number)
        return call(*args)
    setattr(os, signal_at, kill)
print("ready", flush=True)
value = 1.0
while True:
    make(value).save(path)
    value += 1
"""


def run_child(path, signal_at, number):
    command = [sys.executable, "-c", CHILD, str(path), signal_at, str(int(number))]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert child.stdout is not None
    line = child.stdout.readline()
    if line != "ready\n":
        pytest.fail(child.communicate()[1])
    return child


@pytest.mark.parametrize(
    ("signal_at", "number"),
    [
        ("fsync", signal.SIGKILL),
        ("replace", signal.SIGKILL),
        ("replace", signal.SIGINT),
        ("any time", signal.SIGKILL),
        ("any time", signal.SIGINT),
    ],
)
def test_a_process_that_dies_while_saving_leaves_a_whole_file(tmp_path, signal_at, number):
    path = tmp_path / "r.parquet"
    child = run_child(path, signal_at, number)
    if signal_at == "any time":
        time.sleep(np.random.default_rng().uniform(0.05, 0.3))
    try:
        for _ in range(10):
            if signal_at == "any time":  # again if Python lost it, as it does within destructors
                child.send_signal(number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.communicate(timeout=60)
                break
    finally:
        child.kill()
    assert child.returncode

    loaded = Results.load(path)
    scores = loaded["A", "m"].score
    assert len(scores) == 200
    assert (scores == scores[0]).all()
    assert (loaded["A", "m"].curve == scores[0]).all()
    if signal_at != "any time":
        assert scores[0] == 0  # died before the new file was in place
    left = set(os.listdir(tmp_path)) - {"r.parquet"}
    assert all(name.startswith(".r.parquet.") and name.endswith(".tmp") for name in left)
    if number == signal.SIGINT:
        assert not left
