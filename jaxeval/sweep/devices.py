"""Devices that a sweep may be meant for, by the numbers of their makers."""

from __future__ import annotations

import dataclasses
import math
import re
import time

import jax
import jax.numpy as jnp
import numpy as np

from ..check import did_you_mean

GB, GIB, T = 1e9, 2**30, 1e12


@dataclasses.dataclass(frozen=True)
class Device:
    """One device, or several of a kind.

    Attributes:
      platform: JAX's name of it.
      memory: bytes that programs may use; None: as on CPUs, which do not say.
      bandwidth: bytes a second of its memory.
      highest, fast: floating-point operations a second, in float32 and at the device's own choice
        of precision (TF32, or bfloat16 on TPUs).
      count: how many there are.
    """

    platform: str
    memory: int | None
    bandwidth: float
    highest: float
    fast: float
    count: int = 1

    def flops(self, precision: str) -> float:
        return self.highest if precision == "highest" else self.fast


DEVICES = {
    # JAX takes three quarters of a GPU's memory by default.
    "a100": Device("cuda", int(0.75 * 80 * GIB), 2039 * GB, 19.5 * T, 156 * T),
    "h100": Device("cuda", int(0.75 * 80 * GIB), 3352 * GB, 67 * T, 495 * T),
    "h200": Device("cuda", int(0.75 * 141 * GB), 4800 * GB, 67 * T, 495 * T),
    "l4": Device("cuda", int(0.75 * 24 * GIB), 300 * GB, 30 * T, 60 * T),
    # A product in the highest precision is six of bfloat16.
    "tpu-v5e": Device("tpu", 16 * GIB, 819 * GB, 197 / 6 * T, 197 * T),
    "tpu-v5p": Device("tpu", 95 * GIB, 2765 * GB, 459 / 6 * T, 459 * T),
    "tpu-v6e": Device("tpu", 32 * GIB, 1640 * GB, 918 / 6 * T, 918 * T),
}


def find_device(text: str) -> Device:
    """The devices named by "h100", "h100:8" or "tpu-v5e:2x4"; "cpu" is this one, measured.

    Raises:
      ValueError: an unknown name or number.

    >>> find_device("tpu-v5e:2x4").count
    8
    """
    name, _, shape = text.lower().partition(":")
    known = [*DEVICES, "cpu"]
    if name not in known:
        raise ValueError(
            f"--device {text}: must be one of {', '.join(known)}, with a number or a shape behind "
            f"a colon for several (tpu-v5e:2x4){did_you_mean(name, known)}"
        )
    if shape and not re.fullmatch(r"[1-9]\d*(x[1-9]\d*)*", shape):
        raise ValueError(f"--device {text}: {shape!r} must be a number or a shape such as 2x4")
    one = this_cpu() if name == "cpu" else DEVICES[name]
    return dataclasses.replace(one, count=math.prod(map(int, shape.split("x"))) if shape else 1)


def this_cpu() -> Device:
    """This CPU, by a matrix product and a sum, best of three."""
    n, size = 1024, 2**25
    a, v = jnp.ones((n, n)), jnp.ones(size)
    product, total = jax.jit(lambda a: a @ a), jax.jit(lambda v: v + 1)
    flops = 2 * n**3 / _best(lambda: product(a))
    return Device("cpu", None, 8 * size / _best(lambda: total(v)), flops, flops)


def _best(call: object) -> float:
    assert callable(call)
    took = []
    for _ in range(4):  # the first compiles
        began = time.perf_counter()
        jax.block_until_ready(call())
        took.append(time.perf_counter() - began)
    return float(np.min(took[1:]))
