"""Running a sweep: this process's shards one after the other, each written when finished."""

from __future__ import annotations

import dataclasses
import time
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..data.prefetch import prefetch
from ..data.sources import Batch
from ..results.store import Store
from ..results.table import Results
from ..shown import count
from .describe import Sweep
from .lines import SweepError
from .log import Log, Progress
from .place import Place, local_mesh
from .plan import Plan, Shard


@dataclasses.dataclass
class Done:
    """What a process did: shards computed, found finished, written first by others, and failed."""

    store: Store
    computed: int = 0
    found: int = 0
    doubled: int = 0
    failed: dict[str, str] = dataclasses.field(default_factory=dict)
    complete: bool = False
    """Whether every shard of the sweep is finished, including those of other processes."""


class Runner:
    """Computes shards of a plan.

    Args:
      plan: the sweep to run.
      place: this process's rank and world; None: one process.
      batch_size: maximum number of evaluations at once on a device; None: the sweep's.
      mesh: the devices over which samples are sharded; None: all of this process.
      progress: whether to show progress.
      any_code: resume a folder that another version of jaxeval has begun.
      log: the name of this process's log; None: from its rank.
      hashes: `Plan.hashes` from the process that began the sweep for this one.
    """

    def __init__(
        self,
        plan: Plan,
        *,
        place: Place | None = None,
        batch_size: int | None = None,
        mesh: Any = None,
        progress: bool = True,
        any_code: bool = False,
        log: str | None = None,
        hashes: dict[tuple[str, str], str] | None = None,
    ):
        self.plan, self.place = plan, place or Place()
        self.mesh = local_mesh() if mesh is None else mesh
        if hashes is None:
            plan.begin(any_code)
        self.store = plan.store
        self.log = Log(self.store.folder / "log", self.place.rank, log)
        self.progress = Progress(progress)
        self.batch_size = batch_size or plan.sweep.batch_size
        """The current maximum; halved when a device runs out of memory."""
        self.hashes = plan.hashes() if hashes is None else hashes

    def __call__(self) -> Done:
        """Compute this process's missing shards.

        A shard that fails is left out, and the others continue; if none has succeeded, the first
        error is raised.
        """
        done = Done(self.store)
        there = self.store.done()
        mine = self._mine()
        missing = None if mine is None else [s for s in mine if s.key not in there]
        done.found = 0 if mine is None else len(mine) - len(missing or ())
        self.log(
            "start", world=self.place.world, told_by=self.place.how, shards=mine and len(mine),
            there=done.found, devices=[str(d) for d in self.mesh.devices.flat],
        )  # fmt: skip
        self.progress.start(None if missing is None else len(missing), done.found)
        try:
            for batch, start, shards in self._work(there):
                for shard in shards:
                    if self.store.path(shard.key).exists():  # another process was faster
                        done.found += 1
                        continue
                    self.do(shard, batch, start, done)
        except BaseException as e:
            self.log("stopped", error=f"{type(e).__name__}: {e}")
            raise
        finally:
            self.progress.stop()
        all_shards = self.plan.shards()
        there = self.store.done()
        done.complete = all_shards is not None and all(s.key in there for s in all_shards)
        self.log(
            "end", computed=done.computed, found=done.found, doubled=done.doubled,
            failed=len(done.failed), complete=done.complete,
        )  # fmt: skip
        return done

    def _mine(self) -> list[Shard] | None:
        shards = self.plan.shards()
        return None if shards is None else [s for s in shards if self.place.owns(s.lane)]

    def _work(self, there: set[str]) -> Iterator[tuple[Batch, int, list[Shard]]]:
        """(samples, position of the first one, shards to do), loaded in advance."""
        plan = self.plan

        def missing(block: int) -> list[Shard]:
            shards = plan.of_block(block)
            return [s for s in shards if self.place.owns(s.lane) and s.key not in there]

        blocks = plan.source.blocks(plan.size, lambda block: bool(missing(block)))
        seen = 0
        for block, batch in prefetch(blocks):
            start = block * plan.size
            seen = max(seen, start + len(batch))
            self._same(block, batch, there)
            if shards := missing(block):
                yield batch, start, shards
        if plan.n is None and self.store.note("samples", seen) != seen:
            raise SweepError(
                f"the data ended after {count(seen, 'sample')}, but had "
                f"{self.store.noted('samples')} in an earlier run",
                ("data",),
            )

    def _same(self, block: int, batch: Batch, there: set[str]) -> None:
        """Check that a stream yields the same samples as in earlier runs."""
        if self.plan.n is not None:
            return
        for shard in self.plan.of_block(block):
            if shard.key in there:
                known = self.store.shard(shard.key)["data"]
                if known != batch.digest():
                    raise SweepError(
                        f"block {block} of the data has other samples than in an earlier run: a "
                        "sweep needs them in the same order every time (no shuffling)",
                        ("data",),
                    )
                return

    def do(
        self, shard: Shard, batch: Batch, start: int, done: Done, keep_going: bool = True
    ) -> None:
        """Compute one shard, for the samples from `start` on, and write it.

        Args:
          keep_going: whether to record an error in `done` instead of raising it, once any shard
            has succeeded.
        """
        began = time.monotonic()
        try:
            results = self.evaluate(shard, batch, start)
        except Exception as e:
            text = f"{type(e).__name__}: {e}"
            self.log("failed", shard=shard.key, error=text)
            if not keep_going or not (done.computed or done.found):
                raise
            self.progress.say(f"{shard.key} failed, the others continue: {text}")
            done.failed[shard.key] = text
            return
        seconds = time.monotonic() - began
        first = self.commit(shard, batch, start, results, seconds)
        done.computed += first
        done.doubled += not first
        self.progress.advance(len(batch))
        self.log(
            "shard", shard=shard.key, samples=len(batch), seconds=round(seconds, 3),
            scores=sum(len(o.score) for o in results.outcomes.values()),
            undefined=sum(o.n_undefined for o in results.outcomes.values()),
            batch_size=results.settings.get("batch_size"), asked=results.asked, first=first,
        )  # fmt: skip

    def evaluate(self, shard: Shard, batch: Batch, start: int) -> Results:
        """The scores of one shard; later ones begin with the batch size that fitted in memory."""
        plan, n = self.plan, len(batch)
        if batch.index is None:
            batch = dataclasses.replace(batch, index=np.arange(start, start + n))
        options = plan.options(
            shard.seed,
            batch_size=self.batch_size,
            mesh=self.mesh,
            # Padding a short last block avoids compiling everything again for its shape.
            rows=plan.size if shard.block else None,
        )
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "out of device memory")  # said below
            results = plan.results(shard, batch, options, start)
        sizes = results.settings.get("too_large", [])
        for used, now in zip(sizes, [*sizes[1:], results.settings["batch_size"]], strict=False):
            self.batch_size = now
            self.log("out of memory", batch_size=used, now=now)
            self.progress.say(
                f"out of device memory with a batch size of {used}: continuing with {now}"
            )
        return results

    def commit(
        self, shard: Shard, batch: Batch, start: int, results: Results, seconds: float
    ) -> bool:
        """Write a shard; False if another process was first."""
        return self.store.commit(
            shard.key,
            results,
            {
                "hashes": self.hashes,
                "model": list(self.plan.models)[shard.model],
                "seed": self.plan.sweep.seeds[shard.seed],
                "block": shard.block,
                "start": start,
                "stop": start + len(batch),
                "data": batch.digest() if self.plan.n is None else None,
                "seconds": round(seconds, 3),
                **shard.facts(),
                **self.log.fixed,
            },
        )


def run(sweep: Sweep, **options: Any) -> Done:
    """Run or resume a sweep; `options` are those of `Runner`.

    >>> import jaxeval as je, numpy as np, tempfile
    >>> folder = tempfile.mkdtemp()
    >>> sweep = je.Sweep(
    ...     data=np.eye(6, dtype=np.float32), model=lambda x: 3 * x, output=folder, shard_size=4,
    ...     explainers={"x": je.explain.InputXGradient()}, metrics={"s": je.Sparseness()},
    ... )
    >>> je.run(sweep, progress=False).complete
    True
    >>> je.Store(folder).results().scores["x", "s"].shape
    (6,)
    """
    return Runner(Plan(sweep), **options)()
