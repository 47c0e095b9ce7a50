"""What an accelerator does with jaxeval, in a few minutes: one command, on a machine that has one.

``python benchmarks/accelerator.py [--minutes 8] [--quick] [--out benchmarks/ACCELERATOR.md]``

Steps are done one after the other, the most telling first; each result is written at once to a
file beside the page, so that a run that is cut off, or out of its minutes, goes on where it
stopped. Results of another device or other versions are begun anew. `accelerator_wheels.py` gathers
what a machine without a network lacks. On a CPU it runs, too; `--quick` takes small sizes.

(a) every metric and explainer against the same on the CPU; (b) LeNet, ResNet-18 and ResNet-50:
metrics and sweeps against Quantus on the same device, and against the floor, which is the bare
model evaluations; (c) time against batch size, first calls, memory, and precision="fast" with the
rank agreement of maps; (d) a profile of when the device idles.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
from accelerator_page import page
from accelerator_steps import steps
from timing import installed

PACKAGES = ("jaxeval", "jax", "jaxlib", "numpy", "torch", "captum", "quantus")
HERE = Path(__file__).parent


class Results:
    """What is known so far, in a file.

    Args:
      file: JSON.
      about: what must be equal for results to be used again.
    """

    def __init__(self, file: Path, about: dict[str, Any]):
        self.file, self.about = file, about
        self.found: dict[str, Any] = {}
        if file.exists():
            known = json.loads(file.read_text())
            if known["about"] == about:
                self.found = known["found"]

    def add(self, name: str, result: Any) -> None:
        self.found[name] = result
        text = json.dumps({"about": self.about, "found": self.found}, indent=1)
        new = self.file.with_suffix(".new")
        new.write_text(text)
        new.replace(self.file)


def attempt(step: Callable[[], Any]) -> Any:
    """The result of a step, or its error."""
    try:
        began = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result = step()
        return {**result, "took": round(time.perf_counter() - began, 2)}
    except Exception as e:  # the other steps go on
        traceback.print_exc()
        return {"error": f"{type(e).__name__}: {e}"[:300]}


def about(quick: bool) -> dict[str, Any]:
    device = jax.devices()[0]
    stats = (device.memory_stats() or {}) if device.platform != "cpu" else {}
    return {
        "device": device.device_kind,
        "platform": device.platform,
        "memory": stats.get("bytes_limit"),
        "versions": {p: installed(p) for p in PACKAGES},
        "quick": quick,
    }


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=7.5, help="stop before a step after these")
    parser.add_argument("--quick", action="store_true", help="small sizes, few steps")
    parser.add_argument("--out", type=Path, default=HERE / "ACCELERATOR.md")
    parser.add_argument("--only", default="", help="steps whose names contain this")
    parser.add_argument("--again", action="store_true", help="forget earlier errors")
    given = parser.parse_args(arguments)
    began = time.monotonic()
    results = Results(given.out.with_suffix(".json"), about(given.quick))
    if given.again:
        results.found = {k: v for k, v in results.found.items() if "error" not in v}
    todo = {name: step for name, step in steps(given.quick).items() if given.only in name}
    left = []
    for name, step in todo.items():
        if name in results.found:
            continue
        if time.monotonic() - began > 60 * given.minutes:
            left.append(name)
            continue
        results.add(name, attempt(step))
        found = results.found[name]
        said = found.get("error") or f"{found['took']} s"
        print(f"[{time.monotonic() - began:5.0f} s] {name}: {said}", file=sys.stderr, flush=True)
        given.out.write_text(page(results.about, results.found, list(todo)))
    given.out.write_text(page(results.about, results.found, list(todo)))
    failed = [name for name in todo if "error" in results.found.get(name, {})]
    print(f"{given.out}: {len(todo) - len(left)} of {len(todo)} steps, {len(failed)} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
