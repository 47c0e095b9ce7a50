"""Estimates of a sweep's cost on devices that are not there."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from ..engine.evaluator import evaluator_of
from ..engine.plan import make_plan
from ..engine.rehearsal import Program, Rehearsal, watching
from ..engine.run import run
from ..progress import NoProgress
from ..shown import count, each_of
from ..trace.cost import Cost, cost
from .devices import Device
from .log import duration
from .place import local_mesh
from .plan import Plan

CALL = 1e-4
"""Seconds of the host to call a program."""
MODEL = {"forward", "explain", "compiled", "_compiled_add", "_compiled_ready"}
"""Programs that contain the model."""


@dataclasses.dataclass
class Forecast:
    """The cost of a sweep on some devices: a roofline.

    Each program takes as long as its floating-point operations or its memory traffic, whichever is
    longer, at the rates that the maker states; plus a constant for each call. Loops whose number of
    iterations depends on data count once, questions asked to a tolerance as if all steps were
    asked. Compilation, loading of data and writing are left out.

    Attributes:
      batch_size: model evaluations at once on a device.
      memory: bytes of the largest program at that batch size, by the compiler for this CPU.
      rows: samples of a shard on one device.
      evaluations: model evaluations for those.
      flops, bytes: of a shard on one device.
      own: the part of the bytes that programs without the model move.
      seconds: for a shard.
      shards: how many there are; None for a stream.
      devices: how many devices share a shard.
    """

    batch_size: int
    memory: int
    rows: int
    evaluations: int
    flops: float
    bytes: float
    own: float
    seconds: float
    shards: int | None
    devices: int

    @property
    def hours(self) -> float | None:
        """For the whole sweep."""
        return None if self.shards is None else self.shards * self.seconds / 3600


def forecast(
    plan: Plan, device: Device, *, batch_size: int | None = None, world: int = 1
) -> Forecast:
    """Go through one shard of the first model without calling a program.

    Args:
      world: processes, each with all these devices, that share the shards.
    """
    name = next(iter(plan.models))
    rows = -(-len(plan.first) // device.count)
    options = plan.options(batch_size=batch_size or plan.sweep.batch_size, mesh=local_mesh(1))
    job = plan.job(name, plan.first.rows(slice(0, rows)), options)
    evaluator = evaluator_of(job, (device.platform, device.memory))
    made = make_plan(job, evaluator)
    rehearsal = Rehearsal(device.platform, counts=True)
    with watching(rehearsal):
        record = run(made, evaluator, NoProgress())
    kind = {"cuda": "gpu"}.get(device.platform, device.platform)
    total, own, seconds = Cost(), 0.0, 0.0
    for program in rehearsal.programs:
        each = cost(program.traced().jaxpr, kind)
        total += each * program.calls
        own += 0.0 if program.name in MODEL else each.bytes * program.calls
        rate = device.flops(options.precision)
        seconds += program.calls * max(CALL, each.flops / rate, each.bytes / device.bandwidth)
    shards = plan.shards()
    return Forecast(
        batch_size=made.batch_size,
        memory=max(map(_memory, rehearsal.programs), default=0),
        rows=rows,
        evaluations=sum(v for k, v in record.asked.items() if k not in ("naive", "saved")),
        flops=total.flops,
        bytes=total.bytes,
        own=own,
        seconds=seconds,
        shards=None if shards is None else int(np.ceil(len(shards) / world)),
        devices=device.count,
    )


def _memory(program: Program) -> int:
    return program.memory() if program.name in MODEL else 0


def rows_of(f: Forecast, text: str, bytes_of: Callable[[float], str]) -> list[tuple[str, str]]:
    """What to print of it."""
    rows = [
        ("device", f"{text}; a roofline of its stated rates, nothing was run"),
        ("batch size", f"{f.batch_size:,} on {each_of(f.devices, 'device')}"),
        ("device memory", f"about {bytes_of(f.memory)} for the largest program"),
        (
            "a shard",
            f"{count(f.rows, 'sample')} and {count(f.evaluations, 'evaluation')} on each device",
        ),
        (
            "work of a shard",
            f"{scaled(f.flops)}FLOP, {scaled(f.bytes)}B moved, of which "
            f"{f.own / max(f.bytes, 1):.0%} by programs without the model",
        ),
        ("time of a shard", f"{duration(f.seconds)} at best"),
    ]
    if f.shards is not None:
        whole = f"{duration(f.shards * f.seconds)} at best"
        if f.devices > 1:
            whole += f" on each of {count(f.devices, 'device')}"
        rows.append(("the sweep", f"{count(f.shards, 'shard')}: {whole}"))
    return rows


def scaled(v: float) -> str:
    """Three digits, with a prefix of the unit.

    >>> scaled(1.27e14), scaled(950.0)
    ('127 T', '950 ')
    """
    power = min(max(int(np.log10(max(v, 1))) // 3, 0), 6)
    return f"{v / 1000**power:.3g} {' kMGTPE'[power].strip()}"
