"""Curves of Quantus's metrics for a LeNet that tells textures apart: one import is another.

    pip install "jaxeval[plot,quantus,image]"
    python docs/examples/quantus_fashion.py --out textures

Patches of 28 x 28 pixels from scikit-image's photographs of bricks, grass and gravel, in grey.
Removing pixels and regions, and randomising layers, with the plots that Quantus has for them.
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path
from typing import Any

import jaxeval_quantus as quantus
import matplotlib.pyplot as plt
import numpy as np
import torch
from quantus.helpers.model.models import LeNet
from skimage import data

TEXTURES = ("brick", "grass", "gravel")
METHODS = ("Saliency", "InputXGradient")


def textures(n: int, seed: int, side: int = 28) -> tuple[np.ndarray, np.ndarray]:
    """(x [3 n, 1, 28, 28] in [0, 1], y): patches at random places of each photograph."""
    rng, x = np.random.default_rng(seed), []
    for name in TEXTURES:
        image = getattr(data, name)() / 255.0
        for top, left in rng.integers(0, np.array(image.shape) - side, (n, 2)):
            x.append(image[top : top + side, left : left + side])
    order = rng.permutation(3 * n)
    x, y = np.stack(x)[:, None].astype(np.float32), np.repeat(np.arange(3), n)
    return x[order], y[order]


def trained(x: np.ndarray, y: np.ndarray, epochs: int = 10) -> torch.nn.Module:
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


def walk_through(quantus: Any = quantus, samples: int = 12) -> dict[str, Any]:
    """{metric: {method: scores}}."""
    model = trained(*textures(400, seed=0))
    x_batch, y_batch = textures(samples // 3, seed=1)
    common = {"disable_warnings": True, "abs": False, "normalise": True}
    metrics = {
        "Pixel-Flipping": quantus.PixelFlipping(
            features_in_step=28, perturb_baseline="black", **common
        ),
        "Region Perturbation": quantus.RegionPerturbation(
            patch_size=6, regions_evaluation=20, perturb_baseline="uniform", **common
        ),
        "Selectivity": quantus.Selectivity(patch_size=4, perturb_baseline="white", **common),
        "MPRT": quantus.MPRT(
            layer_order="top_down", similarity_func=quantus.correlation_spearman, **common
        ),
    }
    found: dict[str, Any] = {}
    for name, metric in metrics.items():
        found[name] = {}
        for method in METHODS:
            np.random.seed(0)
            found[name][method] = metric(
                model=model,
                x_batch=x_batch,
                y_batch=y_batch,
                a_batch=quantus.explain(model, x_batch, y_batch, method=method),
                explain_func=quantus.explain,
                explain_func_kwargs={"method": method},
            )
    return found


def draw(found: dict[str, Any], y_batch: np.ndarray) -> dict[str, plt.Figure]:
    """Quantus's own plots."""
    plots = quantus.helpers.plotting
    flipped = found["Pixel-Flipping"]["Saliency"]
    calls = {
        "Pixel-Flipping": lambda: plots.plot_pixel_flipping_experiment(y_batch, flipped),
        "Region Perturbation": lambda: plots.plot_region_perturbation_experiment(
            found["Region Perturbation"]
        ),
        "Selectivity": lambda: plots.plot_selectivity_experiment(found["Selectivity"]),
        "MPRT": lambda: plots.plot_model_parameter_randomisation_experiment(
            found["MPRT"], methods=list(METHODS), similarity_metric="rank correlation"
        ),
    }
    figures = {}
    for name, plot in calls.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # tick labels, and no window to show
            plot()
        figures[name] = plt.gcf()
        figures[name].suptitle(name)
        figures[name].tight_layout()
    return figures


def main(out: Path, samples: int) -> None:
    plt.switch_backend("agg")
    found = walk_through(samples=samples)
    print("answered by", sorted({(e.metric, e.engine) for e in quantus.log()}))
    out.mkdir(parents=True, exist_ok=True)
    figures = draw(found, textures(samples // 3, seed=1)[1])
    for name, figure in figures.items():
        figure.savefig(out / f"{name.lower().replace(' ', '_')}.png", dpi=80)
    print(f"{len(figures)} pictures are in {out}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("textures"), help="folder to write to")
    parser.add_argument("--samples", type=int, default=48, help="patches (default: %(default)s)")
    given = parser.parse_args()
    main(given.out, given.samples)
