"""Tables: a random forest and a regression, explained and scored, with the names of their columns.

    pip install "jaxeval[demo]"
    python docs/examples/tables.py --out tables

scikit-learn's breast cancer data (569 samples, 30 columns) and diabetes data (442 samples).
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import jaxeval as je


def explainers(samples: int) -> dict[str, Any]:
    """Methods that need outputs only; removed features take the mean of the background."""
    mean = {"baseline": "background mean"}
    return {
        "KernelShap": ("KernelShap", {"n_samples": samples, **mean}),
        "Shapley sampling": ("ShapleyValueSampling", {"n_samples": 8, **mean}),
        "ablation": ("FeatureAblation", mean),
        "random": "Random",
    }


def metrics() -> dict[str, Any]:
    """Of faithfulness and complexity, with the background in place of removed features."""
    return {
        "pixel flipping": je.PixelFlipping(baseline="background mean", n_steps=None),
        "insertion": je.Insertion(baseline="background mean", n_steps=None),
        "faithfulness": je.FaithfulnessCorrelation(
            baseline="background mean", subset_size=5, n_runs=64
        ),
        "complexity": je.Complexity(),
    }


def classification(samples: int = 60, shap_samples: int = 128) -> dict[str, Any]:
    """A random forest: its trees become gathers in JAX, so everything runs on the engine."""
    data = load_breast_cancer(as_frame=True)
    x, y = data.data, data.target_names[data.target]  # labels are text
    train, test = slice(None, None, 2), slice(1, 2 * samples, 2)
    forest = RandomForestClassifier(60, random_state=0).fit(x[train], y[train])
    model = je.from_sklearn(forest, x[train])
    print(
        f"{forest.score(x[1::2], y[1::2]):.1%} of the test set are right; classes {model.classes}"
    )

    given = {"background": x[train], "key": 0}
    results = je.evaluate(
        model, x[test], y[test], explainers=explainers(shap_samples), metrics=metrics(),
        output="probability", **given,
    )  # fmt: skip
    maps = {
        name: je.attribute(e, model, x[test], y[test], **given)
        for name, e in explainers(shap_samples).items()
    }
    return {"results": results, "maps": maps, "x": x[test], "y": y[test], "model": model}


def regression(samples: int = 60, shap_samples: int = 128) -> dict[str, Any]:
    """A ridge regression: y says which output is explained, and there is one, so none is given."""
    data = load_diabetes(as_frame=True, scaled=False)
    x, target = data.data, data.target
    model = je.from_sklearn(make_pipeline(StandardScaler(), Ridge()).fit(x, target), x)
    given = {"background": x, "key": 0}
    methods = {
        "integrated gradients": ("IntegratedGradients", {"baseline": "background mean"}),
        **explainers(shap_samples),
    }
    few = x[:samples]
    results = je.evaluate(model, few, explainers=methods, metrics=metrics(), **given)
    maps = {name: je.attribute(e, model, few, **given) for name, e in methods.items()}
    return {"results": results, "maps": maps, "x": few, "model": model}


def pictures(forest: dict[str, Any], ridge: dict[str, Any]) -> dict[str, plt.Figure]:
    shown = {k: v for k, v in forest["maps"].items() if k != "random"}
    results = forest["results"]
    return {
        "bars": je.plot.bars(forest["x"], shown, titles=list(forest["y"]), n=2, top=6),
        "importance": je.plot.importance(shown, list(forest["x"]), top=10),
        "extremes": je.plot.best_and_worst(
            results, "KernelShap", "pixel flipping", forest["x"], forest["maps"]["KernelShap"], n=2
        ),
        "curves": je.plot.curves(results, "pixel flipping"),
        "regression": je.plot.bars(ridge["x"], ridge["maps"], n=2, top=5),
    }


def main(out: Path, samples: int, shap_samples: int) -> None:
    forest, ridge = classification(samples, shap_samples), regression(samples, shap_samples)
    for found in (forest, ridge):
        print(found["results"].summary().round(3).to_string(index=False))
        print(found["results"].ranking().to_string())
    out.mkdir(parents=True, exist_ok=True)
    for name, figure in pictures(forest, ridge).items():
        figure.savefig(out / f"{name}.png", dpi=120)
    print(f"the pictures are in {out}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("tables"), help="folder to write to")
    parser.add_argument("--samples", type=int, default=60, help="rows to explain")
    parser.add_argument("--shap-samples", type=int, default=256, help="evaluations of KernelShap")
    given = parser.parse_args()
    main(given.out, given.samples, given.shap_samples)
