"""Estimates of a sweep's cost before it runs."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from typing import Any

from ..engine.evaluator import Evaluator, evaluator_of
from ..engine.memory import rehearsed
from ..engine.plan import EvalPlan, make_plan
from ..engine.run import run
from ..progress import NoProgress
from .place import Place, local_mesh
from .plan import Plan

MARGIN = 1.5
"""Factor from the programs' memory to the device's, for fragmentation and XLA's own buffers."""


@dataclasses.dataclass
class Estimate:
    """The cost of a sweep.

    Attributes:
      settings: the numbers of models, seeds, explainers and metrics.
      questions: number of distinct questions of the metrics, per model.
      evaluations: model outputs and attributions per sample, model and seed.
      naive: the same for one separate run per metric and explainer.
      memory: approximate bytes per device; None if unknown.
      measured: peak bytes in use on the device; None if the device does not report it.
      batch_size: model evaluations at once on a device; `batch_samples` samples are one batch.
      first, batch: seconds for the first batch, with compilation, and for a later one.
      samples: number of samples in the data set; None for a stream.
      total: seconds for this process's part of the sweep; None for a stream.
      shards, devices, world: numbers of shards of the sweep, devices of this process, processes.
    """

    settings: dict[str, int]
    questions: int
    evaluations: dict[str, int]
    naive: dict[str, int]
    memory: float | None
    measured: float | None
    batch_size: int
    batch_samples: int
    first: float
    batch: float
    samples: int | None
    total: float | None
    shards: int | None
    devices: int
    world: int


def estimate(
    plan: Plan, *, place: Place | None = None, batch_size: int | None = None, mesh: Any = None
) -> Estimate:
    """Count the questions and time one batch of the first model; writes nothing."""
    place, mesh = place or Place(), local_mesh() if mesh is None else mesh
    sweep = plan.sweep
    name = next(iter(plan.models))
    batch_size = batch_size or sweep.batch_size
    job = plan.job(name, plan.first, plan.options(batch_size=batch_size, mesh=mesh))
    whole = make_plan(job, evaluator_of(job))
    count = min(job.n, whole.local * mesh.devices.size)
    options = plan.options(batch_size=whole.batch_size, mesh=mesh)
    seconds = []
    for _ in range(2):
        began = time.perf_counter()
        job = plan.job(name, plan.first.rows(slice(0, count)), options)
        evaluator = evaluator_of(job)
        batch = make_plan(job, evaluator)
        record = run(batch, evaluator, NoProgress())
        seconds.append(time.perf_counter() - began)
    asked = {k: v for k, v in record.asked.items() if k not in ("naive", "saved")}
    n, shards = plan.samples, plan.shards()
    mine = None if shards is None else [s for s in shards if place.owns(s.lane)]
    total = None
    if mine is not None:
        batches = len(mine) * -(-plan.size // count)
        total = seconds[0] * len(plan.models) + seconds[1] * max(0, batches - len(plan.models))
    stats = mesh.devices.flat[0].memory_stats() if mesh.devices.flat[0].platform != "cpu" else None
    return Estimate(
        settings={
            "models": len(plan.models),
            "seeds": len(sweep.seeds),
            "explainers": len(sweep.explainer_settings),
            "metrics": len(sweep.metric_settings),
        },
        questions=len(batch.questions),
        evaluations={k: round(v / count) for k, v in asked.items()},
        naive={k: round(v / count) for k, v in record.asked["naive"].items()},
        memory=max(memory_of(batch, evaluator), default=None),
        measured=(stats or {}).get("peak_bytes_in_use"),
        batch_size=batch.batch_size,
        batch_samples=count,
        first=seconds[0],
        batch=seconds[1],
        samples=n,
        total=total,
        shards=None if shards is None else len(shards),
        devices=mesh.devices.size,
        world=place.world,
    )


def memory_of(plan: EvalPlan, evaluator: Evaluator) -> Iterator[float]:
    """Bytes that each program containing the model needs on a device, with a margin."""
    if not evaluator.given.host:
        for program in rehearsed(plan, evaluator).programs:
            yield MARGIN * program.memory()
