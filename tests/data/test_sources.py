"""Data sets of every kind give the same samples, block by block."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from jaxeval.data.prefetch import prefetch
from jaxeval.data.sources import Arrays, Items, Stream, open_source

N = 11
X = np.random.default_rng(0).random((N, 2, 4, 4)).astype(np.float32)
Y = (np.arange(N) % 3).astype(np.int32)


class Loader:
    """Like torch's DataLoader: a data set, a batch size, and batches when iterated."""

    def __init__(self, batch_size):
        self.dataset, self.batch_size = range(N), batch_size

    def __len__(self):
        return N

    def __iter__(self):
        if self.batch_size is None:
            yield from zip(X, Y, strict=True)
        else:
            for i in range(0, N, self.batch_size):
                yield [X[i : i + self.batch_size], Y[i : i + self.batch_size]]


def kinds(tmp_path):
    np.savez(tmp_path / "d.npz", x=X, y=Y)
    np.save(tmp_path / "m.npy", X)
    np.save(tmp_path / "m.y.npy", Y)
    return {
        "tuple": (X, Y),
        "dict": {"x": X, "y": Y},
        "npz": tmp_path / "d.npz",
        "memmap": tmp_path / "m.npy",
        "items": [(x, y) for x, y in zip(X, Y, strict=True)],
        "dicts": [{"image": x, "label": y} for x, y in zip(X, Y, strict=True)],
        "function": lambda: (X, Y),
        "batches of a loader": Loader(4),
        "samples of a loader": Loader(None),
    }


NAMES = (
    "tuple", "dict", "npz", "memmap", "items", "dicts", "function", "batches of a loader",
    "samples of a loader",
)  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [3, 4, 50])
def test_blocks(tmp_path, name, size):
    source = open_source(kinds(tmp_path)[name])
    assert isinstance(source, Stream) == ("loader" in name)
    assert source.n == (None if "loader" in name else N)
    found = dict(source.blocks(size, lambda _: True))
    assert list(found) == list(range(-(-N // size)))
    for number, batch in found.items():
        at = slice(number * size, (number + 1) * size)
        np.testing.assert_array_equal(batch.x, X[at])
        np.testing.assert_array_equal(batch.y, Y[at])
    again = open_source(kinds(tmp_path)[name])
    assert source.identity() == again.identity()


def test_only_wanted_blocks_are_loaded():
    read = []

    class Watched(list):
        def __getitem__(self, i):
            read.append(i)
            return super().__getitem__(i)

    source = open_source(Watched((x, y) for x, y in zip(X, Y, strict=True)))
    read.clear()
    assert [number for number, _ in source.blocks(4, lambda b: b == 1)] == [1]
    assert read == [4, 5, 6, 7]


def test_limit_scale_transform_and_names():
    source = open_source(
        {"pixels": (255 * X).astype(np.uint8), "kind": Y, "weight": Y * 2},
        x="pixels", y="kind", extras=("weight",), limit=5, scale=255, transform=lambda x: x[:, :1],
    )  # fmt: skip
    assert source.n == 5
    batch = source.load(3, 5)
    assert batch.x.shape == (2, 1, 4, 4)
    assert batch.x.dtype == np.float32
    np.testing.assert_allclose(batch.x, X[3:5, :1], atol=1 / 255)
    assert batch.extras["weight"].tolist() == [0, 2]
    assert len(list(open_source(Loader(4), limit=6).blocks(4, lambda _: True))) == 2


@pytest.mark.parametrize(
    ("given", "options", "message"),
    [
        (3, {}, "data must be arrays"),
        ("nowhere.npz", {}, "there is no nowhere.npz"),
        ({"x": X, "y": Y[:-1]}, {}, "different lengths"),
        ({"inputs": X}, {}, "no column of the data is for x: name one, x = ..., of inputs"),
        ({"x": X}, {"y": "lable"}, "no column 'lable'"),
        ((X[:0], Y[:0]), {}, "empty"),
        ([(1, 2, 3)], {}, r"a sample must be x, \(x, y\) or a dict"),
    ],
)
def test_what_is_no_data_is_refused(given, options, message):
    with pytest.raises((TypeError, ValueError, OSError), match=message):
        open_source(given, **options)


def test_a_copy_not_the_callers_array():
    x = X.copy()
    batch = open_source(x).load(0, 4)
    x[:] = 0
    np.testing.assert_array_equal(batch.x, X[:4])


def test_a_large_map_is_not_read_as_a_whole(tmp_path, monkeypatch):
    from jaxeval import digests

    monkeypatch.setattr(digests, "FULL", 100)
    monkeypatch.setattr(digests, "ROWS", 3)
    np.save(tmp_path / "m.npy", X)
    source = open_source(tmp_path / "m.npy")
    assert isinstance(source, Arrays)
    assert isinstance(source.arrays["x"], np.memmap)
    before = source.identity()
    changed = X.copy()
    changed[-1] += 1
    assert before != open_source(changed).identity()


def test_image_folder(tmp_path):
    pil = pytest.importorskip("PIL.Image")
    rng = np.random.default_rng(0)
    for kind in ("cat", "bird"):
        (tmp_path / kind).mkdir()
        for i in range(2):
            pixels = rng.integers(0, 256, (6, 4, 3), np.uint8)
            pil.fromarray(pixels).save(tmp_path / kind / f"{i}.png")
    source = open_source(tmp_path)
    assert source.n == 4
    batch = source.load(0, 4)
    assert batch.x.shape == (4, 3, 6, 4)
    assert batch.y.tolist() == [0, 0, 1, 1]  # bird, cat
    want = np.asarray(pil.open(tmp_path / "cat" / "1.png"), np.float32) / 255
    np.testing.assert_allclose(batch.x[3], want.transpose(2, 0, 1))
    small = open_source(tmp_path, size=(2, 3), mode="L", channels="last", mean=[0.5], std=[0.5])
    assert small.load(1, 2).x.shape == (1, 2, 3, 1)
    assert source.identity() != small.identity()
    with pytest.raises(ValueError, match="mode='CMYK'"):
        open_source(tmp_path, mode="CMYK")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="has no images"):
        open_source(tmp_path / "empty")


def test_parquet(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table({"x": X.reshape(N, -1).tolist(), "label": Y})
    pq.write_table(table, tmp_path / "d.parquet", row_group_size=4)
    source = open_source(tmp_path / "d.parquet", shape=(2, 4, 4))
    assert source.n == N
    for number, batch in source.blocks(3, lambda _: True):
        np.testing.assert_array_equal(batch.x, X[3 * number : 3 * number + 3])
        np.testing.assert_array_equal(batch.y, Y[3 * number : 3 * number + 3])
    assert source.identity() == open_source(tmp_path / "d.parquet", shape=(2, 4, 4)).identity()
    pq.write_table(pa.table({"x": [[1.0], None]}), tmp_path / "null.parquet")
    with pytest.raises(ValueError, match="has 1 nulls"):
        open_source(tmp_path / "null.parquet").load(0, 2)


def test_hugging_face():
    datasets = pytest.importorskip("datasets")
    given = datasets.Dataset.from_dict({"image": X.tolist(), "label": Y.tolist()})
    source = open_source(given)
    assert isinstance(source, Items)
    np.testing.assert_array_equal(source.load(2, 5).x, X[2:5])
    assert source.load(2, 5).y.tolist() == Y[2:5].tolist()
    assert source.identity() == open_source(given).identity()


def test_torch():
    torch = pytest.importorskip("torch")
    from torch.utils.data import DataLoader, TensorDataset

    pairs = TensorDataset(torch.tensor(X), torch.tensor(Y))
    for given in (pairs, DataLoader(pairs, batch_size=4), torch.tensor(X)):
        source = open_source(given)
        blocks = [batch for _, batch in source.blocks(3, lambda _: True)]
        np.testing.assert_array_equal(np.concatenate([b.x for b in blocks]), X)


def test_prefetch_is_bounded_and_ends():
    made = []

    def items():
        for i in range(100):
            made.append(i)
            yield i

    before = set(threading.enumerate())
    ahead = prefetch(items(), ahead=2)
    assert next(ahead) == 0
    time.sleep(0.3)
    assert len(made) <= 4  # one taken, two waiting, one in the hand
    started = set(threading.enumerate()) - before
    assert started
    ahead.close()
    for thread in started:
        thread.join(timeout=60)
        assert not thread.is_alive()


def test_prefetch_raises_in_its_place():
    def items():
        yield 1
        raise OSError("gone")

    ahead = prefetch(items())
    assert next(ahead) == 1
    with pytest.raises(OSError, match="gone"):
        next(ahead)
