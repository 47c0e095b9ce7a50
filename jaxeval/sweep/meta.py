"""Meta-evaluations as sweeps: one shard per test, kind, perturbation and block of samples."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..data.sources import Batch
from ..engine.job import Job, read_job
from ..engine.options import Options
from ..meta.asking import CLEAN, Asked, Unit, check_tests, units
from ..meta.evaluate import gathered, warn_of_few, with_observed
from ..meta.results import MetaResults
from ..results.store import Store, joined
from ..results.table import Results
from ..shown import count
from .describe import Sweep
from .lines import SweepError
from .meta_table import MetaTable
from .plan import Plan, Shard

FOLDER = "meta"
"""The folder of a meta-evaluation in the sweep's output."""


@dataclasses.dataclass(frozen=True)
class MetaShard(Shard):
    """A block of samples under one model and seed, as they are or under one perturbation."""

    unit: Unit
    place: int
    """The test's position, as its name may not be one that a file can have."""

    @property
    def key(self) -> str:
        of = "clean" if self.unit == CLEAN else f"t{self.place}-{self.unit.kind}-p{self.unit.p:04d}"
        return f"{super().key}-{of}"

    def facts(self) -> dict[str, Any]:
        return {"test": self.unit.test, "kind": self.unit.kind, "perturbation": self.unit.p}


class Hashes(dict):
    """Digests of settings by cell; "" for what is no cell of the sweep, such as a noisy map."""

    def __missing__(self, cell: Any) -> str:
        return ""


class MetaPlan(Plan):
    """The work of a meta-evaluation, whose shards are in the folder `FOLDER` of the output.

    Raises:
      SweepError: no table `meta`, a stream of samples, or a test that does not fit the model.
    """

    def __init__(self, sweep: Sweep):
        if sweep.meta is None:
            raise sweep.located(
                SweepError(
                    "this sweep has no table [meta], which says by which perturbations its metrics "
                    "are tested: add one (an empty one has a test of each kind)"
                )
            )
        self.table: MetaTable = sweep.meta
        self.units = [
            CLEAN, *units(self.table.tests, self.table.n_perturbations, self.table.seeds)
        ]  # fmt: skip
        self._asked: tuple[Any, Asked] | None = None
        super().__init__(sweep)
        if self.n is None:
            raise sweep.located(
                SweepError(
                    "a meta-evaluation needs to know how many samples there are, which a stream "
                    "does not say: give limit=, or data with a length",
                    ("data",),
                )
            )
        self.store = Store(Path(sweep.output) / FOLDER)

    @property
    def stride(self) -> int:
        """What sets the ids of perturbations apart: the number of samples, or room for any ids."""
        assert self.n is not None
        own = self.first.index is not None
        return 2**32 // (1 + self.table.n_perturbations) if own else self.n

    def job(self, name: str, batch: Batch, options: Options, start: int = 0) -> Job:
        metrics = {m: s.made for m, s in self.sweep.metric_settings.items()}
        job = read_job(
            self.models[name],
            explainers=self.explainers(start, start + len(batch)),
            metrics=with_observed(metrics, self.table.controls),
            options=options,
            **{"y": None, **batch.parts()},
        )
        check_tests(job, self.tests(start, start + len(batch)), self.table.n_perturbations)
        return job

    def tests(self, start: int, stop: int) -> dict[str, Any]:
        """The tests, with their draws for some of the samples."""
        return {name: test.rows(start, stop) for name, test in self.table.tests.items()}

    def config(self) -> dict[str, Any]:
        of, table = self.contents.of, self.table
        tests = {name: of(test, ("meta", "tests", name)) for name, test in table.tests.items()}
        own = {"tests": tests, "n_perturbations": table.n_perturbations, "seeds": table.seeds}
        config = super().config()
        code = config.pop("code")
        return {**config, "meta": own, "units": len(self.units), "code": code}

    def hashes(self) -> dict[tuple[str, str], str]:
        return Hashes(super().hashes())

    def of_block(self, block: int) -> Iterator[Shard]:
        places = {"": 0} | {name: i for i, name in enumerate(self.table.tests)}
        for shard in super().of_block(block):
            for i, unit in enumerate(self.units):
                yield MetaShard(
                    shard.lane * len(self.units) + i, block, shard.model, shard.seed, unit,
                    places[unit.test],
                )  # fmt: skip

    def results(self, shard: Shard, batch: Batch, options: Options, start: int) -> Results:
        """The scores of one shard; the clean maps of its block are kept for the next one."""
        assert isinstance(shard, MetaShard)
        batch_size = options.batch_size
        key = (shard.block, shard.model, shard.seed, batch_size)
        if self._asked is None or self._asked[0] != key:
            job = self.job(list(self.models)[shard.model], batch, options, start)
            if int(job.data.index.max()) >= self.stride:
                raise SweepError(
                    f"the data has ids up to {int(job.data.index.max())}, which leaves no 32-bit "
                    f"ids for {self.table.n_perturbations} perturbations: give ids below "
                    f"{self.stride}",
                    ("data",),
                )
            tests = self.tests(start, start + len(batch))
            self._asked = key, Asked(job, tests, self.table.seeds, self.stride)
        found = self._asked[1](shard.unit)
        return dataclasses.replace(found, outcomes={
            (e, m): dataclasses.replace(o, curve=None, curve_std=None)
            for (e, m), o in found.outcomes.items()
        })  # fmt: skip

    # -- what comes of it -------------------------------------------------------------------------

    def collected(self, model: int, seed: int) -> MetaResults:
        """The results of one model and seed, once all of its shards are finished.

        Raises:
          SweepError: some are not; the message says how many.
        """
        there, table = self.store.done(), self.table
        by_unit: dict[Unit, list[str]] = {unit: [] for unit in self.units}
        missing = 0
        for shard in self.shards() or ():
            assert isinstance(shard, MetaShard)
            if (shard.model, shard.seed) == (model, seed):
                missing += shard.key not in there
                by_unit[shard.unit].append(shard.key)
        if missing:
            raise SweepError(f"{count(missing, 'shard')} in {self.store.folder} not finished yet")
        options = self.options(seed)
        job = self.job(list(self.models)[model], self.first.rows(slice(0, 1)), options)
        results = (
            ([unit], joined([Results.load(self.store.path(k)) for k in keys]))
            for unit, keys in by_unit.items()
        )
        return gathered(
            job, table.tests, results, table.n_perturbations, table.groups, table.seeds,
            table.controls,
        )  # fmt: skip

    @staticmethod
    def file_of(output: Any, model: int | None = None, seed: int | None = None) -> Path:
        """The file with the results, in a sweep's output; of several, by their positions."""
        own = "meta.parquet" if model is None else f"meta-m{model}-s{seed}.parquet"
        return Path(output) / FOLDER / own

    def save(self) -> dict[str, Path]:
        """Write the results of every model and seed beside the shards: {name: file}."""
        found = {}
        several = len(self.models) * len(self.sweep.seeds) > 1
        for m, name in enumerate(self.models):
            for s, seed in enumerate(self.sweep.seeds):
                meta = self.collected(m, s)
                warn_of_few(meta)
                file = self.file_of(self.sweep.output, *((m, s) if several else ()))
                found[f"{name}, seed {seed}" if several else ""] = meta.save(file)
        return found


def meta_results(folder: Any, model: int = 0, seed: int = 0) -> MetaResults:
    """The results that a finished meta-evaluation of a sweep wrote, from the sweep's output folder.

    Args:
      folder: the sweep's output.
      model, seed: positions of the model and the seed, of several.

    Raises:
      FileNotFoundError: it has not been finished.
    """
    single = MetaPlan.file_of(folder)
    return MetaResults.load(single if single.exists() else MetaPlan.file_of(folder, model, seed))
