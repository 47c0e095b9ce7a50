"""Data sets of any kind, read block by block, so that memory does not grow with their size."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..digests import digest, rows_digest
from .base import NAMES, Batch, Columns, Source, array, as_columns, collated, sliceable
from .files import ImageFolder, Parquet


class Arrays(Source):
    """Arrays, or memory maps of files: {column: array [N, ...]}."""

    def __init__(self, arrays: Mapping[str, Any], columns: Columns, limit: int | None = None):
        self.columns = columns
        used = columns.chosen(arrays)
        names = dict.fromkeys((*used.values(), *columns.more))
        self.arrays = {name: sliceable(arrays[name]) for name in names}
        sizes = {name: len(v) for name, v in self.arrays.items()}
        if len(set(sizes.values())) > 1:
            raise ValueError(f"the columns of the data have different lengths: {sizes}")
        self.n = _limited(sizes[used["x"]], limit)

    def load(self, start: int, stop: int) -> Batch:
        # A copy: JAX may share an aligned buffer, which its owner may change.
        return self.columns.batch({k: np.array(v[start:stop]) for k, v in self.arrays.items()})

    def identity(self) -> dict[str, Any]:
        return {k: rows_digest(v[: self.n]) for k, v in self.arrays.items()}


class Items(Source):
    """Anything with a length and an index: a list of samples, a torch or Hugging Face data set."""

    SPREAD = 16

    def __init__(self, items: Any, columns: Columns, limit: int | None = None):
        self.items, self.columns = items, columns
        self.n = _limited(len(items), limit)
        if self.n:
            columns.chosen(as_columns(items[0]))

    def load(self, start: int, stop: int) -> Batch:
        if hasattr(self.items, "column_names"):  # Hugging Face: a slice is a dict of columns
            return self.columns.batch(self.items[start:stop])
        return self.columns.batch(collated([self.items[i] for i in range(start, stop)]))

    def identity(self) -> dict[str, Any]:
        own = getattr(self.items, "_fingerprint", None)
        if isinstance(own, str):
            return {"fingerprint": own, "n": self.n}
        n = self.n or 1
        few = min(n, n if isinstance(self.items, (list, tuple)) else self.SPREAD)
        at = np.unique(np.linspace(0, n - 1, few).astype(int)).tolist()
        return {"spread": digest([as_columns(self.items[i]) for i in at]), "n": self.n}


class Stream(Source):
    """Data without random access: an iterator, a torch DataLoader.

    Unwanted blocks are read, too, and passed to `check`.
    """

    def __init__(
        self,
        items: Iterable[Any],
        columns: Columns,
        limit: int | None = None,
        batched: bool = False,
    ):
        self.items, self.columns, self.limit, self.batched = items, columns, limit, batched

    def identity(self) -> dict[str, Any]:
        return {"stream": type(self.items).__name__, "limit": self.limit}

    def blocks(self, size: int, wanted: Callable[[int], bool]) -> Iterator[tuple[int, Batch]]:
        """All blocks, wanted or not, so that a resumed sweep can check that they are the same."""
        waiting: dict[str, np.ndarray] = {}
        number = 0
        for columns in itertools.chain(self._pieces(size), [None]):
            if columns is not None:
                if waiting and waiting.keys() != columns.keys():
                    raise ValueError(
                        f"the data has samples with the parts {', '.join(waiting)} and then "
                        f"samples with {', '.join(columns)}"
                    )
                waiting = {
                    k: np.concatenate([waiting[k], v]) if waiting else np.array(v)
                    for k, v in columns.items()
                }
            while waiting and (n := len(next(iter(waiting.values())))) > 0:
                if n < size and columns is not None:
                    break
                yield number, self.columns.batch({k: v[:size] for k, v in waiting.items()})
                waiting = {k: v[size:] for k, v in waiting.items()}
                number += 1

    def _pieces(self, size: int) -> Iterator[dict[str, np.ndarray]]:
        left = self.limit
        pieces: Iterator[Any] = iter(self.items)
        if not self.batched:
            pieces = iter(lambda it=pieces: list(itertools.islice(it, size)), [])
        for piece in pieces:
            made = as_columns(piece) if self.batched else collated(piece)
            columns = {k: array(v) for k, v in made.items()}
            n = min(len(v) for v in columns.values())
            taken = n if left is None else min(n, left)
            if taken:
                yield {k: v[:taken] for k, v in columns.items()}
            if left is not None and (left := left - taken) == 0:
                return


class Again:
    """The result of a function, called again for every pass."""

    def __init__(self, make: Any):
        self.make = make

    def __iter__(self) -> Iterator[Any]:
        return iter(self.make())


def open_source(
    given: Any, *, limit: int | None = None, batched: bool | None = None, **columns: Any
) -> Source:
    """Open a data set.

    Args:
      given: an array x [N, ...]; a tuple of arrays (x, y); a dict of arrays; the path of a file
        or folder (see `open_path`); an object with a length and an index, whose items are
        samples x, (x, y) or {"x": ..., "y": ...}; an iterable of samples or of batches; or a
        function without arguments that returns one of these.
      limit: use only this many samples, from the first.
      batched: whether an iterable yields batches; None: for a torch DataLoader, if it has a
        `batch_size`; everything else yields samples.
      columns: the fields of `Columns`; for image folders, also those of `ImageFolder`.

    >>> import numpy as np
    >>> source = open_source((np.zeros((5, 4)), np.arange(5)))
    >>> source.n, source.load(3, 5).y.tolist()
    (5, [3, 4])
    """
    if isinstance(given, Source):
        return given
    if isinstance(given, (str, Path)):
        return open_path(Path(given), limit=limit, **columns)
    if callable(given) and not hasattr(given, "__getitem__") and not hasattr(given, "__iter__"):
        make: Any = given
        made = make()
        again = Again(make) if hasattr(made, "__next__") else made
        return open_source(again, limit=limit, batched=batched, **columns)
    known = Columns(**columns)
    if isinstance(given, tuple) and hasattr(given, "_asdict"):
        given = given._asdict()  # pyright: ignore
    if isinstance(given, tuple) and 1 <= len(given) <= 2 and all(map(_is_array, given)):
        given = dict(zip("xy", given, strict=False))
    if _is_array(given):
        given = {"x": given}
    if isinstance(given, Mapping):
        return Arrays(given, known, limit)
    items: Any = given
    loader = hasattr(items, "dataset") and hasattr(items, "batch_size")
    if hasattr(items, "__getitem__") and hasattr(items, "__len__") and not loader:
        return Items(items, known, limit)
    if hasattr(items, "__iter__"):
        if batched is None:
            batched = loader and items.batch_size is not None
        return Stream(items, known, limit, batched)
    raise TypeError(
        "data must be arrays, a path, or what can be indexed or iterated, got "
        f"{type(given).__name__}"
    )


def open_path(path: Path, *, limit: int | None = None, **options: Any) -> Source:
    """Open a data set in a file or a folder.

    * ``.npz``: arrays x, y, mask, padding, index, word_ids; others if listed in `extras` or
      `inputs`.
    * ``.npy``: x alone, memory-mapped; next to it, optional files ``name.y.npy``,
      ``name.mask.npy``, ..., and one for each of `extras` and `inputs`.
    * ``.parquet``, or a folder of such files: columns of numbers, lists or images.
    * a folder of images: see `ImageFolder`.
    """
    if not path.exists():
        raise FileNotFoundError(f"there is no {path}")
    inside = sorted(path.rglob("*.parquet")) if path.is_dir() else []
    if path.suffix == ".parquet" or inside:
        return Parquet(inside or [path], limit=limit, **options)
    if path.is_dir():
        return ImageFolder(path, limit=limit, **options)
    if path.suffix == ".npz":
        with np.load(path) as file:
            return open_source(dict(file), limit=limit, **options)
    if path.suffix == ".npy":
        found, columns = {"x": np.load(path, mmap_mode="r")}, Columns(**options)
        for part in (*itertools.chain(*NAMES.values()), *columns.more):
            beside = path.with_suffix(f".{part}.npy")
            if part != "x" and beside.exists():
                found[part] = np.load(beside, mmap_mode="r")
        return Arrays(found, columns, limit)
    raise ValueError(
        f"{path}: data is .npz, .npy, .parquet, a folder of images or of Parquet files, "
        "or package.module:function"
    )


def _is_array(value: Any) -> bool:
    return hasattr(value, "shape") and hasattr(value, "dtype") and hasattr(value, "__getitem__")


def _limited(n: int, limit: int | None) -> int:
    if n == 0:
        raise ValueError("the data set is empty")
    return n if limit is None else min(n, limit)
