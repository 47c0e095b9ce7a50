"""What an evaluation costs: against Quantus, and against the bare model evaluations.

``python benchmarks/run.py [--samples 128] [--repeats 5] [--quick] [--out FILE]`` prints Markdown.

A case is timed only after both sides have given the same scores for the same inputs and random
draws. Then Quantus, ours and the floor take turns within each repeat, so that whatever else the
machine does falls on all three, and ratios within a repeat are reported: their median, and their
smallest and largest. The floor is the distinct questions alone: compiled forward passes and
input gradients of the model, as many as ours asked, at the batch size that it chose.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import platform
import sys
import time
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import peers
import torch
from networks import Network, digits, lenet
from peers import Explainer, Metric

import jaxeval as je
from jaxeval.engine import TRACES

SAME_MAPS = 1e-4
"""Largest difference of two explainers' maps that counts as none, relative to the largest entry."""

compilations: list[float] = []
"""Seconds of every compilation of a program so far."""


@dataclasses.dataclass
class Case:
    """Metrics of explainers on one network; `stored` maps are given to both sides."""

    name: str
    net: Network
    metrics: dict[str, Metric]
    explainers: dict[str, Explainer]
    stored: bool = False

    def __post_init__(self) -> None:
        net = self.net
        self.maps = {e: v.theirs(net.torch, net.x_torch, net.y) for e, v in self.explainers.items()}

    def theirs(self) -> None:
        """Quantus, metric by metric and explainer by explainer, as its users run it."""
        net = self.net
        for e, explainer in self.explainers.items():
            a = self.maps[e] if self.stored else explainer.theirs(net.torch, net.x_torch, net.y)
            for metric in self.metrics.values():
                peers.theirs(net, metric, a, explainer.theirs)

    def ours(self, draws: dict[str, np.ndarray] | None = None) -> je.Results:
        """All of it in one pass."""
        net = self.net
        return je.evaluate(
            net.model,
            net.x,
            net.y,
            explainers={
                e: net.to_jax(self.maps[e]) if self.stored else v.ours
                for e, v in self.explainers.items()
            },
            metrics={m: v.given((draws or {}).get(m)) for m, v in self.metrics.items()},
            output="logit",
            progress=False,
        )

    def deviation(self) -> tuple[float, bool]:
        """(the largest difference of a map, a score or a point of a curve, whether all agree).

        Both sides get the same draws. Maps are compared by themselves, and then both sides rank
        ours: entries that differ in the last bit may be ranked either way.
        """
        net, found = self.net, []
        scores: dict[tuple[str, str], np.ndarray] = {}
        draws: dict[str, np.ndarray] = {}
        for e, explainer in self.explainers.items():
            a = self.maps[e]
            if not self.stored:
                ours = np.asarray(je.attribute(explainer.ours, net.model, net.x, net.y))
                found.append((gap(ours.reshape(a.shape), a, 0), SAME_MAPS))
                a = ours.reshape(a.shape)
            for m, metric in self.metrics.items():
                kept = peers.Recorded(metric.draws) if metric.draws else None
                scores[e, m] = peers.theirs(net, metric, a, explainer.theirs, True, kept)
                if kept is not None:
                    draws[m] = kept.draws(net)  # the same for every explainer: seeded anew
        results = self.ours(draws)
        for (e, m), wanted in scores.items():
            metric, outcome = self.metrics[m], results[e, m]
            got = outcome.curve if metric.curve else outcome.score
            found.append((gap(got, wanted), metric.tolerance))
        return max(v for v, _ in found), all(v <= tolerance for v, tolerance in found)

    def floor(self, results: je.Results) -> Callable[[], None] | None:
        """The bare model evaluations that `results` asked for; None where it asked for none."""
        net, width = self.net, results.settings["chunk_width"]
        forwards = results.asked["output"]
        maps = results.asked["attribution"] // len(self.explainers)
        gradients = maps * sum(e.gradients for e in self.explainers.values())
        if not forwards + gradients:
            return None
        x = jnp.asarray(np.resize(net.x, (width, *net.x.shape[1:])))
        y = jnp.asarray(np.resize(net.y, width))
        apply, params = net.model.apply, net.model.params

        @jax.jit
        def forward(params: Any, x: Any) -> Any:
            with jax.default_matmul_precision("highest"):
                return apply(params, x)

        @jax.jit
        def gradient(params: Any, x: Any, y: Any) -> Any:
            with jax.default_matmul_precision("highest"):
                return jax.grad(lambda v: apply(params, v)[jnp.arange(width), y].sum())(x)

        def run() -> None:
            out = [forward(params, x) for _ in range(-(-forwards // width))]
            out += [gradient(params, x, y) for _ in range(-(-gradients // width))]
            jax.block_until_ready(out)

        return run


def gap(a: Any, b: Any, least: float = 1.0) -> float:
    """The largest difference, relative to the largest entry of b or to `least`; inf for NaN."""
    a, b = np.asarray(a), np.asarray(b)
    if a.shape != b.shape or not np.isfinite(a).all() or not np.isfinite(b).all():
        return float("inf")
    return float(np.abs(a - b).max() / max(least, np.abs(b).max()))


def cases(net: Network, quick: bool) -> list[Case]:
    """The cases of one network, sized to its inputs."""
    large = net.x[0].size > 100
    n_runs, n_samples = (10, 3) if quick else (100, 20)
    subset, group, patch = (224, 28, 4) if large else (16, 8, 2)
    methods = peers.explainers(net)
    if quick:
        methods = dict(list(methods.items())[:4])
    saliency = {"Saliency": methods["Saliency"]}
    flipping = peers.pixel_flipping(group if quick else 1)
    correlation = peers.faithfulness_correlation(n_runs, subset)
    maximum = peers.sensitivity("MaxSensitivity", n_samples)
    few = n_samples if quick else 10
    sweep = {
        "FaithfulnessCorrelation": correlation,
        "FaithfulnessEstimate": peers.faithfulness_estimate(group),
        "RegionPerturbation": peers.region_perturbation(patch),
        "MaxSensitivity": peers.sensitivity("MaxSensitivity", few),
        "AvgSensitivity": peers.sensitivity("AvgSensitivity", few),
        "Sparseness": peers.sparseness(),
    }
    steps = net.x[0].size // (group if quick else 1)
    single: dict[str, tuple[str, Metric, bool]] = {
        f"PixelFlipping, {steps} steps": ("PixelFlipping", flipping, True),
        f"FaithfulnessCorrelation, {n_runs} runs": ("FaithfulnessCorrelation", correlation, True),
        f"MaxSensitivity, {n_samples} draws": ("MaxSensitivity", maximum, False),
        "Sparseness": ("Sparseness", peers.sparseness(), True),
    }
    made = [Case(name, net, {m: v}, saliency, given) for name, (m, v, given) in single.items()]
    if quick and large:
        return made
    name = f"sweep: {len(methods)} explainers x {len(sweep)} metrics"
    return [*made, Case(name, net, sweep, methods)]


def seconds(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


@dataclasses.dataclass
class Timing:
    """Seconds of each repeat, and what was compiled in the first call of ours."""

    deviation: float
    width: int
    first: float
    traces: dict[str, int]
    compiled: int
    theirs: list[float] = dataclasses.field(default_factory=list)
    ours: list[float] = dataclasses.field(default_factory=list)
    floor: list[float] = dataclasses.field(default_factory=list)
    later: int = 0
    """Programs traced or compiled after the first call."""


def measure(case: Case, repeats: int) -> Timing | float:
    """The timing of a case, or the deviation where the two sides do not agree."""
    deviation, agreed = case.deviation()
    if not agreed:
        return deviation
    jax.clear_caches()
    TRACES.clear()
    compilations.clear()
    first = seconds(case.ours)
    t = Timing(deviation, 0, first, dict(TRACES), len(compilations))
    results = case.ours()
    t.width = results.settings["chunk_width"]
    floor = case.floor(results)
    if floor is not None:
        floor()
    TRACES.clear()
    compilations.clear()
    for _ in range(repeats):
        t.theirs.append(seconds(case.theirs))
        # Where ours and the floor are short: the best of a few turns each.
        turns = 3 if results.settings["seconds"] < 3 else 1
        pairs = [(seconds(case.ours), seconds(floor) if floor else 0.0) for _ in range(turns)]
        t.ours.append(min(ours for ours, _ in pairs))
        t.floor.append(min(bare for _, bare in pairs))
    t.later = max(sum(TRACES.values()), len(compilations))
    return t


def spread(ratios: list[float], digits: int) -> str:
    """Median, smallest and largest."""
    middle, low, high = (f"{v:,.{digits}f}" for v in (median(ratios), min(ratios), max(ratios)))
    return middle if len(ratios) == 1 else f"{middle} ({low} to {high})"


def row(case: Case, t: Timing) -> str:
    faster = [a / b for a, b in zip(t.theirs, t.ours, strict=True)]
    over = [a / b for a, b in zip(t.ours, t.floor, strict=True) if b]
    return (
        f"| {case.net.name} | {case.name} | {t.deviation:.0e} "
        f"| {spread(faster, 0 if median(faster) > 20 else 1)} "
        f"| {spread(over, 2) if over else 'asks nothing'} "
        f"| {median(t.theirs):.2f} | {median(t.ours):.3f} | {t.width:,} |"
    )


HEAD = """
| network | case | deviation | Quantus / ours | ours / floor | Quantus, s | ours, s | batch |
|---|---|---|---|---|---|---|---|"""


def compiled(case: Case, t: Timing) -> str:
    forward, explain = (t.traces.get(k, 0) for k in ("forward", "explain"))
    kernels = sum(t.traces.values()) - forward - explain
    return (
        f"* {case.net.name}, {case.name}: the first call took {t.first - median(t.ours):.1f} s "
        f"more than later ones and compiled {t.compiled} programs ({forward} forward passes, "
        f"{kernels} kernels without the model, {t.compiled - forward - kernels} of explainers and "
        f"small ones); traced or compiled later: {t.later}"
    )


def machine() -> str:
    """What this ran on."""
    cpu = platform.processor() or platform.machine()
    if (info := Path("/proc/cpuinfo")).exists():
        names = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        cpu = names[0].split(":")[1].strip() if names else cpu
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    packages = ("jaxeval", "jax", "numpy", "torch", "captum", "quantus")
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


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=128, help="default: %(default)s")
    parser.add_argument("--repeats", type=int, default=5, help="default: %(default)s")
    parser.add_argument("--quick", action="store_true", help="8 samples, once, fewer steps")
    parser.add_argument("--out", type=Path, help="write the Markdown here, too")
    given = parser.parse_args(arguments)
    samples, repeats = (8, 1) if given.quick else (given.samples, given.repeats)
    warnings.filterwarnings("ignore")
    jax.config.update("jax_enable_compilation_cache", False)
    jax.monitoring.register_event_duration_secs_listener(
        lambda event, duration, **_: (
            compilations.append(duration) if event.endswith("backend_compile_duration") else None
        )
    )

    lines: list[str] = []

    def say(text: str) -> None:
        lines.append(text)
        print(text, flush=True)

    say(f"# Benchmark: {samples} samples, {repeats} repeats\n")
    say(f"{machine()}; load average at the start {load()}.")
    say(HEAD)
    notes, apart = [], []
    for build in (lenet, digits):
        for case in cases(build(samples), given.quick):
            t = measure(case, repeats)
            if isinstance(t, float):
                apart.append(f"* {case.net.name}, {case.name}: the two sides differ by {t:.1e}")
            else:
                say(row(case, t))
                notes.append(compiled(case, t))
    say(
        "\nRatios are medians over the repeats (smallest to largest). Deviation: the largest, "
        "relative to the largest score, on the same draws."
    )
    say("\n" + "\n".join(notes))
    if apart:
        say("\n**No result**, because the two sides do not agree:\n\n" + "\n".join(apart))
    say(f"\nLoad average at the end {load()}.")
    if given.out:
        given.out.write_text("\n".join(lines) + "\n")
    return bool(apart)


if __name__ == "__main__":
    sys.exit(main())
