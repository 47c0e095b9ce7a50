"""How many model evaluations to have in flight: an automatic default for `batch_size`."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..identity import shapes_of
from ..lifetime import remembered, traceable
from ..model import Model
from . import kernels

SIZES = (32, 128, 512, 2048)
HOST_SIZE = 128
"""A host callable is called once a batch; larger ones gain little and cost memory."""
LONG_ENOUGH = 0.05
"""Seconds of one batch after which the cost of its dispatch no longer shows."""
MEASURE = 0.05
"""Seconds for which each size is measured."""
DISPATCH = 0.002
"""Seconds that the engine itself spends on a chunk, about."""


def automatic(model: Model, x: np.ndarray, most: int, mesh: Any, precision: str) -> int:
    """The batch size at which the forward pass is fastest, of a few, within memory.

    It is measured on the samples at hand, each size once compiled and then timed; a size is
    not tried where the one before took long enough that batching has nothing left to give.
    One process remembers what it found, so that two runs of it agree bit for bit.

    Args:
      x: the data set, of which the first rows are used.
      most: no more evaluations than this are ever in flight.
    """
    if model.host:
        return min(HOST_SIZE, most)
    known = remembered(model.apply)
    key = ("size", shapes_of(model.params), x.shape[1:], str(x.dtype), mesh, precision, most)
    if key not in known:
        most = min(most, fitting(model, x, mesh))
        known[key] = _fastest(model, x, most, mesh, precision)
    return known[key]


def _fastest(model: Model, x: np.ndarray, most: int, mesh: Any, precision: str) -> int:
    asks: dict[int, Callable[[], float]] = {}
    took: dict[int, float] = {}

    def cost(size: int) -> float:
        return (took[size] + DISPATCH) / size

    for size in [s for s in SIZES if s < most] + [most] * (most <= SIZES[-1]):
        rows = jnp.asarray(np.resize(x, (size * mesh.devices.size, *x.shape[1:])))

        def ask(rows: Any = rows) -> float:
            start = time.perf_counter()
            kernels.forward(mesh, (False, precision), model, rows).logits.block_until_ready()
            return time.perf_counter() - start

        ask()  # compiles
        asks[size], took[size] = ask, _shortest(ask)
        if took[size] > LONG_ENOUGH or cost(size) > 1.2 * min(map(cost, took)):
            break
    for size, again in asks.items():
        if took[size] < LONG_ENOUGH:
            # Once more: a moment's other work may have fallen on one size alone.
            took[size] = min(took[size], _shortest(again))
    best = min(map(cost, took))
    return max(size for size in took if cost(size) <= 1.03 * best)


def _shortest(ask: Callable[[], float]) -> float:
    """The shortest of several calls: other work on the machine only ever adds time."""
    first = ask()
    return min([first, *(ask() for _ in range(min(20, int(MEASURE / first) + 2)))])


def fitting(model: Model, x: np.ndarray, mesh: Any) -> int:
    """How many evaluations, gradients included, fit into a share of the device's memory."""
    spec = jax.ShapeDtypeStruct((1, *x.shape[1:]), x.dtype)
    jaxpr = jax.make_jaxpr(traceable(model.apply))(model.params, spec)
    per_row = 2 * _activation_bytes(jaxpr.jaxpr) + 8 * spec.size * spec.dtype.itemsize
    return max(1, int(memory(mesh.devices.flat[0]) // per_row))


def memory(device: Any) -> float:
    """Bytes that a run may fill with evaluations on one device."""
    stats = device.memory_stats() if device.platform != "cpu" else None
    if stats and "bytes_limit" in stats:
        return 0.5 * stats["bytes_limit"]
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 8
    except (ValueError, OSError, AttributeError):
        return 2.0**30


def _activation_bytes(jaxpr: Any) -> int:
    """Bytes of everything that a traced program computes: a bound on what a gradient keeps."""
    total = 0
    for eqn in jaxpr.eqns:
        inner = [
            getattr(v, "jaxpr", v)
            for value in eqn.params.values()
            for v in (value if isinstance(value, (tuple, list)) else (value,))
            if hasattr(getattr(v, "jaxpr", v), "eqns")
        ]
        if inner:
            total += max(_activation_bytes(j) for j in inner) * int(eqn.params.get("length", 1))
        else:
            total += sum(
                int(np.prod(v.aval.shape)) * v.aval.dtype.itemsize
                for v in eqn.outvars
                if hasattr(v.aval, "shape")
            )
    return total
