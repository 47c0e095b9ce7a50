"""A picture of every attribution method, on three digits.

Methods that follow attention explain a small transformer, all others a convolutional network.

``jaxeval gallery`` writes it; ``run(Path("gallery.png"))`` does the same from Python.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from . import explain, plot
from .api import attribute
from .data import digits, digits_cnn, digits_transformer
from .plot.style import new_figure
from .progress import Bar, NoProgress

SHOWN = (2, 5, 8)
"""The digits."""


def explainers(background: Any) -> dict[str, explain.Explainer]:
    """Every method, with settings for images of 8 x 8 pixels whose background is 0.

    Args:
      background: other digits, for methods that compare with samples.
    """
    grid = {"patch": 2}
    layer = {"layer": "Conv_1"}
    unit = {"layer": "Dense_0", "unit": 3}
    fields: dict[str, dict[str, Any]] = {
        **{cls.__name__: unit for cls in explain.FAMILIES["neurons"]},
        "NeuronGradientShap": {"background": background, **unit},
        "Occlusion": {"window": 3},
        "SmoothGrad": {"n_samples": 50, "noise_level": 0.1},
        "DeepLiftShap": {"background": background},
        "LRP": {"rule": "epsilon_plus"},
        "GradientShap": {"background": background},
        "ExpectedGradients": {"background": background},
        "BlurIG": {"max_sigma": 5.0},
        "GuidedIG": {"n_steps": 50},
        "ScoreCAM": {"output": "probability"},
        "LayerActivation": layer,
        "LayerGradientXActivation": layer,
        "LayerConductance": layer,
        "InternalInfluence": layer,
        "LayerIntegratedGradients": layer,
        "LayerGradientShap": {"background": background, **layer},
        "LayerDeepLift": layer,
        "LayerLRP": {"rule": "epsilon_plus", **layer},
        "LayerFeatureAblation": layer,
        "FeaturePermutation": {"background": background, "n_samples": 5},
        "ShapleyValueSampling": grid,
        "KernelShap": {"n_samples": 500, **grid},
        "Lime": {"n_samples": 500, **grid},
        "RISE": {"cells": 4},
        "ExtremalPerturbation": {"areas": 0.3, "n_steps": 200, "step_size": 2, "sigma": 1.5},
    }
    return {name: explain.get(name, **fields.get(name, {})) for name in explain.EXPLAINERS}


def run(out: Path, seed: int = 0, progress: bool = True) -> dict[str, np.ndarray]:
    """Draw the picture into the file `out`, and return the maps that it shows.

    Args:
      seed: of all randomness.
      progress: show a progress bar on standard error.

    Raises:
      ImportError: what it needs is not installed; says how to get it.
    """
    new_figure(1, 1)  # fails now where matplotlib is missing, not after all the work
    data, model = digits(), digits_cnn()
    transformer, attention = digits_transformer(), explain.FAMILIES["attention"]
    rows = [int(np.flatnonzero(data.y_test == label)[0]) for label in SHOWN]
    x = data.x_test[rows]
    y = np.asarray(model(x)).argmax(-1).astype(np.int32)
    methods, maps = explainers(data.x_train[:20]), {}
    bar = Bar("explaining", "methods") if progress else NoProgress()
    bar.start(len(methods))
    try:
        for name, method in methods.items():
            net = transformer if isinstance(method, attention) else model
            maps[name] = np.asarray(attribute(method, net, x, y, key=seed, batch_size=len(x)))
            bar.advance(1)
    finally:
        bar.stop()
    figure = plot.gallery(x, maps, titles=[f"digit {v}" for v in y], channel_axis=-1)
    figure.savefig(out, dpi=200, bbox_inches="tight")
    return maps
