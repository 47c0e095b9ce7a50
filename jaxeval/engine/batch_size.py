"""The default of `batch_size`, the number of model evaluations at once.

It depends on the traced model, the size of the job and the machine, never on timings: every
process chooses the same, so runs with the same key agree bit for bit, and nothing is compiled.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from ..cpu import available_cores
from ..identity import shapes_of
from ..lifetime import remembered
from ..model import TRACED_ROWS, Model, jaxpr_of
from ..trace import jaxprs

HOST_SIZE = 128
"""A host callable is called once per batch; larger batches gain little and cost memory."""
FEWEST, MOST = 32, 4096
"""Smaller batches are dominated by the cost of a call; larger ones gain nothing."""
CORE_BYTES = 2**21
"""Bytes of a batch's largest value per CPU core, so that it stays in the caches.

Time per row of the batch size that follows, relative to the best of 8, 16, ..., 4096, with 2 ms for
each call, on two cores (forward pass, gradient): CNN for 8x8 images 1.0, 1.14; LeNet 1.26, 1.0;
ResNet 1.0, 1.08; CNN for 224x224 images 1.05, 1.0; attention 1.1, 1.0; MLP 1.0, 1.0.
"""
ACCELERATOR_BYTES = 2**28
"""The same on an accelerator, where all cores should be used; not measured."""


def automatic(model: Model, x: Any, most: int, device: Any) -> int:
    """The number of rows of a batch for a fast forward pass that fits in memory.

    Args:
      x: shape and dtype of one sample.
      most: maximum number of evaluations at once.
      device: one of the devices of the batch.
    """
    if model.host:
        return min(HOST_SIZE, most)
    known = remembered(model.apply)
    key = ("bytes", *shapes_of((model.params, model.inputs)), x.shape, str(x.dtype))
    if key not in known:
        known[key] = row_bytes(jaxpr_of(model, x), len(jax.tree.leaves(model.like(x)[1:])))
    largest, kept = known[key]
    budget = CORE_BYTES * available_cores() if device.platform == "cpu" else ACCELERATOR_BYTES
    fast = min(MOST, max(FEWEST, 2 ** int(np.log2(budget / largest))))
    size = int(np.prod(x.shape)) * x.dtype.itemsize
    fitting = int(memory(device) // (2 * kept + 8 * size))
    return max(1, min(fast, fitting, most))


def row_bytes(closed: Any, n_rows: int = 1) -> tuple[float, float]:
    """Bytes per row of (the largest value, all values that a gradient may keep).

    Args:
      closed: the jaxpr of the model's forward pass on `TRACED_ROWS` rows, with the leaves of the
        parameters and x as inputs. Values computed from parameters alone are not counted.
      n_rows: the number of its last inputs that belong to rows: x, and what comes with it.
    """
    sizes = [1]

    def operation(eqn: Any, of_input: list[bool]) -> list[bool]:
        if any(of_input):
            sizes.extend(_sizes(eqn, 1))
        return [any(of_input)] * len(eqn.outvars)

    of_input = [False] * (len(closed.jaxpr.invars) - n_rows) + [True] * n_rows
    calls = tuple(jaxprs.CALLS)
    jaxprs.evaluate(closed.jaxpr, closed.consts, of_input, operation, lambda _: False, calls)
    return max(sizes) / TRACED_ROWS, sum(sizes) / TRACED_ROWS


def _sizes(eqn: Any, times: int) -> Iterator[int]:
    """Bytes of the outputs of an equation and of its inner programs, times their iterations.

    For loops with an unknown number of iterations, one is counted.
    """
    inside = jaxprs.nested(eqn)
    for program in inside:
        for inner in getattr(program, "jaxpr", program).eqns:
            yield from _sizes(inner, times * int(eqn.params.get("length", 1)))
    if not inside:
        avals = [v.aval for v in eqn.outvars if hasattr(v.aval, "shape")]
        yield times * sum(int(np.prod(a.shape)) * a.dtype.itemsize for a in avals)


def memory(device: Any) -> float:
    """Bytes that evaluations may use on one device."""
    stats = device.memory_stats() if device.platform != "cpu" else None
    if stats and "bytes_limit" in stats:
        return 0.5 * stats["bytes_limit"]
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 8
    except (ValueError, OSError, AttributeError):
        return 2.0**30
