"""Data sets in files that are read in parts: Parquet, folders of images."""

from __future__ import annotations

import bisect
import dataclasses
import io
from pathlib import Path
from typing import Any

import numpy as np

from ..check import did_you_mean
from ..digests import digest
from .base import Batch, Columns, Source, array, collated

IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp")
MODES = {"L": 1, "RGB": 3, "RGBA": 4}


class ImageFolder(Source):
    """A folder of images, with one subfolder per class, or none.

    Classes are the subfolders in alphabetical order, as in torchvision. Images are converted to
    float32 in [0, 1].

    Args:
      size: [height, width] to which images are resized (bilinear); None: all have the same size.
      mode: "RGB", "L" or "RGBA".
      channels: "first" or "last".
      mean, std: per channel, subtracted and divided by.
    """

    def __init__(
        self,
        folder: Path,
        limit: int | None = None,
        size: Any = None,
        mode: str = "RGB",
        channels: str = "first",
        mean: Any = None,
        std: Any = None,
        **columns: Any,
    ):
        try:
            import PIL.Image
        except ImportError as e:
            raise ImportError("folders of images need Pillow: pip install pillow") from e
        if mode not in MODES:
            raise ValueError(f"mode={mode!r}: must be one of {', '.join(MODES)}")
        if channels not in ("first", "last"):
            raise ValueError(f'channels={channels!r}: must be "first" or "last"')
        if size is not None and not (len(size) == 2 and all(isinstance(v, int) for v in size)):
            raise ValueError(f"size={size!r}: must be [height, width]")
        self.open, self.folder, self.columns = PIL.Image.open, folder, Columns(**columns)
        self.size, self.mode, self.channels, self.mean, self.std = size, mode, channels, mean, std
        files = [p for p in sorted(folder.rglob("*")) if p.suffix.lower() in IMAGES]
        if not files:
            raise ValueError(f"{folder} has no images ({', '.join(IMAGES)})")
        self.files = files if limit is None else files[:limit]
        self.n = len(self.files)
        labels = [p.relative_to(folder).parts[0] if p.parent != folder else None for p in files]
        self.classes = sorted({v for v in labels if v is not None})
        if self.classes and None in labels:
            raise ValueError(f"{folder} has images both in and outside of class folders")
        self.y = [self.classes.index(v) for v in labels if v is not None]

    def load(self, start: int, stop: int) -> Batch:
        rows = {"x": np.stack([self._image(p) for p in self.files[start:stop]])}
        if self.classes:
            rows["y"] = np.array(self.y[start:stop], np.int32)
        return self.columns.batch(rows)

    def _image(self, file: Path) -> np.ndarray:
        with self.open(file) as image:
            image = image.convert(self.mode)
            if self.size is not None:
                image = image.resize((self.size[1], self.size[0]), 2)  # bilinear
            pixels = np.asarray(image, np.float32).reshape(image.height, image.width, -1) / 255
        if self.mean is not None:
            pixels = pixels - np.float32(self.mean)
        if self.std is not None:
            pixels = pixels / np.float32(self.std)
        return pixels.transpose(2, 0, 1) if self.channels == "first" else pixels

    def identity(self) -> dict[str, Any]:
        """Names and sizes of the files, and the reading options."""
        names = [f"{p.relative_to(self.folder).as_posix()}|{p.stat().st_size}" for p in self.files]
        how = [self.size, self.mode, self.channels, self.mean, self.std]
        return {"files": digest(np.array(names)), "n": self.n, "read": str(how)}


@dataclasses.dataclass
class _Group:
    file: Any
    number: int
    first: int


class Parquet(Source):
    """Parquet files, read one row group at a time.

    Args:
      shape: the shape of one sample's x, if its column holds flat lists.
    """

    def __init__(
        self, files: list[Path], limit: int | None = None, shape: Any = None, **columns: Any
    ):
        import pyarrow.parquet as pq

        self.columns, self.shape, self.paths = Columns(**columns), shape, files
        self.groups: list[_Group] = []
        n = 0
        for path in files:
            file = pq.ParquetFile(path, memory_map=True)
            for i in range(file.num_row_groups):
                self.groups.append(_Group(file, i, n))
                n += file.metadata.row_group(i).num_rows
        if not n:
            raise ValueError(f"{files[0]} has no rows")
        self.n = n if limit is None else min(n, limit)
        names = self.groups[0].file.schema_arrow.names
        chosen = self.columns.chosen(names)
        self.x = chosen["x"]
        self.names = list(dict.fromkeys((*chosen.values(), *self.columns.more)))
        self.held: tuple[int, Any] = (-1, None)

    def load(self, start: int, stop: int) -> Batch:
        firsts = [group.first for group in self.groups]
        pieces: list[dict[str, Any]] = []
        at = bisect.bisect_right(firsts, start) - 1
        while at < len(self.groups) and firsts[at] < stop:
            table = self._group(at)
            rows = table.slice(max(0, start - firsts[at]), stop - max(start, firsts[at]))
            pieces.append({name: self._values(name, rows[name]) for name in self.names})
            at += 1
        whole = {k: np.concatenate([piece[k] for piece in pieces]) for k in self.names}
        return self.columns.batch(whole)

    def _group(self, at: int) -> Any:
        if self.held[0] != at:
            group = self.groups[at]
            self.held = (at, group.file.read_row_group(group.number, columns=self.names))
        return self.held[1]

    def _values(self, name: str, column: Any) -> np.ndarray:
        if column.null_count:
            raise ValueError(f"the column {name!r} of the data has {column.null_count} nulls")
        kind = column.type
        if hasattr(kind, "shape"):  # tensors of a fixed shape
            values = column.combine_chunks().to_numpy_ndarray()
        elif str(kind).startswith(("struct", "binary")):
            values = collated([{"x": _decoded(v.as_py())} for v in column])["x"]
        elif str(kind).startswith(("list", "large_list", "fixed_size_list")):
            values = array(column.to_pylist())
        else:
            values = column.to_numpy()
        if name == self.x and self.shape is not None:
            values = values.reshape(len(values), *self.shape)
        return values

    def identity(self) -> dict[str, Any]:
        """The sizes of the files and their footers' metadata of every row group."""
        import pyarrow.parquet as pq

        footers = [str(pq.read_metadata(p).to_dict()) for p in self.paths]
        sizes = np.array([p.stat().st_size for p in self.paths])
        return {
            "footers": digest([np.array(footers), sizes]),
            "n": self.n,
            "shape": str(self.shape),
        }


def _decoded(value: Any) -> np.ndarray:
    """An image as stored by Hugging Face: its file's bytes."""
    from PIL import Image

    content = value["bytes"] if isinstance(value, dict) else value
    with Image.open(io.BytesIO(content)) as image:
        pixels = np.asarray(image)
    return pixels


def options_of(path: Path) -> list[str]:
    """Check the options that `open_path` takes for a path."""
    columns = [f.name for f in dataclasses.fields(Columns)]
    own: list[str] = []
    if path.suffix == ".parquet":
        own = ["shape"]
    elif path.is_dir():
        own = ["shape", "size", "mode", "channels", "mean", "std"]
    return [*columns, *own, "limit"]


def check_options(path: Path, given: Any) -> None:
    known = options_of(path)
    for name in given:
        if name not in known:
            raise ValueError(f"data of {path} has no option {name!r}{did_you_mean(name, known)}")
