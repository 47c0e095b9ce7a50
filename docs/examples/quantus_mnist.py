"""Two explanations of a LeNet on digits, scored by Quantus's metrics: one import is another.

    pip install "jaxeval[demo,quantus,image]"
    python docs/examples/quantus_mnist.py --out digits

scikit-learn's digits, at 28 x 28 pixels. Apart from its first line this is a script for Quantus.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import jaxeval_quantus as quantus
import matplotlib.pyplot as plt
import numpy as np
import torch
from quantus.helpers.model.models import LeNet
from skimage.transform import resize

import jaxeval as je


def digits() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(x, y, x of the test set, y of the test set), x [N, 1, 28, 28] in [0, 1]."""
    data = je.data.digits()
    large = [
        np.stack([resize(v[..., 0], (28, 28), order=1) for v in part])[:, None].astype(np.float32)
        for part in (data.x_train, data.x_test)
    ]
    return large[0], data.y_train.astype(np.int64), large[1], data.y_test.astype(np.int64)


def trained(x: np.ndarray, y: np.ndarray, epochs: int = 6) -> torch.nn.Module:
    torch.manual_seed(0)
    net = LeNet()
    optimiser = torch.optim.Adam(net.parameters(), 2e-3)
    for _ in range(epochs):
        for rows in torch.randperm(len(x)).split(64):
            optimiser.zero_grad()
            logits = net(torch.from_numpy(x)[rows])
            torch.nn.functional.cross_entropy(logits, torch.from_numpy(y)[rows]).backward()
            optimiser.step()
    return net.eval()


def walk_through(quantus: Any = quantus, samples: int = 24, nr_samples: int = 10) -> dict[str, Any]:
    """{method: {metric: scores}}, and the maps under "maps"."""
    x, y, x_test, y_test = digits()
    model = trained(x, y)
    x_batch, y_batch = x_test[:samples], y_test[:samples]
    with torch.no_grad():
        right = model(torch.from_numpy(x_test)).argmax(1).numpy() == y_test
    print(f"{right.mean():.1%} of the test set are right")

    a_batch = {
        method: quantus.normalise_by_negative(
            quantus.explain(model, x_batch, y_batch, method=method)
        )
        for method in ("Saliency", "IntegratedGradients")
    }
    metrics = {
        "Max-Sensitivity": quantus.MaxSensitivity(
            nr_samples=nr_samples,
            lower_bound=0.2,
            norm_numerator=quantus.fro_norm,
            norm_denominator=quantus.fro_norm,
            perturb_func=quantus.uniform_noise,
            similarity_func=quantus.difference,
            disable_warnings=True,
            normalise=True,
            abs=True,
        ),
        "Faithfulness Correlation": quantus.FaithfulnessCorrelation(
            nr_runs=30,
            subset_size=196,
            perturb_baseline="black",
            perturb_func=quantus.baseline_replacement_by_indices,
            similarity_func=quantus.correlation_pearson,
            abs=False,
            return_aggregate=False,
            disable_warnings=True,
        ),
        "Sparseness": quantus.Sparseness(disable_warnings=True),
    }
    scores: dict[str, Any] = {}
    for method, maps in a_batch.items():
        scores[method] = {}
        for name, metric in metrics.items():
            np.random.seed(42)
            scores[method][name] = metric(
                model=model,
                x_batch=x_batch,
                y_batch=y_batch,
                a_batch=maps,
                device="cpu",
                explain_func=quantus.explain,
                explain_func_kwargs={"method": method},
            )
    return {"scores": scores, "x": x_batch, "maps": a_batch}


def draw(found: dict[str, Any], shown: int = 5) -> plt.Figure:
    """A few digits, their maps, and the scores of all."""
    rows = {"digit": found["x"], **found["maps"]}
    figure = plt.figure(figsize=(11, 4.2), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=(1.3, 1))
    for line, (name, images) in zip(left.subplots(3, shown), rows.items(), strict=True):
        for axes, image in zip(line, images, strict=False):
            style = {"cmap": "gray"} if name == "digit" else {"cmap": "bwr", "vmin": -1, "vmax": 1}
            axes.imshow(image[0], **style)
            axes.set(xticks=[], yticks=[])
        line[0].set_ylabel({"IntegratedGradients": "integrated\ngradients"}.get(name, name))
    names = list(next(iter(found["scores"].values())))
    for axes, name in zip(right.subplots(1, len(names)), names, strict=True):
        values = [scores[name] for scores in found["scores"].values()]
        axes.boxplot(values, tick_labels=["Saliency", "IG"], widths=0.6)
        axes.set_title(name.replace(" ", "\n"), fontsize=9)
    return figure


def main(out: Path, samples: int, nr_samples: int) -> None:
    found = walk_through(samples=samples, nr_samples=nr_samples)
    for method, scores in found["scores"].items():
        for name, values in scores.items():
            print(f"{method:20} {name:26} {np.mean(values):8.4f} +- {np.std(values):.4f}")
    print("answered by", sorted({(e.metric, e.engine) for e in quantus.log()}))
    out.mkdir(parents=True, exist_ok=True)
    draw(found).savefig(out / "digits.png", dpi=120)
    print(f"digits.png is in {out}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("digits"), help="folder to write to")
    parser.add_argument("--samples", type=int, default=64, help="digits (default: %(default)s)")
    parser.add_argument("--nr-samples", type=int, default=100, help="noisy copies of each")
    given = parser.parse_args()
    main(given.out, given.samples, given.nr_samples)
