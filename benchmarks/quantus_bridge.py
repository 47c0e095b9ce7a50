"""Times `jaxeval_quantus` against Quantus: the same script, with the import changed.

For each metric, one process: Quantus's own call, our first call (with converting and compiling, if
the estimate of the job says so), and our calls when everything is compiled. Scores of metrics that
have Quantus's definition are compared first.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
import warnings
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[1] / "bridges")]

import jaxeval_quantus  # noqa: E402
import numpy as np  # noqa: E402
import quantus  # noqa: E402
import torch  # noqa: E402
from quantus.functions.explanation_func import explain  # noqa: E402

from benchmarks import networks  # noqa: E402
from benchmarks.resnet18 import resnet18  # noqa: E402
from benchmarks.timing import geometric_mean, load, machine  # noqa: E402

ROW, PATCHES = object(), object()
"""Stand for the width of an image, and for patch sizes that divide it."""
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "FaithfulnessCorrelation": ("Gradient", {}),
    "FaithfulnessEstimate": ("Gradient", {"features_in_step": ROW}),
    "PixelFlipping": ("Gradient", {"features_in_step": ROW}),
    "PixelFlipping, each pixel": ("Gradient", {}),
    "RegionPerturbation": ("Gradient", {"patch_size": 4}),
    "Selectivity": ("Gradient", {"patch_size": 4}),
    "MonotonicityCorrelation": ("Gradient", {"features_in_step": ROW, "nr_samples": 10}),
    "NonSensitivity": ("Gradient", {}),
    "Infidelity": ("Gradient", {"perturb_patch_sizes": PATCHES, "n_perturb_samples": 1}),
    "MaxSensitivity": ("Gradient", {"nr_samples": 100}),
    "MaxSensitivity, IG": ("IntegratedGradients", {"nr_samples": 20}),
    "AvgSensitivity": ("Saliency", {"nr_samples": 100}),
    "LocalLipschitzEstimate": ("Saliency", {"nr_samples": 100}),
    "RelativeInputStability": ("Gradient", {"nr_samples": 100}),
    "RelativeOutputStability": ("Gradient", {"nr_samples": 100}),
    "Continuity": ("Gradient", {}),
    "MPRT": ("Gradient", {}),
    "MPRT, IG": ("IntegratedGradients", {}),
    "SmoothMPRT": ("Gradient", {"nr_samples": 20}),
    "EfficientMPRT": ("Gradient", {"complexity_func_kwargs": {"n_bins": 100}}),
    "RandomLogit": ("Gradient", {"num_classes": 10}),
    "Completeness": ("Gradient", {}),
    "Sufficiency": ("Gradient", {}),
    "Consistency": ("Gradient", {}),
    "InputInvariance": ("Gradient", {}),
    "Sparseness": ("Gradient", {}),
}
"""{case: (method, settings)}; the metric is the part before the comma."""
EACH_ENTRY = {"PixelFlipping, each pixel", "NonSensitivity"}
"""Ask once for each entry of x: an hour on a ResNet-18, whose images have 12,288."""


def scores(library: Any, case: str, network: Any, a: Any) -> tuple[np.ndarray, float]:
    """(scores, seconds)."""
    name = case.partition(",")[0]
    method, fields = CASES[case]
    side = network.x_torch.shape[-1]
    sized = {ROW: side, PATCHES: [s for s in range(4, 9) if side % s == 0][:2]}
    fields = {k: sized.get(v, v) if type(v) is object else v for k, v in fields.items()}
    fields = {"disable_warnings": True, "return_aggregate": False, **fields}
    np.random.seed(0)
    torch.manual_seed(0)
    call: dict[str, Any] = {"explain_func": library.explain, "a_batch": a.copy()}
    call |= {"explain_func_kwargs": {"method": method}, "channel_first": True}
    if name != "EfficientMPRT":
        call["softmax"] = False
    began = time.perf_counter()
    found = getattr(library, name)(**fields)(
        model=network.torch, x_batch=network.x_torch, y_batch=network.y, **call
    )
    took = time.perf_counter() - began
    values = list(found.values()) if isinstance(found, dict) else found
    return np.asarray(values, float), took


def measure(case: str, network: Any) -> tuple[str, dict[str, float] | None]:
    """(a line of the table, times); no times where Quantus fails."""
    method, _ = CASES[case]
    row = jaxeval_quantus.rows.ROWS[case.partition(",")[0]]
    a = explain(network.torch, network.x_torch, network.y, method=method)
    try:
        want, first = scores(quantus, case, network, a)
    except Exception as e:  # of Quantus: a first layer without a bias has no InputInvariance
        return f"| {case} | fails: {type(e).__name__} | | | | | | |", None
    jaxeval_quantus.clear_log()
    _, ours_first = scores(jaxeval_quantus, case, network, a)
    who = {e.engine for e in jaxeval_quantus.log() if e.metric != "explain"}
    own = row.run is None and not row.explains
    with contextlib.nullcontext() if own else jaxeval_quantus.engine("jaxeval"):
        got = scores(jaxeval_quantus, case, network, a)[0]
        warm = min(scores(jaxeval_quantus, case, network, a)[1] for _ in range(2))
    theirs = min(first, scores(quantus, case, network, a)[1])
    gap = (
        "paper's" if row.paper else f"{np.nanmax(np.abs(got - want)) / np.nanmax(np.abs(want)):.0e}"
    )
    line = (
        f"| {case} | {theirs:.3f} | {ours_first:.3f} | {'/'.join(sorted(who))} | "
        f"{first / ours_first:.2f} | {warm:.3f} | {theirs / warm:.1f} | {gap} |"
    )
    return line, {"first": first / ours_first, "warm": theirs / warm, "asks": not own}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--network", choices=("lenet", "residual", "resnet18"), default="lenet")
    parser.add_argument("--samples", type=int, default=64)
    parser.add_argument("--only", help="cases whose names contain this")
    parser.add_argument("--threads", type=int, help="of torch")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    if options.threads:
        torch.set_num_threads(options.threads)
    make = resnet18 if options.network == "resnet18" else getattr(networks, options.network)
    network = make(options.samples)
    lines = [
        f"{options.network}, {options.samples} samples. "
        + machine(("jax", "jaxlib", "numpy", "torch", "captum", "quantus"))
        + f"; load {load()}.",
        "",
        "| metric | Quantus, s | first call, s | answered by | ratio | warm, s | ratio | apart |",
        "|---|---|---|---|---|---|---|---|",
    ]
    print("\n".join(lines), flush=True)
    found = []
    for case in CASES:
        if options.only and options.only not in case:
            continue
        if options.network == "resnet18" and case in EACH_ENTRY and not options.only:
            continue
        line, ratios = measure(case, network)
        print(line, flush=True)
        lines.append(line)
        found += [ratios] if ratios else []
    end = [
        "",
        f"Slowest first call: {min(r['first'] for r in found):.2f} of Quantus's speed. Compiled, "
        "geometric mean where the model is asked: "
        f"{geometric_mean([r['warm'] for r in found if r['asks']]):.1f} times as fast.",
    ]
    print("\n".join(end))
    if options.out:
        options.out.write_text("\n".join(lines + end) + "\n")


if __name__ == "__main__":
    main()
