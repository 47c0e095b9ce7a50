"""How things are timed and told: shared by the benchmarks."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Any

import jax
import numpy as np


def seconds(call: Callable[[], Any]) -> float:
    return timed(call)[1]


def timed(call: Callable[[], Any]) -> tuple[Any, float]:
    """(what it answers, seconds)."""
    start = time.perf_counter()
    answer = call()
    return answer, time.perf_counter() - start


PAUSE = 0.02
"""Seconds of rest before a call: torch's threads keep turning for some milliseconds after their
work is done, at the cost of whatever runs next.
"""
SHORT = 0.1
"""Seconds below which a call is timed more than once after a rest."""


def in_turns(calls: Sequence[Callable[[], Any]], turns: int) -> list[float]:
    """The best of a few turns of each; they take turns, so that noise falls on all of them."""

    def rested(call: Callable[[], Any]) -> float:
        time.sleep(PAUSE)
        took = seconds(call)
        # One's own threads are asleep by now; where that tells, the next calls find them awake.
        again = min(4, int(SHORT / took))
        return min([took, *(seconds(call) for _ in range(again))])

    return [min(took) for took in zip(*(map(rested, calls) for _ in range(turns)), strict=True)]


def spread(ratios: list[float], digits: int) -> str:
    """Median, smallest and largest."""
    middle, low, high = (f"{v:,.{digits}f}" for v in (median(ratios), min(ratios), max(ratios)))
    return middle if len(ratios) == 1 else f"{middle} ({low} to {high})"


def geometric_mean(ratios: Sequence[float]) -> float:
    return float(np.exp(np.mean(np.log(ratios))))


def gap(a: Any, b: Any, least: float = 1.0) -> float:
    """The largest difference, relative to the largest entry of b or to `least`; inf for NaN."""
    a, b = np.asarray(a), np.asarray(b)
    if a.shape != b.shape or not np.isfinite(a).all() or not np.isfinite(b).all():
        return float("inf")
    return float(np.abs(a - b).max() / max(least, np.abs(b).max()))


def machine(packages: Sequence[str]) -> str:
    """What this ran on, with the versions of those packages that are there."""
    import torch

    cpu = platform.processor() or platform.machine()
    if (info := Path("/proc/cpuinfo")).exists():
        names = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        cpu = names[0].split(":")[1].strip() if names else cpu
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    device = jax.devices()[0]
    versions = [f"{p} {v}" for p in packages if (v := installed(p))]
    return (
        f"{cpu}, {os.cpu_count()} cores, {memory:.0f} GiB, {platform.system()}; "
        f"Python {platform.python_version()}, {', '.join(versions)}; JAX on {device.platform} "
        f"({device.device_kind}), torch on cpu with {torch.get_num_threads()} threads"
    )


def installed(package: str) -> str | None:
    """The version of a package, None where it is not there."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def load() -> str:
    return f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"
