"""Segmentation and detection: a function of the output says what is explained.

    pip install "jaxeval[demo,image]"
    python docs/examples/segmentation.py --out segmentation

scikit-image's photograph of coins. A small network says of each pixel whether it is part of a coin;
its targets are the coins that a threshold finds. Two questions are asked of it: why is this area a
coin (segmentation), and why is there a coin at this place (detection)?
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from skimage import data, filters, morphology
from skimage.transform import resize
from sklearn.neural_network import MLPClassifier

import jaxeval as je

SIDE, REACH = 32, 4
"""Pixels of a crop, and how far a pixel's decision looks."""


def photograph() -> tuple[np.ndarray, np.ndarray]:
    """The photograph [H, W] in [0, 1] at a third of its size, and where its coins are."""
    image = resize(data.coins() / 255, (101, 128), anti_aliasing=True)
    above = image > filters.threshold_local(image, 51)
    return image, morphology.opening(above & (image > filters.threshold_otsu(image) * 0.8))


def network() -> tuple[Any, dict[str, Any]]:
    """(apply, params) of a network x [N, 1, H, W] -> logits of "coin" [N, H, W], two layers.

    A perceptron is trained on the surroundings of pixels; its weights are those of convolutions.
    """
    image, coins = photograph()
    wide = np.pad(image, REACH, mode="edge")
    around = np.lib.stride_tricks.sliding_window_view(wide, (2 * REACH + 1,) * 2)
    rows = around.reshape(-1, (2 * REACH + 1) ** 2)
    net = MLPClassifier(hidden_layer_sizes=(12,), max_iter=60, random_state=0)
    net.fit(rows, coins.ravel())
    print(f"{net.score(rows, coins.ravel()):.1%} of the pixels are right")
    (first, second), (b, c) = net.coefs_, net.intercepts_
    side = 2 * REACH + 1
    params = {
        "first": {"w": first.T.reshape(-1, 1, side, side).astype(np.float32), "b": np.float32(b)},
        "second": {"w": np.float32(second[:, 0]), "b": np.float32(c[0])},
    }

    def apply(p: Any, x: Any) -> Any:
        wide = jnp.pad(x, ((0, 0), (0, 0), (REACH, REACH), (REACH, REACH)), mode="edge")
        h = jax.lax.conv(wide, jnp.asarray(p["first"]["w"]), (1, 1), "VALID")
        h = jax.nn.relu(h + p["first"]["b"][:, None, None])
        return jnp.tensordot(h, p["second"]["w"], ((1,), (0,))) + p["second"]["b"]

    return apply, params


def crops(n: int) -> tuple[np.ndarray, np.ndarray]:
    """x [N, 1, SIDE, SIDE], each with a coin in its middle, and which pixels are of that coin."""
    from skimage.measure import label, regionprops

    image, coins = photograph()
    x, masks = [], []
    labels = label(coins)
    for region in sorted(regionprops(labels), key=lambda r: -r.area):
        top, left = (round(v) - SIDE // 2 for v in region.centroid)
        inside = top >= 0 and left >= 0
        if inside and top + SIDE <= image.shape[0] and left + SIDE <= image.shape[1]:
            at = np.s_[top : top + SIDE, left : left + SIDE]
            x.append(image[at][None])
            masks.append(labels[at] == region.label)
    return np.stack(x[:n]).astype(np.float32), np.stack(masks[:n])


def of_area(apply: Any, params: Any) -> je.Model:
    """Segmentation: output 0 is the mean logit of what the network itself calls a coin here.

    The area is that of the input that is asked about. It is no function that can be differentiated,
    so its gradient is stopped.
    """

    def value(p: Any, x: Any) -> Any:
        z = apply(p, x)
        area = jax.lax.stop_gradient((z > 0).astype(z.dtype))
        return (z * area).sum((1, 2))[:, None] / SIDE**2

    return je.Model(value, params, outputs="values")


def of_place(apply: Any, params: Any) -> je.Model:
    """Detection: output 0 is the score of the box that is explained, here the middle of the crop.

    For a detector with boxes [N, B, 4] and scores [N, B, K] it would be the score of class k of the
    box that overlaps the explained one most: ``scores[:, :, k]`` at ``iou(boxes, box).argmax(1)``.
    """
    box = np.s_[:, SIDE // 2 - 4 : SIDE // 2 + 4, SIDE // 2 - 4 : SIDE // 2 + 4]
    return je.Model(lambda p, x: apply(p, x)[box].mean((1, 2))[:, None], params, outputs="values")


def main(out: Path, samples: int) -> dict[str, Any]:
    apply, params = network()
    x, masks = crops(samples)
    methods = {
        "gradient x input": ("InputXGradient", {"reduce_channels": "sum"}),
        "integrated gradients": (
            "IntegratedGradients", {"baseline": "mean", "reduce_channels": "sum"}
        ),
        "occlusion": ("Occlusion", {"window": 5, "stride": 2, "baseline": "mean",
                                    "reduce_channels": "sum"}),
    }  # fmt: skip
    found: dict[str, Any] = {"x": x, "masks": masks}
    for name, model in (("area", of_area(apply, params)), ("place", of_place(apply, params))):
        results = je.evaluate(
            model, x, explainers=methods, mask=masks,
            metrics={
                "deletion": je.Deletion(n_steps=16, baseline="mean"),
                "faithfulness": je.FaithfulnessCorrelation(
                    baseline="mean", subset_size=64, n_runs=64
                ),
                "mass in the coin": je.RelevanceMassAccuracy(),
            },
        )  # fmt: skip
        print(name, results, sep="\n")
        maps = {m: np.asarray(je.attribute(e, model, x)) for m, e in methods.items()}
        found[name] = {"results": results, "maps": maps}
    out.mkdir(parents=True, exist_ok=True)
    shown = {"the coin": masks[:, None].astype(float)}
    for name in ("area", "place"):
        shown |= {f"{m}, {name}": a for m, a in found[name]["maps"].items()}
    je.plot.attributions(x, shown, channel_axis=1, n=3).savefig(out / "segmentation.png", dpi=120)
    print(f"segmentation.png is in {out}")
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("segmentation"), help="folder")
    parser.add_argument("--samples", type=int, default=12, help="coins to explain")
    given = parser.parse_args()
    main(given.out, given.samples)
