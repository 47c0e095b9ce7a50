"""What explanations cost: against captum, and against the bare model evaluations.

``python benchmarks/explainers.py [--samples 64] [--repeats 3] [--quick] [--only NAME ...] [--out
FILE]`` prints Markdown.

An explainer is timed only after both sides have given the same maps of the same network: equal to
`explainer_cases.SAME`, relative to the largest entry, or, where they are random, equal in the mean
of many draws, in units of its standard error. Maps that are not random are compared in float64: in
float32 a rectifier whose input is 0 but for rounding may be open on one side and shut on the other,
and gradients jump there; how far apart the maps are in float32 is told beside it. Then captum, ours
and two floors take turns within each repeat, and ratios within a repeat are reported. A floor is
the model's evaluations that a method cannot do without, as bare compiled programs: forward passes,
input gradients, and those of the parts before and behind a layer, at the same batch size. The first
is `jax.jit` of the model as it is written. The second, lower on CPUs, has the model as jaxeval runs
it there, with some operations replaced by faster ones.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import warnings
from pathlib import Path
from statistics import median

import jax
import numpy as np
from explainer_cases import DRAWS, Case, cases
from explainer_cases_more import transformer
from networks import lenet, residual
from timing import in_turns, load, machine, seconds, spread

PACKAGES = ("jaxeval", "jax", "numpy", "torch", "captum")


@dataclasses.dataclass
class Timing:
    """Seconds of each repeat, and of the first call."""

    agreement: str
    first: float
    theirs: list[float] = dataclasses.field(default_factory=list)
    ours: list[float] = dataclasses.field(default_factory=list)
    floor: list[float] = dataclasses.field(default_factory=list)
    as_run: list[float] = dataclasses.field(default_factory=list)
    """The floor of the model as jaxeval runs it."""
    engine: list[float] = dataclasses.field(default_factory=list)
    """What `jaxeval.attribute` took more, where calls are short."""

    @property
    def faster(self) -> list[float]:
        return [a / b for a, b in zip(self.theirs, self.ours, strict=False)]

    @property
    def over(self) -> list[float]:
        return [a / b for a, b in zip(self.ours, self.floor, strict=True)]

    @property
    def over_as_run(self) -> list[float]:
        return [a / b for a, b in zip(self.ours, self.as_run, strict=True)]


def measure(case: Case, repeats: int) -> Timing | str:
    """The timing of a case, or why there is none."""
    first = seconds(case.run_ours)
    agreement = "no peer"
    if case.theirs is not None:
        try:
            agreed, agreement = case.agreement()
        except (AssertionError, AttributeError, RuntimeError, TypeError, ValueError) as e:
            return f"one side fails with {type(e).__name__}: {e}"
        if not agreed:
            return f"the two sides differ: {agreement}"
    floors = [case.bare(as_run) for as_run in (False, True)]
    for floor in floors:
        floor()
    t = Timing(agreement, first)
    # Where a call is short: the best of a few turns.
    once = min(seconds(case.run_ours) for _ in range(2))
    turns = next(n for limit, n in TURNS if once < limit)
    for _ in range(repeats):
        calls = [case.run_ours, *floors, *([case.run_theirs] if case.theirs else [])]
        best = in_turns(calls, turns)
        t.ours.append(best[0])
        t.floor.append(best[1])
        t.as_run.append(best[2])
        t.theirs += best[3:]
    if once < TURNS[0][0]:
        case.run_engine()
        ours, engine = in_turns([case.run_ours, case.run_engine], turns)
        t.engine.append(engine - ours)
    return t


TURNS = ((0.05, 15), (0.5, 5), (float("inf"), 1))
"""Of how many turns the best is taken, for calls of less than so many seconds."""
HEAD = """
| network | explainer | agreement | captum / ours | ours / floor | ours / floor as run | captum, s \
| ours, s |
|---|---|---|---|---|---|---|---|"""


def row(case: Case, t: Timing) -> str:
    theirs, faster = ("–", "–")
    if t.theirs:
        theirs, faster = f"{median(t.theirs):.3f}", spread(t.faster, 1)
    return (
        f"| {case.net.name} | {case.name} | {t.agreement} | {faster} | {spread(t.over, 2)} "
        f"| {spread(t.over_as_run, 2)} | {theirs} | {median(t.ours):.4f} |"
    )


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=64, help="default: %(default)s")
    parser.add_argument("--repeats", type=int, default=3, help="default: %(default)s")
    parser.add_argument("--quick", action="store_true", help="32 samples, once, fewer steps")
    parser.add_argument("--only", nargs="*", help="names of explainers: these alone")
    parser.add_argument(
        "--net", choices=("LeNet", "ResNet", "transformer"), help="this network alone"
    )
    parser.add_argument("--out", type=Path, help="write the Markdown here, too")
    given = parser.parse_args(arguments)
    samples, repeats = (DRAWS, 1) if given.quick else (given.samples, given.repeats)
    warnings.filterwarnings("ignore")
    jax.config.update("jax_enable_compilation_cache", False)
    lines: list[str] = []

    def say(text: str) -> None:
        lines.append(text)
        print(text, flush=True)

    say(f"# Explainers against captum: {samples} samples, {repeats} repeats\n")
    say(f"{machine(PACKAGES)}; load average at the start {load()}.")
    say(HEAD)
    timings, apart, compiled = [], [], []
    for build in (lenet, residual, transformer):
        net = build(samples)
        if given.net not in (None, net.name):
            continue
        for case in cases(net, given.quick):
            if given.only and case.name not in given.only:
                continue
            t = measure(case, repeats)
            if isinstance(t, str):
                apart.append(f"* {net.name}, {case.name}: {t}")
            else:
                timings.append(t)
                compiled.append(t.first - median(t.ours))
                say(row(case, t))
    over = [median(t.over) for t in timings]
    as_run = [median(t.over_as_run) for t in timings]
    faster = [median(t.faster) for t in timings if t.theirs]
    if faster:
        mean = np.exp(np.mean(np.log(faster)))
        slower = sum(v < 1 for v in faster)
        say(f"\nGeometric mean of captum / ours: {mean:.1f}; slower than captum: {slower}.")
    if over:
        for name, ratios in {"floor": over, "floor as run": as_run}.items():
            mean, most = np.exp(np.mean(np.log(ratios))), sum(v <= 1.1 for v in ratios)
            say(f"Geometric mean of ours / {name}: {mean:.2f}; at most 1.1: {most} of {len(over)}.")
        if engine := [v for t in timings for v in t.engine]:
            say(f"`jaxeval.attribute` took {median(engine) * 1e3:.1f} ms more a call (median).")
        say(f"The first call took {median(compiled):.1f} s more than later ones (median).")
    say(
        "\nRatios are medians over the repeats (smallest to largest). The floor: the evaluations "
        "of the model that the method needs, by `jax.jit` of it as it is written; as run: of "
        "the model as jaxeval runs it. Agreement: the largest difference of two maps in float64, "
        "relative to the largest entry, and in float32 in parentheses; or of means of random maps, "
        "the root mean square in standard errors, about 1 where they are drawn alike."
    )
    if apart:
        say("\n**No result**:\n\n" + "\n".join(apart))
    say(f"\nLoad average at the end {load()}.")
    if given.out:
        given.out.write_text("\n".join(lines) + "\n")
    return bool(apart)


if __name__ == "__main__":
    sys.exit(main())
