"""What an evaluation costs: against Quantus, and against the bare model evaluations.

``python benchmarks/run.py [--samples 128] [--repeats 5] [--quick] [--out FILE]`` prints Markdown.

A case is timed only after both sides have given the same scores for the same inputs and random
draws. Then Quantus, ours and the floor take turns within each repeat, so that whatever else the
machine does falls on all three, and ratios within a repeat are reported: their median, and their
smallest and largest. The floor is the distinct questions alone: compiled forward passes and
input gradients of the model, as many as ours asked, at the batch size that it chose. It is timed
for the model as it was given, and for the model as the engine runs it (on CPUs some operations are
replaced by faster ones), which is what is left to gain.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import peers
from jax.experimental.compilation_cache import compilation_cache
from networks import Network, digits, lenet
from peers import Explainer, Metric
from timing import gap, geometric_mean, in_turns, load, machine, seconds, spread

import jaxeval as je
from jaxeval.cpu import program, suited
from jaxeval.engine import TRACES

SAME_MAPS = 1e-4
"""Largest difference of two explainers' maps that counts as none, relative to the largest entry."""

PACKAGES = ("jaxeval", "jax", "numpy", "torch", "captum", "quantus")

NETWORKS = {"LeNet": lenet, "digits CNN": digits}

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

    def ours(self, draws: dict[str, Any] | None = None) -> je.Results:
        """All of it in one pass; with `draws`, as it is compared."""
        net = self.net
        masks = [m for v in self.metrics.values() if (m := peers.mask(net, v)) is not None]
        compare = draws is not None
        return je.evaluate(
            net.model,
            net.x,
            net.y,
            explainers={
                e: net.to_jax(self.maps[e]) if self.stored else v.ours
                for e, v in self.explainers.items()
            },
            metrics={m: v.given((draws or {}).get(m), compare) for m, v in self.metrics.items()},
            mask=masks[0] if masks else None,
            output="logit",
            progress=False,
        )

    def deviation(self) -> tuple[float, bool]:
        """(the largest difference of a map, a score or a point of a curve, whether all agree).

        Both sides get the same draws. Maps are compared by themselves, and then both sides rank
        ours: entries that differ in the last bit may be ranked either way. Maps that differ are
        compared again in float64: among millions of rectified units, rounding decides for a few on
        which side of zero they are. Metrics that are known to differ are left out; NaN, if there is
        no other.
        """
        net, found = self.net, []
        scores: dict[tuple[str, str], np.ndarray] = {}
        draws: dict[str, Any] = {}
        metrics = {m: v for m, v in self.metrics.items() if v.differs is None}
        for e, explainer in self.explainers.items():
            a = self.maps[e]
            if not self.stored:
                ours = np.asarray(je.attribute(explainer.ours, net.model, net.x, net.y))
                ours = ours.reshape(a.shape)
                apart = gap(ours, a, 0)
                found.append((apart if apart <= SAME_MAPS else self.in_float64(e), SAME_MAPS))
                a = ours
            for m, metric in metrics.items():
                recorded = metric.draws in ("indices", "noise")
                kept = peers.Recorded(metric.draws) if recorded and metric.draws else None
                scores[e, m] = peers.theirs(net, metric, a, explainer.theirs, True, kept)
                if kept is not None:
                    draws[m] = kept.draws(net)  # the same for every explainer: seeded anew
                elif metric.draws == "weights":
                    draws[m] = peers.random_weights(net)
        results = self.ours(draws)
        for (e, m), wanted in scores.items():
            metric, outcome = metrics[m], results[e, m]
            got = outcome.curve if metric.curve else outcome.score
            got = np.mean(got, 0) if metric.curve == "mean" else got
            found.append((gap(got, wanted), metric.tolerance))
        compared = [v for v, _ in found] if scores else [np.nan]
        return max(compared), all(v <= tolerance for v, tolerance in found)

    def in_float64(self, e: str) -> float:
        """The largest difference of an explainer's maps, both made in float64."""
        with jax.enable_x64(True):
            net, explainer = self.net.double(), self.explainers[e]
            a = explainer.theirs(net.torch, net.x_torch, net.y)
            ours = np.asarray(je.attribute(explainer.ours, net.model, net.x, net.y))
            return gap(ours.reshape(a.shape), a, 0)

    def floor(self, results: je.Results, model: je.Model) -> Callable[[], None] | None:
        """The bare model evaluations that `results` asked for; None where it asked for none."""
        net, width = self.net, results.settings["chunk_width"]
        forwards = results.asked["output"]
        maps = results.asked["attribution"] // len(self.explainers)
        gradients = maps * sum(e.gradients for e in self.explainers.values())
        gradients *= max(m.gradients for m in self.metrics.values())
        if not forwards + gradients:
            return None
        x = jnp.asarray(np.resize(net.x, (width, *net.x.shape[1:])))
        y = jnp.asarray(np.resize(net.y, width))
        apply, params = model.apply, model.params

        @program()
        def forward(params: Any, x: Any) -> Any:
            with jax.default_matmul_precision("highest"):
                return apply(params, x)

        @program()
        def gradient(params: Any, x: Any, y: Any) -> Any:
            with jax.default_matmul_precision("highest"):
                return jax.grad(lambda v: apply(params, v)[jnp.arange(width), y].sum())(x)

        def run() -> None:
            out = [forward(params, x) for _ in range(-(-forwards // width))]
            out += [gradient(params, x, y) for _ in range(-(-gradients // width))]
            jax.block_until_ready(out)

        return run


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


def one_by_one(net: Network) -> list[Case]:
    """Every metric of Quantus by itself; maps are given where no input is explained anew."""
    saliency = {"Saliency": peers.explainers(net)["Saliency"]}
    return [
        Case(name, net, {name: metric}, saliency, stored=not metric.explains)
        for name, metric in peers.every().items()
    ]


@dataclasses.dataclass
class Timing:
    """Seconds of each repeat, and what was compiled in the first call of ours.

    `first` is the first call without any compiled programs, `kept` that with those that an earlier
    process kept.
    """

    deviation: float
    width: int
    first: float
    kept: float
    traces: dict[str, int]
    compiled: int
    theirs: list[float] = dataclasses.field(default_factory=list)
    ours: list[float] = dataclasses.field(default_factory=list)
    floor: list[float] = dataclasses.field(default_factory=list)
    lower: list[float] = dataclasses.field(default_factory=list)
    """The floor of the model as the engine runs it."""
    later: int = 0
    """Programs traced or compiled after the first call."""


def with_kept_programs(case: Case) -> float:
    """Seconds of the first call of ours where another has kept its compiled programs."""

    def cached(on: bool) -> None:
        jax.config.update("jax_enable_compilation_cache", on)
        compilation_cache.reset_cache()
        jax.clear_caches()

    with tempfile.TemporaryDirectory() as folder:
        je.use_compilation_cache(folder)
        cached(True)
        case.ours()
        jax.clear_caches()
        took = seconds(case.ours)
        cached(False)
    case.ours()
    return took


def measure(case: Case, repeats: int) -> Timing | str:
    """The timing of a case, or why there is none."""
    try:
        deviation, agreed = case.deviation()
        took = seconds(case.theirs)
    except Exception as e:  # of a peer, whatever it is: the other cases go on, and this one is told
        return f"one side fails with {type(e).__name__}: {e}"
    if not agreed:
        return f"the two sides differ by {deviation:.1e}"
    jax.clear_caches()
    TRACES.clear()
    compilations.clear()
    first = seconds(case.ours)
    t = Timing(deviation, 0, first, 0.0, dict(TRACES), len(compilations))
    t.kept = with_kept_programs(case)
    results = case.ours()
    t.width = results.settings["chunk_width"]
    given = case.net.model
    models = (given, suited(given, case.net.x[0], jax.default_backend()))
    floors = [floor for model in models if (floor := case.floor(results, model))]
    for floor in floors:
        floor()
    TRACES.clear()
    compilations.clear()
    for i in range(repeats):
        t.theirs.append(seconds(case.theirs) if i else took)
        # Where ours and the floor are short: the best of several turns each, for about a second.
        turns = int(np.clip(1 / results.settings["seconds"], 1, 20))
        best = in_turns([case.ours, *floors], turns)
        t.ours.append(best[0])
        if floors:
            t.floor.append(best[1])
            t.lower.append(best[2])
    t.later = max(sum(TRACES.values()), len(compilations))
    return t


def agreement(case: Case, t: Timing) -> str:
    known = [f"differs: {v.differs}" for v in case.metrics.values() if v.differs]
    return known[0] if known else f"{t.deviation:.0e}"


def row(case: Case, t: Timing) -> str:
    faster = [a / b for a, b in zip(t.theirs, t.ours, strict=True)]
    over, left = (
        spread([a / b for a, b in zip(t.ours, floor, strict=True)], 2) if floor else "asks nothing"
        for floor in (t.floor, t.lower)
    )
    return (
        f"| {case.net.name} | {case.name} | {agreement(case, t)} "
        f"| {spread(faster, 0 if median(faster) > 20 else 1)} "
        f"| {over} | {left} "
        f"| {median(t.theirs):.2f} | {median(t.ours):.3f} | {t.first:.2f} | {t.kept:.2f} "
        f"| {t.width:,} |"
    )


HEAD = """
| network | case | deviation | Quantus / ours | ours / floor | ours / floor as run | Quantus, s \
| ours, s | first call, s | with kept programs, s | batch |
|---|---|---|---|---|---|---|---|---|---|---|"""


def compiled(case: Case, t: Timing) -> str:
    forward, explain = (t.traces.get(k, 0) for k in ("forward", "explain"))
    kernels = sum(t.traces.values()) - forward - explain
    return (
        f"* {case.net.name}, {case.name}: the first call took {t.first - median(t.ours):.1f} s "
        f"more than later ones and compiled {t.compiled} programs ({forward} forward passes, "
        f"{kernels} kernels without the model, {t.compiled - forward - kernels} of explainers and "
        f"small ones); traced or compiled later: {t.later}"
    )


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=128, help="default: %(default)s")
    parser.add_argument("--repeats", type=int, default=5, help="default: %(default)s")
    parser.add_argument("--quick", action="store_true", help="8 samples, once, fewer steps")
    parser.add_argument("--only", nargs="*", help="names of Quantus's metrics: these alone")
    parser.add_argument("--network", choices=list(NETWORKS), help="this one alone")
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
    say(f"{machine(PACKAGES)}; load average at the start {load()}.")
    notes, apart = [], []

    def table(cases: list[Case]) -> list[Timing]:
        say(HEAD)
        timings = []
        for case in cases:
            t = measure(case, repeats)
            if isinstance(t, str):
                apart.append(f"* {case.net.name}, {case.name}: {t}")
            else:
                timings.append(t)
                say(row(case, t))
                notes.append(compiled(case, t))
        return timings

    chosen_nets = [given.network] if given.network else NETWORKS
    nets = {name: NETWORKS[name](samples) for name in chosen_nets}
    chosen = [c for net in nets.values() for c in cases(net, given.quick)]
    table([c for c in chosen if not given.only or c.name.split(",")[0] in given.only])
    if not given.quick and "LeNet" in nets:
        say(f"\n## Every metric of Quantus, on the LeNet, with {samples} samples")
        wanted = given.only or peers.every()
        timings = table([c for c in one_by_one(nets["LeNet"]) if c.name in wanted])
        faster = [median(np.divide(t.theirs, t.ours)) for t in timings]
        over = [median(np.divide(t.ours, t.floor)) for t in timings if t.floor]
        if faster:
            say(f"\nGeometric mean of Quantus / ours: {geometric_mean(faster):.1f}.")
        if over:
            say(f"Geometric mean of ours / floor: {geometric_mean(over):.2f}.")
    say(
        "\nRatios are medians over the repeats (smallest to largest). Deviation: the largest, "
        "relative to the largest score, on the same draws."
    )
    say("\n" + "\n".join(notes))
    if apart:
        say("\n**No result**:\n\n" + "\n".join(apart))
    say(f"\nLoad average at the end {load()}.")
    if given.out:
        given.out.write_text("\n".join(lines) + "\n")
    return any("differ" in line for line in apart)


if __name__ == "__main__":
    sys.exit(main())
