"""Base classes of data sets: batches of samples, and the columns that they are read from."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from ..check import did_you_mean
from ..digests import digest

NAMES = {
    "x": ("x", "image", "img", "pixel_values", "input_ids"),
    "y": ("y", "label", "labels", "target"),
    "mask": ("mask",),
    "padding": ("padding",),
    "index": ("index",),
    "features": ("word_ids",),
}
"""The default names of the columns of a block's parts."""
GROUPS = ("extras", "inputs")
"""The parts that are several columns by name."""


@dataclasses.dataclass(frozen=True)
class Batch:
    """Some samples: the arguments of `jaxeval.evaluate`, each with a leading sample axis."""

    x: np.ndarray
    y: np.ndarray | None = None
    mask: np.ndarray | None = None
    padding: np.ndarray | None = None
    index: np.ndarray | None = None
    features: np.ndarray | None = None
    extras: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    inputs: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.x)

    def parts(self) -> dict[str, Any]:
        """The parts that are not None, as arguments for `evaluate`."""
        found = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return {k: v for k, v in found.items() if v is not None and (k not in GROUPS or v)}

    def digest(self) -> str:
        return digest(self.parts())

    def rows(self, at: Any) -> Batch:
        """The samples at `at`, a slice or indices."""
        parts = self.parts()
        more: dict[str, Any] = {g: {k: v[at] for k, v in parts.pop(g, {}).items()} for g in GROUPS}
        return Batch(**{k: v[at] for k, v in parts.items()}, **more)


@dataclasses.dataclass(frozen=True)
class Columns:
    """How columns of a data set become the parts of a block.

    Args:
      x, y, mask, padding, index, features: names of the columns; None: the default names, if
        present.
      extras: names of the columns that become extras.
      inputs: names of the columns that are given to the model with x (token_type_ids).
      scale: divisor of x, for example 255 for bytes.
      transform: ``x [n, ...] -> x [n, ...]``, applied after `scale`.
    """

    x: str | None = None
    y: str | None = None
    mask: str | None = None
    padding: str | None = None
    index: str | None = None
    features: str | None = None
    extras: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    scale: float | None = None
    transform: Callable[[Any], Any] | None = None

    @property
    def more(self) -> tuple[str, ...]:
        """The names of the columns that keep their names."""
        return (*self.extras, *self.inputs)

    def chosen(self, known: Iterable[str]) -> dict[str, str]:
        """{part: column}, for a data set with these columns.

        Raises:
          ValueError: a given column does not exist, or there is none for x.
        """
        known = list(known)
        found = {}
        for part, usual in NAMES.items():
            if (name := getattr(self, part)) is not None:
                found[part] = name
            elif there := [n for n in usual if n in known]:
                found[part] = there[0]
        for name in (*found.values(), *self.more):
            if name not in known:
                raise ValueError(f"the data has no column {name!r}{did_you_mean(name, known)}")
        if "x" not in found:
            raise ValueError(
                f"no column of the data is for x: name one, x = ..., of {', '.join(known)}"
            )
        return found

    def batch(self, columns: Mapping[str, Any]) -> Batch:
        """The block, from columns with one row per sample."""
        parts: dict[str, Any] = {
            p: array(columns[name]) for p, name in self.chosen(columns).items()
        }
        x = parts["x"]
        if self.scale is not None:
            x = np.asarray(x, np.float32) / np.float32(self.scale)
        if self.transform is not None:
            x = array(self.transform(x))
        if len(x) != len(parts["x"]):
            raise ValueError(f"transform returned {len(x)} samples for {len(parts['x'])}")
        if x.dtype == np.float64:
            x = x.astype(np.float32)
        if parts.get("y") is not None:
            parts["y"] = parts["y"].reshape(len(x))
        for group in GROUPS:
            parts[group] = {name: array(columns[name]) for name in getattr(self, group)}
        return Batch(**{**parts, "x": x})


class Source:
    """A data set with random access to its samples.

    Attributes:
      n: the number of samples; None for a stream.
    """

    n: int | None = None

    def load(self, start: int, stop: int) -> Batch:
        """The samples from `start` to `stop`."""
        raise NotImplementedError

    def identity(self) -> dict[str, Any]:
        """Plain values that identify the data set, without reading all of a large one."""
        raise NotImplementedError

    def blocks(self, size: int, wanted: Callable[[int], bool]) -> Iterator[tuple[int, Batch]]:
        """(number, samples) of the wanted blocks."""
        assert self.n is not None
        for number in range(-(-self.n // size)):
            if wanted(number):
                yield number, self.load(number * size, min(self.n, (number + 1) * size))


# -- conversion to arrays ------------------------------------------------------------------------


def array(value: Any) -> np.ndarray:
    """A NumPy array of arrays, lists, torch tensors or Pillow images."""
    if hasattr(value, "detach"):  # a torch tensor, which may require gradients or be on a GPU
        value = value.detach().cpu().numpy()
    if isinstance(value, (list, tuple)):
        return np.stack([array(v) for v in value]) if len(value) else np.zeros(0)
    return np.asarray(value)


def sliceable(value: Any) -> Any:
    """An array with NumPy's or JAX's slices; memory maps are kept."""
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
