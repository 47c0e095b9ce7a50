"""Four methods by six metrics of Quantus, on colour photographs: one import is another.

    pip install "jaxeval[plot,quantus,image]"
    python docs/examples/quantus_tutorial.py --out photographs

A small CNN tells patches of four of scikit-image's photographs apart, 3 x 32 x 32. One call of
`quantus.evaluate`, a table, and the ranks of the methods.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import jaxeval_quantus as quantus
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from skimage import data
from torch import nn

PHOTOGRAPHS = ("astronaut", "chelsea", "coffee", "rocket")
METHODS: dict[str, dict[str, Any]] = {
    "Saliency": {},
    "Gradient": {},
    "InputXGradient": {},
    "IntegratedGradients": {},
}
LOWER = ("Max-Sensitivity", "Random Logit", "Pixel-Flipping")
"""Metrics of which less is better."""


def patches(n: int, seed: int, side: int = 32) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(x [4 n, 3, side, side], y, s): patches, their photograph, and where they are bright."""
    rng, x = np.random.default_rng(seed), []
    for name in PHOTOGRAPHS:
        image = getattr(data, name)() / 255.0
        for top, left in rng.integers(0, np.array(image.shape[:2]) - side, (n, 2)):
            x.append(image[top : top + side, left : left + side].transpose(2, 0, 1))
    x, y = np.stack(x).astype(np.float32), np.repeat(np.arange(4), n)
    grey = x.mean(1, keepdims=True)
    order = rng.permutation(4 * n)
    return x[order], y[order], (grey > grey.mean((2, 3), keepdims=True))[order]


def trained(x: np.ndarray, y: np.ndarray, epochs: int = 4) -> nn.Module:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 16, 5, stride=2), nn.ReLU(), nn.Conv2d(16, 32, 3, stride=2), nn.ReLU(),
        nn.Flatten(), nn.Linear(32 * 36, 64), nn.ReLU(), nn.Linear(64, 4),
    )  # fmt: skip
    optimiser = torch.optim.Adam(net.parameters(), 2e-3)
    for _ in range(epochs):
        for rows in torch.randperm(len(x)).split(64):
            optimiser.zero_grad()
            logits = net(torch.from_numpy(x)[rows])
            torch.nn.functional.cross_entropy(logits, torch.from_numpy(y)[rows]).backward()
            optimiser.step()
    return net.eval()


def walk_through(quantus: Any = quantus, samples: int = 12, nr: int = 8) -> pd.DataFrame:
    """Mean scores: a row for each metric, a column for each method."""
    model = trained(*patches(250, seed=0)[:2])
    x_batch, y_batch, s_batch = patches(samples // 4, seed=1)
    common = {"disable_warnings": True, "normalise": True, "abs": True}
    metrics = {
        "Faithfulness Correlation": quantus.FaithfulnessCorrelation(
            nr_runs=4 * nr, subset_size=224, perturb_baseline="black", **common
        ),
        "Pixel-Flipping": quantus.PixelFlipping(
            features_in_step=128, return_auc_per_sample=True, **common
        ),
        "Max-Sensitivity": quantus.MaxSensitivity(nr_samples=nr, **common),
        "Relevance Rank Accuracy": quantus.RelevanceRankAccuracy(**common),
        "Sparseness": quantus.Sparseness(**common),
        "Random Logit": quantus.RandomLogit(num_classes=4, seed=42, **common),
    }
    np.random.seed(0)
    return quantus.evaluate(
        metrics,
        METHODS,
        model,
        x_batch,
        y_batch,
        s_batch,
        agg_func=lambda scores: float(np.nanmean(scores)),
        return_as_df=True,
        batch_size=16,
    )


def draw(table: pd.DataFrame) -> plt.Figure:
    """Ranks of the methods by each metric; 1 is best."""
    better = table.astype(float).copy()
    better.loc[list(LOWER)] *= -1
    ranks = better.rank(axis=1, ascending=False)
    figure, axes = plt.subplots(figsize=(7.5, 3.6), layout="constrained")
    image = axes.imshow(ranks, cmap="YlGn_r", vmin=0.5, vmax=4.5, aspect="auto")
    names = [name.replace("Gradient", "\nGradient").strip() for name in ranks.columns]
    axes.set_xticks(range(len(names)), names)
    axes.set_yticks(range(len(ranks)), ranks.index)
    for row, column in np.ndindex(*ranks.shape):
        text = f"{table.iloc[row, column]:.3g}"
        dark = ranks.iloc[row, column] < 1.5
        axes.text(column, row, text, ha="center", va="center", color="w" if dark else "k")
    figure.colorbar(image, ticks=[1, 2, 3, 4], label="rank (1 is best)")
    return figure


def main(out: Path, samples: int, nr: int) -> None:
    table = walk_through(samples=samples, nr=nr)
    print(table.astype(float).round(4).to_string())
    print("answered by", sorted({(e.metric, e.engine) for e in quantus.log()}))
    out.mkdir(parents=True, exist_ok=True)
    draw(table).savefig(out / "ranks.png", dpi=120)
    print(f"ranks.png is in {out}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("photographs"), help="folder to write to")
    parser.add_argument("--samples", type=int, default=48, help="patches (default: %(default)s)")
    parser.add_argument("--nr", type=int, default=25, help="noisy copies of each patch")
    given = parser.parse_args()
    main(given.out, given.samples, given.nr)
