"""What the first call costs in a fresh process, with and without kept programs, beside Quantus.

``python benchmarks/first_call.py [--samples 64] [--repeats 3] [--only NAMES] [--out FILE]`` prints
Markdown.

Every call runs in a process of its own: it loads the network and the maps, then times the first
call and later ones. Three processes take turns: without kept programs, with the programs that an
earlier process kept (`jaxeval.use_compilation_cache`), and Quantus. Imports are timed apart. A case
counts only if both sides give the same scores for the same inputs and draws.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from statistics import median
from typing import Any

SIDES = ("ours", "kept", "quantus")


def named(net: Any) -> dict[str, Any]:
    """{name: case}: the settings of `run.py`, and PixelFlipping pixel by pixel."""
    import peers
    import run

    found = {case.name: case for case in run.one_by_one(net)}
    saliency = {"Saliency": peers.explainers(net)["Saliency"]}
    steps = f"PixelFlipping, {net.x[0].size} steps"
    found[steps] = run.Case(steps, net, {"f": peers.pixel_flipping(1)}, saliency, stored=True)
    return found


def one(name: str, side: str, samples: int, folder: str) -> dict[str, Any]:
    """The times of one process."""
    warnings.filterwarnings("ignore")
    start = time.perf_counter()
    import jax

    of_jax = time.perf_counter() - start
    start = time.perf_counter()
    import jaxeval as je

    of_ours = time.perf_counter() - start
    from networks import lenet
    from timing import seconds

    case = named(lenet(samples))[name]
    if side == "agree":
        deviation, agreed = case.deviation()
        known = [v.differs for v in case.metrics.values() if v.differs]
        return {"deviation": deviation, "agreed": agreed, "differs": known}
    if side == "kept":
        je.use_compilation_cache(folder)
    call = case.theirs if side == "quantus" else case.ours
    jax.block_until_ready(jax.numpy.ones(3) + 1)  # the backend itself
    first = seconds(call)
    later = [seconds(call) for _ in range(3)]
    return {"first": first, "warm": min(later), "import jax": of_jax, "import jaxeval": of_ours}


def in_a_process(name: str, side: str, samples: int, folder: str) -> dict[str, Any]:
    command = [sys.executable, __file__, "--one", name, side, str(samples), folder]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{name}, {side}: {done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


HEAD = """
| case | deviation | warm | first | first, kept programs | first - warm | kept - warm | Quantus, \
first | Quantus, warm | Quantus / ours, first |
|---|---|---|---|---|---|---|---|---|---|"""


def row(name: str, agreement: str, times: dict[str, list[dict[str, Any]]]) -> str:
    def of(side: str, what: str) -> float:
        return median(t[what] for t in times[side])

    warm = min(of("ours", "warm"), of("kept", "warm"))
    first, kept, theirs = (of(side, "first") for side in SIDES)
    return (
        f"| {name} | {agreement} | {warm:.2f} | {first:.2f} | {kept:.2f} | {first - warm:.2f} "
        f"| {kept - warm:.2f} | {theirs:.2f} | {of('quantus', 'warm'):.2f} | {theirs / first:.1f} |"
    )


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--samples", type=int, default=64, help="default: %(default)s")
    parser.add_argument("--repeats", type=int, default=3, help="default: %(default)s")
    parser.add_argument("--only", nargs="*", help="names of cases; default: all")
    parser.add_argument("--out", type=Path, help="write the Markdown here, too")
    parser.add_argument("--one", nargs=4, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.one:
        name, side, samples, folder = given.one
        print(json.dumps(one(name, side, int(samples), folder)))
        return 0

    from networks import lenet
    from run import PACKAGES
    from timing import load, machine

    lines: list[str] = []

    def say(text: str) -> None:
        lines.append(text)
        print(text, flush=True)

    say(f"# The first call: LeNet, {given.samples} samples, medians of {given.repeats} processes\n")
    say(f"{machine(PACKAGES)}; load average at the start {load()}. Times in seconds.")
    say(HEAD)
    of_jax, of_ours = [], []
    for name in given.only or named(lenet(8)):
        agreement = in_a_process(name, "agree", given.samples, "")
        if not agreement["agreed"]:
            say(f"| {name} | **the two sides differ by {agreement['deviation']:.1e}** |")
            continue
        how = f"differs: {agreement['differs'][0]}" if agreement["differs"] else ""
        how = how or f"{agreement['deviation']:.0e}"
        times: dict[str, list[dict[str, Any]]] = {side: [] for side in SIDES}
        with tempfile.TemporaryDirectory() as folder:
            in_a_process(name, "kept", given.samples, folder)
            for _ in range(given.repeats):
                for side in SIDES:
                    times[side].append(in_a_process(name, side, given.samples, folder))
        for t in (t for side in SIDES for t in times[side]):
            of_jax.append(t["import jax"])
            of_ours.append(t["import jaxeval"])
        say(row(name, how, times))
    if of_jax:
        say(f"\nimport jax: {median(of_jax):.2f} s; import jaxeval adds {median(of_ours):.2f} s.")
    say(f"\nLoad average at the end {load()}.")
    if given.out:
        given.out.write_text("\n".join(lines) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
