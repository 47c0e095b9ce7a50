"""Compile all programs of runs for a device that is not there; prints a line of JSON for each.

``python -m tests.accelerators.compile tpu|cuda digits|resnet|bert [rows]``, with the environment of
`targets.environment`. Programs are those that `evaluate` and `attribute` call, in their real
shapes, sharded over the chips of the target; batch sizes are planned with its compiler.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import re
import sys
import time
import warnings
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

import jaxeval as je
from jaxeval.engine import batch_size
from jaxeval.engine.evaluator import Evaluator
from jaxeval.engine.rehearsal import Program, Rehearsal, watching
from tests.accelerators import cases
from tests.accelerators.targets import CHIPS, LIMITS, mesh


def plan_for(target: str, devices: Mesh) -> None:
    """Let the engine plan for the target: its platform, its memory, its compiler."""
    Evaluator.platform = property(lambda self: target)  # type: ignore[misc]
    batch_size.limit = lambda device: LIMITS[target]
    Program.compiled = lambda self: compiled(self, devices)  # type: ignore[method-assign]


@dataclasses.dataclass(frozen=True)
class Compiled:
    """What is kept of a compiled program, which takes gigabytes if it is one of a large network."""

    digest: str
    callback: bool
    float64: bool
    seconds: float
    memory: Any
    output_shardings: Any
    out_info: Any

    def memory_analysis(self) -> Any:
        return self.memory


KNOWN: dict[str, Compiled] = {}
"""By the digest of a program's text: several runs, and plans of them, call the same."""


@functools.cache
def compiled(program: Program, devices: Mesh) -> Compiled:
    lowered = program.lowered_for(devices)
    text = lowered.as_text()
    digest = hashlib.sha256(text.encode()).hexdigest()
    if digest not in KNOWN:
        began = time.perf_counter()
        made = lowered.compile()
        KNOWN[digest] = Compiled(
            digest,
            bool(re.search("callback", text, re.IGNORECASE)),
            "f64" in text,
            round(time.perf_counter() - began, 2),
            made.memory_analysis(),
            made.output_shardings,
            made.out_info,
        )
    return KNOWN[digest]


def rehearsed(target: str, call: Any) -> Rehearsal:
    rehearsal = Rehearsal(target, counts=True)
    with watching(rehearsal), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        settings = getattr(call(), "settings", {})
    rehearsal.rows = settings.get("batch_size", 0)
    return rehearsal


def runs(network: str, target: str, rows: int) -> Iterator[tuple[str, Any]]:
    """(name, run) of everything on a network: first all metrics, then each explainer."""
    chips = Mesh(np.array(jax.devices()[: CHIPS[target]]), ("data",))
    gradient = {"g": je.explain.Gradient()}
    if network == "digits":
        yield "metrics", lambda: cases.evaluate(cases.METRICS, gradient, mesh=chips)
        yield "rounds", lambda: cases.evaluate(cases.METRICS, gradient, mesh=chips, tolerance=0.1)
        yield "meta", lambda: cases.meta_evaluate(gradient, mesh=chips)
        for name, e in cases.explainers().items():
            yield name, lambda name=name, e=e: attributed(e, *cases.explained_by(name), chips)
        return
    large, n = cases.large(network), rows * CHIPS[target]
    yield "metrics", lambda: large.evaluate(n, large.metrics(), gradient, mesh=chips)
    x, y = np.zeros((n, *large.shape), np.float32), np.arange(n) % large.n_classes
    for name, e in large.explainers().items():
        yield name, lambda e=e: je.attribute(e, large.model, x, y, mesh=chips)


def attributed(e: Any, model: je.Model, x: Any, chips: Mesh) -> Any:
    """`je.attribute`, with the settings of a run."""
    je.attribute(e, model, x, np.arange(len(x)) % 4, mesh=chips)
    return je.evaluate(
        model, x, np.arange(len(x)) % 4, explainers={"x": x}, metrics={"s": je.Sparseness()},
        mesh=chips, progress=False,
    )  # fmt: skip


def facts(program: Program, found: Compiled) -> dict[str, Any]:
    """Of a compiled program."""
    memory = found.memory
    used = memory.argument_size_in_bytes + memory.output_size_in_bytes + memory.temp_size_in_bytes
    return {
        "program": program.name,
        "calls": program.calls,
        "bytes": used - memory.alias_size_in_bytes,
        "callback": found.callback,
        "float64": found.float64,
        "seconds": found.seconds,
    }


def main(target: str, network: str, rows: int = 32) -> None:
    devices, seen = mesh(target), set()
    plan_for(target, devices)
    for name, run in runs(network, target, rows):
        try:
            rehearsal = rehearsed(target, run)
        except Exception as e:
            print(json.dumps({"run": name, "error": f"{type(e).__name__}: {e}"[:500]}), flush=True)
            continue
        for program in rehearsal.programs:
            try:
                found = compiled(program, devices)
            except Exception as e:
                line = {"program": program.name, "error": f"{type(e).__name__}: {e}"[:500]}
            else:
                if found.digest in seen:
                    continue
                seen.add(found.digest)
                line = facts(program, found)
            print(json.dumps({"run": name, "batch": rehearsal.rows, **line}), flush=True)
        compiled.cache_clear()  # with what JAX keeps, those of a large network fill 24 GB
        jax.clear_caches()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:]))
