"""Data sets of any kind, read block by block, so that memory does not grow with them."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..check import did_you_mean
from ..digests import digest, rows_digest

NAMES = {
    "x": ("x", "image", "img", "pixel_values"),
    "y": ("y", "label", "labels", "target"),
    "mask": ("mask",),
    "padding": ("padding",),
    "index": ("index",),
}
"""The columns in which a block's parts are looked for, where none is named."""


@dataclasses.dataclass(frozen=True)
class Batch:
    """Some samples: the arguments of `jaxeval.evaluate`, each with a leading sample axis."""

    x: np.ndarray
    y: np.ndarray | None = None
    mask: np.ndarray | None = None
    padding: np.ndarray | None = None
    index: np.ndarray | None = None
    extras: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.x)

    def parts(self) -> dict[str, Any]:
        """Those that there are, for `evaluate`."""
        found = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return {k: v for k, v in found.items() if v is not None and not (k == "extras" and not v)}

    def digest(self) -> str:
        return digest(self.parts())

    def rows(self, at: Any) -> Batch:
        """The samples at `at`, a slice or indices."""
        parts = self.parts()
        extras = {k: v[at] for k, v in parts.pop("extras", {}).items()}
        return Batch(**{k: v[at] for k, v in parts.items()}, extras=extras)


@dataclasses.dataclass(frozen=True)
class Columns:
    """How a block is made of what a data set gives.

    Args:
      x, y, mask, padding, index: names of the columns; None: the usual ones, if they are there.
      extras: names of the columns that become extras; None: no column.
      scale: what x is divided by, 255 for bytes.
      transform: ``x [n, ...] -> x [n, ...]``, after that.
    """

    x: str | None = None
    y: str | None = None
    mask: str | None = None
    padding: str | None = None
    index: str | None = None
    extras: tuple[str, ...] = ()
    scale: float | None = None
    transform: Callable[[Any], Any] | None = None

    def chosen(self, known: Iterable[str]) -> dict[str, str]:
        """{part: column}, of a data set with these columns.

        Raises:
          ValueError: a column that is named is not there, or none is for x.
        """
        known = list(known)
        found = {}
        for part, usual in NAMES.items():
            if (name := getattr(self, part)) is not None:
                found[part] = name
            elif there := [n for n in usual if n in known]:
                found[part] = there[0]
        for name in (*found.values(), *self.extras):
            if name not in known:
                raise ValueError(f"the data has no column {name!r}{did_you_mean(name, known)}")
        if "x" not in found:
            raise ValueError(
                f"no column of the data is for x: name one, x = ..., of {', '.join(known)}"
            )
        return found

    def batch(self, columns: Mapping[str, Any]) -> Batch:
        """The block, of columns with one row a sample."""
        parts = {p: array(columns[name]) for p, name in self.chosen(columns).items()}
        x = parts["x"]
        if self.scale is not None:
            x = np.asarray(x, np.float32) / np.float32(self.scale)
        if self.transform is not None:
            x = array(self.transform(x))
        if len(x) != len(parts["x"]):
            raise ValueError(f"transform made {len(x)} samples of {len(parts['x'])}")
        if x.dtype == np.float64:
            x = x.astype(np.float32)
        if parts.get("y") is not None:
            parts["y"] = parts["y"].reshape(len(x))
        extras = {name: array(columns[name]) for name in self.extras}
        return Batch(**{**parts, "x": x}, extras=extras)


class Source:
    """A data set whose samples can be had in any order.

    Attributes:
      n: the number of samples, None where only the end tells.
    """

    n: int | None = None

    def load(self, start: int, stop: int) -> Batch:
        """The samples from `start` to `stop`."""
        raise NotImplementedError

    def identity(self) -> dict[str, Any]:
        """Plain values that differ between data sets, without reading all of a large one."""
        raise NotImplementedError

    def blocks(self, size: int, wanted: Callable[[int], bool]) -> Iterator[tuple[int, Batch]]:
        """(number, samples) of the blocks that are wanted."""
        assert self.n is not None
        for number in range(-(-self.n // size)):
            if wanted(number):
                yield number, self.load(number * size, min(self.n, (number + 1) * size))


class Arrays(Source):
    """Arrays, or memory maps of files: {column: array [N, ...]}."""

    def __init__(self, arrays: Mapping[str, Any], columns: Columns, limit: int | None = None):
        self.columns = columns
        used = columns.chosen(arrays)
        names = dict.fromkeys((*used.values(), *columns.extras))
        self.arrays = {name: sliceable(arrays[name]) for name in names}
        sizes = {name: len(v) for name, v in self.arrays.items()}
        if len(set(sizes.values())) > 1:
            raise ValueError(f"the columns of the data have different lengths: {sizes}")
        self.n = _limited(sizes[used["x"]], limit)

    def load(self, start: int, stop: int) -> Batch:
        # A copy: JAX may go on reading an aligned buffer that its owner changes.
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
    """What can only be gone through from its beginning: an iterator, a torch DataLoader.

    Blocks that are not wanted are read all the same. `check` is told of every block.
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
        """All blocks, wanted or not: whoever resumes can see that they are the same as before."""
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
    """What a function gives, called anew for every pass."""

    def __init__(self, make: Any):
        self.make = make

    def __iter__(self) -> Iterator[Any]:
        return iter(self.make())


def open_source(
    given: Any, *, limit: int | None = None, batched: bool | None = None, **columns: Any
) -> Source:
    """The data set that something is.

    Args:
      given: an array x [N, ...]; a tuple of arrays (x, y); a dict of arrays; the path of a file
        or folder (see `jaxeval.data.files`); what has a length and an index, whose items are
        samples x, (x, y) or {"x": ..., "y": ...}; what can be iterated, of samples, or of
        batches; or a function without arguments that returns one of these.
      limit: only the first samples, this many.
      batched: whether an iterator gives batches; None: a torch DataLoader by its `batch_size`,
        everything else gives samples.
      columns: the fields of `Columns`; for image folders those of `ImageFolder`, too.

    >>> import numpy as np
    >>> source = open_source((np.zeros((5, 4)), np.arange(5)))
    >>> source.n, source.load(3, 5).y.tolist()
    (5, [3, 4])
    """
    from .files import open_path

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


# -- arrays of anything --------------------------------------------------------------------------


def array(value: Any) -> np.ndarray:
    """A NumPy array of arrays, lists, torch tensors or Pillow images."""
    if hasattr(value, "detach"):  # a torch tensor, which may want a gradient or be elsewhere
        value = value.detach().cpu().numpy()
    if isinstance(value, (list, tuple)):
        return np.stack([array(v) for v in value]) if len(value) else np.zeros(0)
    return np.asarray(value)


def sliceable(value: Any) -> Any:
    """An array whose slices are NumPy's or JAX's: a memory map stays one."""
    plain = hasattr(value, "nbytes") and hasattr(value, "shape") and not hasattr(value, "detach")
    return value if plain else array(value)


def as_columns(item: Any) -> dict[str, Any]:
    """A sample, or a batch, as {column: value}."""
    if isinstance(item, Mapping):
        return dict(item)
    if isinstance(item, Batch):
        return item.parts()
    if isinstance(item, (tuple, list)):
        if not 1 <= len(item) <= 2:
            raise ValueError(
                f"a sample must be x, (x, y) or a dict, got {type(item).__name__} of {len(item)}"
            )
        return dict(zip("xy", item, strict=False))
    return {"x": item}


def collated(samples: list[Any]) -> dict[str, np.ndarray]:
    """The columns of a list of samples."""
    rows = [as_columns(sample) for sample in samples]
    try:
        return {k: np.stack([array(row[k]) for row in rows]) for k in rows[0]}
    except KeyError as e:
        raise ValueError(f"some samples of the data have a part {e} and others have not") from e
    except ValueError as e:
        raise ValueError(f"the samples of the data have different shapes: {e}") from e


def _is_array(value: Any) -> bool:
    return hasattr(value, "shape") and hasattr(value, "dtype") and hasattr(value, "__getitem__")


def _limited(n: int, limit: int | None) -> int:
    if n == 0:
        raise ValueError("the data set is empty")
    return n if limit is None else min(n, limit)
