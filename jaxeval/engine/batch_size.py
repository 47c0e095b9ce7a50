"""How many evaluations to have in flight: the default of `batch_size`.

It follows from the traced model, the size of the job and the machine, never from a clock: every
process chooses alike, so that runs with one key agree bit for bit, and nothing is compiled for it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..cpu import available_cores
from ..identity import shapes_of
from ..lifetime import remembered
from ..model import TRACED_ROWS, Model, jaxpr_of
from ..trace import jaxprs

HOST_SIZE = 128
"""A host callable is called once a batch; larger ones gain little and cost memory."""
FEWEST, MOST = 32, 2048
"""Below, the cost of a call shows; above, nothing is gained."""
CORE_BYTES = 2**21
"""Bytes of a batch's largest value for each core of a CPU, so that it stays in the caches.

Measured on two cores: forward passes and gradients of a CNN for 8x8 images, a LeNet, a ResNet, a
CNN for 224x224 images, an MLP and attention were within 1.1 to 1.3 of the best size of 8 to 4096.
"""
ACCELERATOR_BYTES = 2**28
"""The same on an accelerator, all of whose cores should have work; not measured."""


def automatic(model: Model, x: Any, most: int, device: Any) -> int:
    """Rows of a batch with which the forward pass is fast, within memory.

    Args:
      x: the shape and type of one sample.
      most: no more evaluations than this are ever in flight.
      device: one of those that the batch is spread over.
    """
    if model.host:
        return min(HOST_SIZE, most)
    known = remembered(model.apply)
    key = ("bytes", *shapes_of(model.params), x.shape, str(x.dtype))
    if key not in known:
        known[key] = row_bytes(jaxpr_of(model, x))
    largest, kept = known[key]
    budget = CORE_BYTES * available_cores() if device.platform == "cpu" else ACCELERATOR_BYTES
    fast = min(MOST, max(FEWEST, 2 ** int(np.log2(budget / largest))))
    size = int(np.prod(x.shape)) * x.dtype.itemsize
    fitting = int(memory(device) // (2 * kept + 8 * size))
    return max(1, min(fast, fitting, most))


def row_bytes(closed: Any) -> tuple[float, float]:
    """Bytes a row of (the largest value, all values that a gradient may keep).

    Args:
      closed: the model's forward pass on `TRACED_ROWS` rows, traced: the parameters' leaves and x
        are its inputs. What is computed from parameters alone has no rows.
    """
    sizes = [1]

    def operation(eqn: Any, of_input: list[bool]) -> list[bool]:
        if any(of_input):
            sizes.extend(_sizes(eqn, 1))
        return [any(of_input)] * len(eqn.outvars)

    of_input = [False] * (len(closed.jaxpr.invars) - 1) + [True]
    calls = tuple(jaxprs.CALLS)
    jaxprs.evaluate(closed.jaxpr, closed.consts, of_input, operation, lambda _: False, calls)
    return max(sizes) / TRACED_ROWS, sum(sizes) / TRACED_ROWS


def _sizes(eqn: Any, times: int) -> Iterator[int]:
    """Bytes of what an equation computes, and of what the programs in it do, as often as they run.

    Of loops without a known number of steps, those of one step.
    """
    inside = jaxprs.nested(eqn)
    for program in inside:
        for inner in getattr(program, "jaxpr", program).eqns:
            yield from _sizes(inner, times * int(eqn.params.get("length", 1)))
    if not inside:
        avals = [v.aval for v in eqn.outvars if hasattr(v.aval, "shape")]
        yield times * sum(int(np.prod(a.shape)) * a.dtype.itemsize for a in avals)


def memory(device: Any) -> float:
    """Bytes that a run may fill with evaluations on one device."""
    stats = device.memory_stats() if device.platform != "cpu" else None
    if stats and "bytes_limit" in stats:
        return 0.5 * stats["bytes_limit"]
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 8
    except (ValueError, OSError, AttributeError):
        return 2.0**30
