"""What a whole sweep costs: against Quantus, over a decade of samples, and in memory.

``python benchmarks/sweep.py [--samples 64] [--repeats 3] [--only peers cost memory] [--out FILE]``

* peers: 10 explainers x 12 metrics, written to a folder by `jaxeval.run`, against Quantus on the
  same model and samples, in turns. Timed only where both sides give the same scores on the same
  draws. Beside the sweep that asks everything, the same metrics to a tolerance: the mean of every
  explainer and metric to .02, with the largest difference from the exact means, where they are
  exact, and from those of many draws, where they are not.
* cost: seconds of a sweep over a decade of samples, and of steps, and the exponent that fits them.
* memory: the most memory of a process that sweeps 1,000 samples, and 10,000, from a mapped file.
"""

from __future__ import annotations

import argparse
import dataclasses
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from timing import in_turns, load, machine

import jaxeval as je

PACKAGES = ("jaxeval", "jax", "numpy", "pyarrow", "torch", "captum", "quantus")
DECADE = (400, 700, 1200, 2200, 4000)
STEPS = (70, 130, 230, 400, 700)
SIZES = (1000, 10_000)
MANY = {"n_runs": 2000, "n_samples": 100}
"""Draws whose means stand for their limit."""


def sweep(given: Any, folder: str, **changes: Any) -> je.Results:
    """Run a sweep into an empty folder and read its scores back."""
    with tempfile.TemporaryDirectory(dir=folder) as output:
        done = je.run(je.Sweep(**{**given, "output": output, **changes}), progress=False)
        assert done.complete
        return je.Store(output).results()


def against_peers(samples: int, repeats: int, folder: str) -> list[str]:
    """10 explainers x 12 metrics on both sides."""
    import peers
    import run
    from networks import lenet
    from timing import spread

    class SweepCase(run.Case):
        """Timed as a sweep; compared, with Quantus's draws, as one call of `evaluate`."""

        def ours(self, draws: dict[str, Any] | None = None) -> je.Results:
            if draws is not None:
                return super().ours(draws)
            net = self.net
            data = {"x": net.x, "y": net.y, "mask": net.to_jax(net.mask)}
            return sweep(
                {
                    "data": data,
                    "model": net.model,
                    "explainers": {e: v.ours for e, v in self.explainers.items()},
                    "metrics": {m: v.given() for m, v in self.metrics.items()},
                    "class_score": "logit",
                },
                folder,
            )

    net = lenet(samples)
    methods = peers.explainers(net)
    for method in ("riemann_left", "riemann_right"):
        methods[f"IG {method} 6"] = peers.Explainer(
            je.explain.IntegratedGradients(n_steps=6, method=method),
            peers.captum("IntegratedGradients", n_steps=6, method=method, baselines=0.0),
            6,
        )
    known = peers.every()
    metrics = {
        name: known[name]
        for name in (
            "PixelFlipping", "RegionPerturbation", "Selectivity", "FaithfulnessCorrelation",
            "FaithfulnessEstimate", "PointingGame", "RelevanceRankAccuracy", "TopKIntersection",
            "Sparseness", "Complexity",
        )
    }  # fmt: skip
    for name in ("MaxSensitivity", "AvgSensitivity"):
        metrics[name] = peers.sensitivity(name, 10)
    case = SweepCase(f"{len(methods)} explainers x {len(metrics)} metrics", net, metrics, methods)
    timing = run.measure(case, repeats)
    if isinstance(timing, str):
        return [f"No result: {timing}."]
    results = case.ours()
    tolerant = to_a_tolerance(case, results, repeats)
    asked, naive = results.asked, results.asked["naive"]
    alone = sum(naive.values()) / (asked["output"] + asked["attribution"])
    return [
        run.HEAD,
        run.row(case, timing),
        "",
        f"Asked {asked['output']:,} outputs and {asked['attribution']:,} attributions; one metric "
        f"and explainer at a time would ask {alone:.1f} times as many. The first call, which "
        f"compiles, took {timing.first - min(timing.ours):.1f} s more; traced later: "
        f"{timing.later}. The bare model evaluations, as compiled, would be "
        f"{spread([a / b for a, b in zip(timing.theirs, timing.lower, strict=True)], 1)} times as "
        "fast as Quantus.",
        "",
        *tolerant,
    ]


def to_a_tolerance(case: Any, exact: je.Results, repeats: int) -> list[str]:
    """The same metrics in one call of `evaluate`, exactly and to tolerances of their means.

    Times are of the processor (user and system, all threads), which other processes disturb less
    than a clock; Quantus, the exact call and those to a tolerance take turns.
    """
    from timing import spread

    net = case.net
    metrics = {m: v.given() for m, v in case.metrics.items()}
    many = {
        m: dataclasses.replace(v, **{field: MANY[field] for field in MANY if hasattr(v, field)})
        for m, v in metrics.items()
        if v.steps_are == "draws"
    }

    def call(chosen: Any = metrics, **how: Any) -> je.Results:
        return je.evaluate(
            net.model, net.x, net.y,
            explainers={e: v.ours for e, v in case.explainers.items()},
            metrics=chosen, mask=net.to_jax(net.mask), output="logit", progress=False, **how,
        )  # fmt: skip

    truth = {**exact.outcomes, **call(many).outcomes}
    own: dict[str, Any] = {"per": "mean", "budget": None}
    how: dict[str, dict[str, Any]] = {
        "exactly": {},
        ".02": {"tolerance": 0.02, "per": "mean"},
        ".02, at most the own draws": {"tolerance": 0.02, **own},
        ".05": {"tolerance": 0.05, "per": "mean"},
    }
    got = {name: call(**given) for name, given in how.items()}  # compiles
    # What a tolerance leaves as it is bounds what it can gain.
    whole = {m: metrics[m] for m in metrics if estimates(got[".02"], m) == 0}
    call(whole)
    took: dict[str, list[float]] = {name: [] for name in ["Quantus", *how, "whole"]}
    for _ in range(repeats):
        took["Quantus"].append(of_processor(case.theirs))
        for name, given in how.items():
            calls = [of_processor(lambda given=given: call(**given)) for _ in range(2)]
            took[name].append(min(calls))
        took["whole"].append(min(of_processor(lambda: call(whole)) for _ in range(2)))
    bound = spread([a / b for a, b in zip(took["Quantus"], took["whole"], strict=True)], 1)
    lines = [
        "| mean to | Quantus / ours, processor | exact / ours | outputs asked | attributions asked "
        "| largest difference of a mean | means within | tolerance met |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, results in got.items():
        limit = how[name].get("tolerance", np.inf)
        estimated = {c: o for c, o in results.outcomes.items() if o.asked is not None}
        off = [
            abs(np.nanmean(o.score, dtype=float) - np.nanmean(truth[c].score, dtype=float))
            for c, o in estimated.items()
        ] or [0.0]
        met = [np.mean(np.asarray(o.status) == 0) for o in estimated.values()] or [1.0]
        ours, asked = took[name], results.asked
        lines.append(
            f"| {name} "
            f"| {spread([a / b for a, b in zip(took['Quantus'], ours, strict=True)], 1)} "
            f"| {spread([a / b for a, b in zip(took['exactly'], ours, strict=True)], 1)} "
            f"| {asked['output']:,} | {asked['attribution']:,} "
            f"| {max(off):.1e} | {np.mean(np.array(off) <= limit):.2f} | {np.mean(met):.2f} |"
        )
    return [
        *lines,
        "",
        f"{', '.join(whole)} ask all that they ask without a tolerance. Alone they are {bound} "
        "times as fast as Quantus is at all metrics: no tolerance of the others can gain more.",
        "",
        "Within: of the means that are estimated, those as near as asked for; met: those whose own "
        "error says so.",
    ]


def estimates(results: je.Results, metric: str) -> int:
    """How many explainers' means of a metric are estimated."""
    return sum(o.asked is not None for (_, m), o in results.outcomes.items() if m == metric)


def of_processor(call: Callable[[], Any]) -> float:
    """Seconds of the processor that a call takes, of all threads."""
    start = time.process_time()
    call()
    return time.process_time() - start


def exponent(sizes: Any, seconds: Any) -> float:
    """k of ``seconds ~ size ** k``, by least squares of the logarithms."""
    return float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])


def cost(repeats: int, folder: str) -> list[str]:
    """Seconds over a decade of samples, and of steps."""
    from networks import lenet

    net = lenet(max(DECADE))

    def timed(n: int, steps: int) -> Callable[[], Any]:
        given = {
            "data": {"x": net.x[:n], "y": net.y[:n]},
            "model": net.model,
            "explainers": {"Saliency": je.explain.Saliency()},
            "metrics": {"flip": je.PixelFlipping(n_steps=steps)},
            "shard_size": 400,
            "batch_size": 500,
        }
        return lambda: sweep(given, folder)

    lines = []
    for what, sizes, calls in (
        ("samples", DECADE, [timed(n, 50) for n in DECADE]),
        ("steps", STEPS, [timed(400, steps) for steps in STEPS]),
    ):
        in_turns(calls, 1)  # compiles
        found = in_turns(calls, 2 * repeats)
        pairs = ", ".join(f"{n}: {t:.2f} s" for n, t in zip(sizes, found, strict=True))
        lines.append(f"* {what}: exponent {exponent(sizes, found):.3f} ({pairs})")
    return lines


def memory(folder: str) -> list[str]:
    """The most memory of processes that sweep small and large data sets."""
    rng = np.random.default_rng(0)
    lines = []
    for n in SIZES:
        file = Path(folder) / f"{n}.npy"
        x = np.lib.format.open_memmap(file, "w+", np.float32, (n, 1, 28, 28))
        for start in range(0, n, 1000):
            x[start : start + 1000] = rng.random((1000, 1, 28, 28), np.float32)
        x.flush()
        command = [sys.executable, __file__, "--child", str(file)]
        found = subprocess.run(command, capture_output=True, text=True, check=True)
        lines.append(f"* {n:,} samples: {found.stdout.strip()}")
    return lines


def child(file: str) -> None:
    from networks import lenet

    net = lenet(1)
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        results = sweep(
            {
                "data": file,
                "model": net.model,
                "explainers": {"Saliency": je.explain.Saliency()},
                "metrics": {"flip": je.PixelFlipping(n_steps=8), "s": je.Sparseness()},
                "batch_size": 500,
            },
            folder,
        )
        seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"peak {peak:,.0f} MiB, {len(results.index) / seconds:,.0f} samples/s")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--samples", type=int, default=64, help="of peers (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=3, help="default: %(default)s")
    parser.add_argument("--only", nargs="*", default=["peers", "cost", "memory"])
    parser.add_argument("--out", type=Path, help="write the Markdown here, too")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        child(given.child)
        return 0
    warnings.filterwarnings("ignore")
    lines: list[str] = []

    def say(*text: str) -> None:
        lines.extend(text)
        print(*text, sep="\n", flush=True)

    say("# Sweeps\n", f"{machine(PACKAGES)}; load average at the start {load()}.")
    with tempfile.TemporaryDirectory() as folder:
        if "peers" in given.only:
            say("\n## Against Quantus\n", *against_peers(given.samples, given.repeats, folder))
        if "cost" in given.only:
            say("\n## Cost\n", *cost(given.repeats, folder))
        if "memory" in given.only:
            say("\n## Memory\n", *memory(folder))
    say(f"\nLoad average at the end {load()}.")
    if given.out:
        given.out.write_text("\n".join(lines) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
