"""Which metrics can be trusted on digits? Twelve metrics of six explainers under perturbations.

``python docs/examples/meta_digits.py --out meta`` writes ``meta.parquet``, ``meta.html`` and four
pictures; with the default 100 samples and 6 perturbations of each kind it takes five minutes on two
cores. docs/meta.md explains what comes of it.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import jaxeval as je

GONE = {"baseline": 0.0}
RADIUS = 0.1


def explainers() -> dict[str, je.explain.Explainer]:
    return {
        "Saliency": je.explain.Saliency(),
        "InputXGradient": je.explain.InputXGradient(),
        "IG": je.explain.IntegratedGradients(n_steps=16, **GONE),
        "SmoothGrad": je.explain.SmoothGrad(n_samples=8),
        "Occlusion": je.explain.Occlusion(window=3, **GONE),
        "LRP": je.explain.LRP(rule="epsilon_plus"),
    }


def metrics() -> dict[str, je.Metric]:
    return {
        "PixelFlipping": je.PixelFlipping(n_steps=16, **GONE),
        "Insertion": je.Insertion(n_steps=16, **GONE),
        "SRG": je.SRG(n_steps=16, **GONE),
        "FaithfulnessCorrelation": je.FaithfulnessCorrelation(n_runs=50, subset_size=16, **GONE),
        "FaithfulnessEstimate": je.FaithfulnessEstimate(**GONE),
        "SensitivityN": je.SensitivityN(n_runs=20, **GONE),
        "Infidelity": je.Infidelity(n_samples=50, std=0.2, normalised=True),
        "MaxSensitivity": je.MaxSensitivity(radius=RADIUS, n_samples=10),
        "RIS": je.RIS(radius=RADIUS, n_samples=10),
        "RandomLogit": je.RandomLogit(),
        "Sparseness": je.Sparseness(),
        "RelevanceMassAccuracy": je.RelevanceMassAccuracy(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("meta"))
    parser.add_argument("--samples", type=int, default=100)
    parser.add_argument("--perturbations", type=int, default=6, help="a multiple of 3")
    given = parser.parse_args()
    data, model = je.data.digits(), je.data.digits_cnn()
    x = data.x_test[: given.samples]
    ink = x > 0.3  # the strokes stand for the object, which localisation metrics ask for

    began = time.perf_counter()
    meta = je.meta_evaluate(
        model,
        x,
        explainers=explainers(),
        metrics=metrics(),
        mask=ink,
        n_perturbations=given.perturbations,
        seeds="both",
    )
    print(f"{time.perf_counter() - began:.0f} s")
    print(meta)
    print(meta.table().round(3).to_string())
    for by in ("recovery", "react", "tau", "MC"):
        print(f"\nby {by}\n{meta.ranking(by).round(3).to_string()}")
    ours, theirs = meta.asked["noise tests"], meta.asked["metaquantus"]
    print({kind: (n, round(theirs[kind] / n, 1)) for kind, n in ours.items() if n})
    again = meta.retest()
    print(again.round(3).to_string())

    given.out.mkdir(parents=True, exist_ok=True)
    meta.save(given.out / "meta.parquet")
    for name, figure in {
        "heat": je.plot.meta_heat(meta),
        "area": je.plot.meta_area(meta, "PixelFlipping"),
        "recovery": je.plot.meta_recovery(meta),
        "retest": je.plot.meta_retest(again),
    }.items():
        figure.savefig(given.out / f"{name}.png", dpi=110, bbox_inches="tight")
    print(meta.report(given.out / "meta.html"))


if __name__ == "__main__":
    main()
