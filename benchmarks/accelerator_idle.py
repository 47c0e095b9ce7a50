"""When a device idles, from a trace of JAX's profiler."""

from __future__ import annotations

import gzip
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

LONGEST = 5


def idle(call: Callable[[], Any]) -> dict[str, Any]:
    """The share of a call's time in which no program runs, and the longest such gaps.

    On a CPU there is no track of a device, and the threads of XLA are looked at instead.
    """
    with tempfile.TemporaryDirectory() as folder:
        jax.profiler.start_trace(folder, create_perfetto_trace=True)
        try:
            jax.block_until_ready(call())
        finally:
            jax.profiler.stop_trace()
        file = next(Path(folder).rglob("perfetto_trace.json.gz"))
        events = json.loads(gzip.decompress(file.read_bytes()))
    if isinstance(events, dict):
        events = events["traceEvents"]
    return measured(events)


def measured(events: list[dict[str, Any]]) -> dict[str, Any]:
    """The same from the events of a trace in Chrome's format; times are in microseconds.

    >>> track = {"ph": "M", "name": "process_name", "pid": 1, "args": {"name": "/device:GPU:0"}}
    >>> kernels = [{"ph": "X", "pid": 1, "tid": 1, "ts": t, "dur": 4, "name": "k"} for t in (0, 16)]
    >>> measured([track, *kernels])["idle"]
    0.6
    """
    tracks = {e["pid"]: e["args"]["name"] for e in events if e.get("name") == "process_name"}
    devices = {p for p, name in tracks.items() if "/device:" in name and "CPU" not in name}
    kind = "device"
    if not devices:
        threads = {
            (e["pid"], e["tid"]) for e in events
            if e.get("name") == "thread_name" and "XLA" in str(e["args"]["name"])
        }  # fmt: skip
        kind = "threads of XLA"
    busy = sorted(
        (float(e["ts"]), float(e["ts"]) + float(e.get("dur", 0)), str(e["name"]))
        for e in events
        if e.get("ph") == "X"
        and (e["pid"] in devices if devices else (e["pid"], e.get("tid")) in threads)
    )
    if not busy:
        return {"idle": None, "why": "the trace has no events of a device"}
    gaps, end, name = [], busy[0][1], busy[0][2]
    for start, stop, this in busy[1:]:
        if start > end:
            gaps.append((start - end, name, this))
        if stop > end:
            end, name = stop, this
    whole = end - busy[0][0]
    lost = sum(g[0] for g in gaps)
    longest = sorted(gaps, reverse=True)[:LONGEST]
    return {
        "of": kind,
        "idle": lost / whole if whole else 0.0,
        "ms": whole / 1e3,
        "gaps": [{"ms": g / 1e3, "after": a[:60], "before": b[:60]} for g, a, b in longest],
    }
