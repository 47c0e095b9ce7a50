"""What the benchmarks share: the clock, ratios, how far two results are apart, the machine."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import jax
import numpy as np
import torch


def gap(a: Any, b: Any, least: float = 1.0) -> float:
    """The largest difference, relative to the largest entry of b or to `least`; inf for NaN."""
    a, b = np.asarray(a), np.asarray(b)
    if a.shape != b.shape or not np.isfinite(a).all() or not np.isfinite(b).all():
        return float("inf")
    return float(np.abs(a - b).max() / max(least, np.abs(b).max()))


def seconds(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def spread(ratios: list[float], digits: int) -> str:
    """Median, smallest and largest."""
    middle, low, high = (f"{v:,.{digits}f}" for v in (median(ratios), min(ratios), max(ratios)))
    return middle if len(ratios) == 1 else f"{middle} ({low} to {high})"


def machine(*more: str) -> str:
    """What this ran on; `more` packages whose version matters."""
    cpu = platform.processor() or platform.machine()
    if (info := Path("/proc/cpuinfo")).exists():
        names = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        cpu = names[0].split(":")[1].strip() if names else cpu
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    packages = ("jaxeval", "jax", "numpy", "torch", "captum", *more)
    device = jax.devices()[0]
    return (
        f"{cpu}, {os.cpu_count()} cores, {memory:.0f} GiB, {platform.system()}; "
        f"Python {platform.python_version()}, "
        + ", ".join(f"{p} {version(p)}" for p in packages)
        + f"; JAX on {device.platform} ({device.device_kind}), torch on cpu with "
        f"{torch.get_num_threads()} threads"
    )


def load() -> str:
    return f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"
