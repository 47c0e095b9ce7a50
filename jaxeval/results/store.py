"""A folder of scores, written shard by shard by any number of processes, each shard atomically.

The layout::

    manifest.json     what is computed, with its fingerprint; from the first writer
    parts/*.parquet   one file per shard, each as written by `Results.save`, with extra columns
    tmp/              files that are being written
    log/*.jsonl       logs of the processes

A shard is written to ``tmp``, synced, and given its name in ``parts`` by a hard link. Creating a
link is atomic and fails if the name exists, so readers never see an incomplete file, and if two
processes compute the same shard, the second discards its copy.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from ..types import Outcome
from .parts import SURE
from .table import Results

if TYPE_CHECKING:
    import pyarrow as pa

SHARD = b"jaxeval.shard"
STALE = 3600.0
"""Age in seconds after which a file in ``tmp`` counts as left by a killed process."""


class Store:
    """The scores of one sweep in a folder.

    ``pandas.read_parquet(folder / "parts")``, ``polars.read_parquet(folder / "parts/*.parquet")``
    and ``duckdb.sql("from 'folder/parts/*.parquet'")`` read it directly, even while it is being
    written: one row per score; undefined scores are null with the status "undefined".

    Args:
      folder: its path; `create` makes it if it does not exist.
    """

    def __init__(self, folder: str | os.PathLike[str]):
        self.folder = Path(folder)
        self.parts, self.tmp = self.folder / "parts", self.folder / "tmp"

    def __repr__(self) -> str:
        return f"Store({str(self.folder)!r})"

    # -- writing -------------------------------------------------------------------------------

    def create(self, manifest: Mapping[str, Any]) -> dict[str, Any]:
        """Create the folder, and return its manifest: this one, or that of an earlier process."""
        for folder in (self.parts, self.tmp, self.folder / "log"):
            folder.mkdir(parents=True, exist_ok=True)
        self._clean()
        text = json.dumps(manifest, indent=1, ensure_ascii=False, allow_nan=False)
        self._commit(self.folder / "manifest.json", lambda file: file.write(text.encode()))
        return self.manifest()

    def _clean(self) -> None:
        """Delete incomplete files left by killed processes."""
        for file in self.tmp.iterdir():
            try:
                if time.time() - file.stat().st_mtime > STALE:
                    file.unlink(missing_ok=True)
            except OSError:
                pass  # another process has deleted it

    def commit(self, key: str, results: Results, shard: Mapping[str, Any]) -> bool:
        """Write one shard; if it exists already, keep the existing one and return False.

        Args:
          key: its name.
          results: its scores.
          shard: further facts, plain values: "model" and "seed" become columns, and "hashes",
            {(explainer, metric): text}, becomes the column "settings_hash".
        """
        from .parquet import write_table

        table = self._table(results, shard)
        return self._commit(self.path(key), lambda file: write_table(table, file))

    @staticmethod
    def _table(results: Results, shard: Mapping[str, Any]) -> pa.Table:
        import pyarrow as pa

        from .parquet import to_arrow

        table = to_arrow(results)
        hashes = shard["hashes"]
        sizes = [len(o.score) for o in results.outcomes.values()]
        text = pa.array(np.repeat([hashes[cell] for cell in results.outcomes], sizes), pa.string())
        n = table.num_rows
        columns = {
            "model": pa.repeat(pa.scalar(shard["model"], pa.string()), n),
            "seed": pa.repeat(pa.scalar(shard["seed"], pa.int64()), n),
            "settings_hash": text,
        }
        for name, values in columns.items():
            table = table.append_column(pa.field(name, values.type, nullable=False), values)
        known = {k: v for k, v in shard.items() if k != "hashes"}
        metadata = {**(table.schema.metadata or {}), SHARD: json.dumps(known).encode()}
        return table.replace_schema_metadata(metadata)

    def note(self, name: str, value: Any) -> Any:
        """Store a small fact found during the sweep, unless there is one; return the stored one."""
        file = self.folder / f"{name}.json"
        self._commit(file, lambda out: out.write(json.dumps(value).encode()))
        return self.noted(name)

    def noted(self, name: str) -> Any:
        """A fact stored by `note`, or None."""
        try:
            return json.loads((self.folder / f"{name}.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None

    def _commit(self, path: Path, write: Callable[[IO[bytes]], Any]) -> bool:
        if path.exists():
            return False
        writer = f"{socket.gethostname()}.{os.getpid()}.{secrets.token_hex(4)}"
        temporary = self.tmp / f"{path.name}.{writer}"
        try:
            with open(temporary, "xb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            try:
                os.link(temporary, path)
            except FileExistsError:
                return False
        finally:
            temporary.unlink(missing_ok=True)
        if hasattr(os, "O_DIRECTORY"):
            folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        return True

    # -- reading -------------------------------------------------------------------------------

    def manifest(self) -> dict[str, Any]:
        """The manifest: what this sweep computes.

        Raises:
          FileNotFoundError: no sweep has begun in this folder.
        """
        try:
            return json.loads((self.folder / "manifest.json").read_text(encoding="utf-8"))
        except FileNotFoundError as e:
            raise FileNotFoundError(f"{self.folder} holds no sweep: no manifest.json") from e

    def done(self) -> set[str]:
        """The keys of the finished shards."""
        return {p.stem for p in self.parts.glob("*.parquet")}

    def path(self, key: str) -> Path:
        return self.parts / f"{key}.parquet"

    def shard(self, key: str) -> dict[str, Any]:
        """The facts stored with a shard, read from its schema alone."""
        import pyarrow.parquet as pq

        return json.loads((pq.read_schema(self.path(key)).metadata or {}).get(SHARD, b"{}"))

    def results(self, model: str | None = None, seed: int | None = None) -> Results:
        """The scores of one model under one seed, for the samples finished so far.

        Raises:
          ValueError: several models or seeds, and none was given; or no scores yet.
        """
        (found,) = self._by_seed(model, seed, several=False)
        return found

    def mean(self, model: str | None = None) -> Results:
        """The scores of one model averaged over its seeds, per sample, where defined.

        `curve_std` becomes the standard deviation over all repetitions of all seeds: the root of
        the mean variance within a seed plus the variance of the seeds' curves. `asked` and the
        seconds are sums over the seeds.

        Raises:
          ValueError: as for `results`.
        """
        found = self._by_seed(model, None, several=True)
        return found[0] if len(found) == 1 else averaged(found)

    def _by_seed(self, model: str | None, seed: int | None, several: bool) -> list[Results]:
        found = {key: self.shard(key) for key in sorted(self.done())}
        for name, value in {"model": model, "seed": seed}.items():
            there: list[Any] = sorted({shard.get(name) for shard in found.values()})
            if value is None and len(there) > 1 and not (several and name == "seed"):
                raise ValueError(f"the sweep has several {name}s: give {name}=, one of {there}")
            if value is not None:
                found = {k: shard for k, shard in found.items() if shard.get(name) == value}
                if not found:
                    raise ValueError(f"no scores of {name} {value!r} yet; there are {there}")
        if not found:
            raise ValueError(f"{self.folder} has no scores yet")
        blocks: dict[Any, list[str]] = {}
        for key in sorted(found, key=lambda key: found[key].get("start", 0)):
            blocks.setdefault(found[key].get("seed"), []).append(key)
        return [joined([Results.load(self.path(k)) for k in keys]) for keys in blocks.values()]


PARTS = ("score", "curve", "curve_std", *SURE)


def joined(parts: list[Results]) -> Results:
    """The results of several blocks of samples as one."""

    def column(name: str, cell: tuple[str, str]) -> Any:
        values = [getattr(part.outcomes[cell], name) for part in parts]
        return None if values[0] is None else np.concatenate(values)

    return _together(
        parts,
        {cell: Outcome(**{k: column(k, cell) for k in PARTS}) for cell in parts[0].outcomes},
        np.concatenate([part.index for part in parts]),
        np.concatenate([part.y for part in parts]),
    )


def averaged(runs: list[Results]) -> Results:
    """The results of several seeds as one; seeds may lack samples that are not finished yet."""
    index, first = np.unique(np.concatenate([run.index for run in runs]), return_index=True)
    at = [np.searchsorted(index, run.index) for run in runs]

    def stacked(name: str, cell: tuple[str, str]) -> Any:
        values = [getattr(run.outcomes[cell], name) for run in runs]
        if any(v is None for v in values):
            return None
        dtype = np.result_type(values[0].dtype, np.float32)
        full = np.full((len(runs), len(index), *values[0].shape[1:]), np.nan, dtype)
        for row, place, v in zip(full, at, values, strict=True):
            row[place[: len(v)]] = v
        return full

    def outcome(cell: tuple[str, str]) -> Outcome:
        found = {name: stacked(name, cell) for name in PARTS}
        score, curve, std, error, effective, heavy = (found[name] for name in PARTS[:6])
        asked, status = found["asked"], found["status"]
        if std is not None:
            std = np.sqrt(_mean(std**2) + _mean((curve - _mean(curve)) ** 2))
        if effective is not None:  # seeds draw independently; heavy tails in one are in the mean
            n = np.maximum((~np.isnan(error)).sum(0), 1)
            error = np.sqrt(_mean(error**2) / n)
            effective, heavy = np.nansum(effective, 0), np.nansum(heavy, 0) > 0
        elif error is not None:
            error = _mean(error)
        return Outcome(
            score=_mean(score),
            curve=None if curve is None else _mean(curve),
            curve_std=std,
            error=error,
            effective=effective,
            heavy_tails=heavy,
            asked=None if asked is None else np.nansum(asked, 0),
            status=None if status is None else np.nanmax(status, 0),
        )

    y = np.concatenate([run.y for run in runs])[first]
    return _together(runs, {cell: outcome(cell) for cell in runs[0].outcomes}, index, y)


def _mean(v: np.ndarray) -> np.ndarray:
    """The mean over the first axis, without NaN; accumulated in float64."""
    defined = ~np.isnan(v)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(defined, v, 0).sum(0, dtype=np.float64) / defined.sum(0)
    return mean.astype(v.dtype)


def _together(parts: list[Results], outcomes: Any, index: np.ndarray, y: np.ndarray) -> Results:
    first = parts[0]
    seconds = [part.settings.get("seconds", 0) for part in parts]
    return Results(
        outcomes,
        first.directions,
        first.families,
        index,
        y,
        _sum([dict(part.asked) for part in parts]),
        {**first.settings, "samples": len(index), "seconds": round(sum(seconds), 3)},
    )


def _sum(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """The numbers of questions asked, summed by kind."""
    total: dict[str, Any] = {}
    for part in parts:
        for kind, count in part.items():
            nested = isinstance(count, dict)
            total[kind] = (
                _sum([total.get(kind, {}), count]) if nested else total.get(kind, 0) + count
            )
    return total
