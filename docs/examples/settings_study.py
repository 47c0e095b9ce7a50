"""Does the ranking of explainers depend on a metric's settings? A study on digits, as one page.

``python docs/examples/settings_study.py --out study`` writes ``report.html``, ``stability.png`` and
``differences.png``; with ``--samples 500`` it takes some minutes on two cores.
"""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path

import numpy as np

import jaxeval as je
from jaxeval import demo


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("study"))
    parser.add_argument("--samples", type=int, default=200)
    given = parser.parse_args()
    data, model = je.data.digits(), je.data.digits_cnn()
    x = data.x_test[: given.samples]

    metrics: dict[str, je.Metric] = {
        f"correlation, {size} pixels to {baseline}": je.FaithfulnessCorrelation(
            subset_size=size, baseline=baseline, n_runs=100
        )
        for size, baseline in itertools.product((2, 8, 16, 32), ("black", "mean", "uniform"))
    }
    metrics["flipping"] = je.PixelFlipping(n_steps=32, baseline="black")
    metrics["insertion"] = je.Insertion(n_steps=32, baseline="black")
    metrics["max sensitivity"] = je.MaxSensitivity(radius=0.1, n_samples=10)
    metrics["sparseness"] = je.Sparseness()

    explainers = demo.explainers()
    results = je.evaluate(model, x, explainers=explainers, metrics=metrics, batch_size=200)
    print(results.rank_stability().round(2).to_string())
    print(results.sensitivity().round(3).to_string(index=False))
    print(results.sensitivity("value").round(3).to_string(index=False))
    print(results.agreement().round(3).to_string())
    print(results.friedman("flipping"))

    given.out.mkdir(parents=True, exist_ok=True)
    for name, figure in {
        "stability": je.plot.rank_stability(results),
        "differences": je.plot.critical_difference(results, "flipping"),
    }.items():
        figure.savefig(given.out / f"{name}.png", dpi=130, bbox_inches="tight")
    maps = {
        name: np.asarray(je.attribute(method, model, x, results.y))
        for name, method in explainers.items()
    }
    results.save(given.out / "scores.parquet")
    page = results.report(
        given.out / "report.html",
        title="Explanations of digits",
        x=x,
        attributions=maps,
        channel_axis=-1,
        metric="flipping",
    )
    print(page, f"{page.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
