"""`Plan`: a sweep with its models and data loaded, checked, fingerprinted and cut into shards."""

from __future__ import annotations

import dataclasses
import functools
import platform
import time
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from ..api import evaluate_job
from ..data.sources import Batch
from ..digests import digest
from ..engine.job import Job, read_job
from ..engine.options import Options
from ..engine.plan import check_job
from ..metric import needs_all
from ..results.store import Store
from ..results.table import Results
from ..shown import count
from . import fingerprint
from .describe import Sweep
from .lines import Keys, SweepError

VERSION = 2
"""Version of the manifest; version 1 identified functions by name and source only."""


class ChangedError(SweepError):
    """The folder holds the scores of another sweep; `changes` lists the differences."""

    def __init__(self, message: str, changes: list[str]):
        super().__init__(message, ("output",))
        self.changes = changes


@dataclasses.dataclass(frozen=True)
class Shard:
    """A block of samples under one model and seed, with every explainer and metric.

    All explainers and metrics are in one shard, so that they can share questions. Every process
    gets an equal share of the shards of each model and seed: those with ``lane % world == rank``.
    """

    lane: int
    block: int
    model: int
    seed: int

    @property
    def key(self) -> str:
        return f"b{self.block:07d}-m{self.model}-s{self.seed}"

    def facts(self) -> dict[str, Any]:
        """What else is stored with the shard."""
        return {}


class Plan:
    """The work of a sweep.

    Raises:
      SweepError: an incompatible metric, explainer and model, before anything is compiled; with
        the file's line.
    """

    def __init__(self, sweep: Sweep):
        self.sweep = sweep
        try:
            self.models, self.source = sweep.models, sweep.source
            self.n = self.source.n
            self.size = sweep.shard_size if self.n is None else min(sweep.shard_size, self.n)
            self._check_whole()
            self.first = self._first_block()
            self.jobs = {name: self._fit(name) for name in self.models}
        except SweepError as e:
            raise sweep.located(e) from e
        self.store = Store(sweep.output)

    # -- checks ---------------------------------------------------------------------------------

    def _check_whole(self) -> None:
        """Metrics over a whole data set need it in one shard."""
        if self.n is not None and self.n <= self.size:
            return
        for name, setting in self.sweep.metric_settings.items():
            if (why := needs_all(setting.made)) is not None:
                wanted = "known number of samples" if self.n is None else f"shard_size of {self.n}"
                raise SweepError(
                    f"metric {name!r} {why}, which needs a {wanted} or more",
                    ("metrics", setting.group),
                )

    def _first_block(self) -> Batch:
        """The first samples; a stream is afterwards read again from its beginning."""
        try:
            if self.n is not None:
                return self.source.load(0, min(self.n, self.size))
            blocks = self.source.blocks(self.size, lambda _: True)
            found = next(blocks, None)
        except (TypeError, ValueError, KeyError, OSError) as e:
            raise SweepError(f"data: {e}", ("data",)) from e
        if found is None:
            raise SweepError("the data set is empty", ("data",))
        if iter(self.source.items) is self.source.items:  # type: ignore[attr-defined]
            raise SweepError(
                "the data is an iterator, which can be read only once, but a resumed sweep reads "
                "it again: give a function that returns it",
                ("data",),
            )
        return found[1]

    def _fit(self, name: str) -> Job:
        """One model's job over the first sample, checked."""
        try:
            job = self.job(name, self.first.rows(slice(0, 1)), self.options())
            check_job(job)
            return job
        except SweepError:
            raise
        except (TypeError, ValueError) as e:
            raise SweepError(f"model {name!r}: {e}", self._blame(str(e), name)) from e

    def options(self, seed: int = 0, **given: Any) -> Options:
        """The options of the sweep; `given`: options of this process."""
        sweep = self.sweep
        return Options(
            key=sweep.seeds[seed],
            output=sweep.class_score,
            precision=sweep.precision,
            background=sweep.background,
            reduce_channels=sweep.reduce_channels,
            **given,
        )

    def job(self, name: str, batch: Batch, options: Options, start: int = 0) -> Job:
        """One model's job over some samples, from `start` on, checked."""
        return read_job(
            self.models[name],
            explainers=self.explainers(start, start + len(batch)),
            metrics={m: s.made for m, s in self.sweep.metric_settings.items()},
            options=options,
            **{"y": None, **batch.parts()},
        )

    def results(self, shard: Shard, batch: Batch, options: Options, start: int) -> Results:
        """The scores of one shard, for the samples from `start` on."""
        return evaluate_job(self.job(list(self.models)[shard.model], batch, options, start))

    def _blame(self, message: str, model: str) -> Keys:
        """The path of the setting that an error names."""
        for what, settings in (
            ("metrics", self.sweep.metric_settings),
            ("explainers", self.sweep.explainer_settings),
        ):
            for name, setting in settings.items():
                if repr(name) in message:
                    return (what, setting.group)
        if message.startswith(
            ("x ", "y ", "mask", "index", "padding", "extras", "inputs", "features")
        ):
            return ("data",)
        if message.startswith(("background", "reduce_channels")):
            return (message.split("=")[0].split()[0],)
        return ("models", model) if len(self.models) > 1 else ("model",)

    def explainers(self, start: int, stop: int) -> dict[str, Any]:
        """{name: explainer} for these samples; stored attributions are cut to their rows."""
        found = {}
        for name, setting in self.sweep.explainer_settings.items():
            made = setting.made
            if hasattr(made, "shape"):
                if self.n is None or len(made) < self.n:
                    raise SweepError(
                        f"explainer {name!r} has maps of {count(len(made), 'sample')}, but the "
                        f"data set has {self.n or 'an unknown number'}",
                        ("explainers", setting.group),
                    )
                made = np.array(made[start:stop])
            found[name] = made
        return found

    # -- identity -------------------------------------------------------------------------------

    @functools.cached_property
    def contents(self) -> fingerprint.Contents:
        return fingerprint.Contents()

    def config(self) -> dict[str, Any]:
        """Everything that the scores depend on, as plain data.

        Raises:
          SweepError: something has state that cannot be read.
        """
        sweep, of = self.sweep, self.contents.of
        score = sweep.class_score
        if score is None:
            score = next(iter(self.jobs.values())).output
        config = {
            "models": {name: of(m, ("models", name)) for name, m in self.models.items()},
            "data": {"samples": self.n, **self.source.identity(), **self._columns()},
            "explainers": self._settings["explainers"],
            "metrics": self._settings["metrics"],
            "seeds": list(sweep.seeds),
            "shard_size": self.size,
            "class_score": score if isinstance(score, str) else of(score, ("class_score",)),
            "precision": sweep.precision,
            **self._maps_and_baselines(),
            "x64": bool(jax.config.jax_enable_x64),  # pyright: ignore
        }
        return {**config, "code": self.contents.code()}

    def _maps_and_baselines(self) -> dict[str, Any]:
        sweep, found = self.sweep, {}
        if sweep.background is not None:
            found["background"] = digest(np.asarray(sweep.background))
        if sweep.reduce_channels is not None:
            found["reduce_channels"] = sweep.reduce_channels
        return found

    def _columns(self) -> dict[str, Any]:
        columns = getattr(self.source, "columns", None)
        if columns is None:
            return {}
        plain = {f.name: getattr(columns, f.name) for f in dataclasses.fields(columns)}
        return {
            "columns": {k: self.contents.of(v, ("data", k)) for k, v in plain.items()},
        }

    @functools.cached_property
    def _settings(self) -> dict[str, dict[str, Any]]:
        return {
            kind: {
                name: {
                    "group": s.group,
                    "varied": {k: _plain(v) for k, v in s.varied.items()},
                    "is": self.contents.of(s.made, (kind, s.group, "is")),
                }
                for name, s in settings.items()
            }
            for kind, settings in (
                ("explainers", self.sweep.explainer_settings),
                ("metrics", self.sweep.metric_settings),
            )
        }

    def manifest(self) -> dict[str, Any]:
        config = self.config()
        return {
            "version": VERSION,
            "fingerprint": fingerprint.short(config),
            "config": config,
            "environment": {
                "jax": jax.__version__,
                "numpy": np.__version__,
                "python": platform.python_version(),
                "host": platform.node(),
                "created": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            },
        }

    def begin(self, any_code: bool = False) -> dict[str, Any]:
        """Create the store, or open the existing one, and return its manifest.

        Args:
          any_code: resume even if jaxeval's own code, or the version of a package, has changed.

        Raises:
          ChangedError: the existing scores are those of another sweep.
        """
        wanted = self.manifest()
        try:
            there = self.store.create(wanted)
        except OSError as e:
            raise SweepError(f"cannot write to {self.store.folder}: {e}", ("output",)) from e
        if there.get("version", 0) > VERSION:
            raise SweepError(f"{self.store.folder} was written by a newer jaxeval", ("output",))
        if there.get("version", 0) < VERSION:
            raise SweepError(
                f"{self.store.folder} was begun by an older jaxeval, which did not record all that "
                "scores depend on (weights in closures, settings of torch explainers), so it is "
                "unknown whether this is the same sweep. Its scores can still be read; give "
                "another output for this sweep, or delete the folder",
                ("output",),
            )
        old, new = dict(there["config"]), dict(wanted["config"])
        if any_code:
            for config in (old, new):
                config.pop("code", None)
        if changed := list(fingerprint.changes(old, new)):
            lines = "".join(f"\n  {line}" for line in changed[:20])
            more = f"\n  and {len(changed) - 20} more" if len(changed) > 20 else ""
            code = all(line.startswith("code.") for line in changed)
            advice = " (--any-code resumes it nevertheless)" if code else ""
            raise ChangedError(
                f"{self.store.folder} holds the scores of another sweep; give another output, or "
                f"delete it. What changed{advice}:{lines}{more}",
                changed,
            )
        return there

    def hashes(self) -> dict[tuple[str, str], str]:
        """{(explainer, metric): a short text that equal settings share}."""
        explainers, metrics = self._settings["explainers"], self._settings["metrics"]
        return {
            (e, m): fingerprint.short([explainers[e]["is"], metrics[m]["is"]])[:16]
            for e in explainers
            for m in metrics
        }

    # -- the shards -----------------------------------------------------------------------------

    @property
    def blocks(self) -> int | None:
        """The number of blocks, or None if not known yet."""
        n = self.samples
        return None if n is None else -(-n // self.size)

    @property
    def samples(self) -> int | None:
        """The number of samples; None for a stream that has not been read to its end."""
        return self.n if self.n is not None else self.store.noted("samples")

    def of_block(self, block: int) -> Iterator[Shard]:
        seeds = len(self.sweep.seeds)
        for m in range(len(self.models)):
            for s in range(seeds):
                yield Shard(block + m * seeds + s, block, m, s)

    def shards(self) -> list[Shard] | None:
        """All shards, or None if their number is not known yet."""
        if self.blocks is None:
            return None
        return [shard for block in range(self.blocks) for shard in self.of_block(block)]


def _plain(value: Any) -> Any:
    from .grid import shown

    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float) and np.isfinite(value):
        return value
    return shown(value)
