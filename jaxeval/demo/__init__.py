"""The demonstration: ten explainers of a digit classifier under fourteen metrics.

``jaxeval demo`` runs it; ``run(Path("demo"))`` does the same from Python.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from .. import explain, metrics, plot
from ..api import attribute, evaluate
from ..data import digits, digits_cnn
from ..metric import Metric
from ..model import Model
from ..plot.style import new_figure
from ..results import Results
from .report import Clock, announce, costs, print_table, remarks, where

BACKGROUND = 0.0
RADIUS = 0.1  # of noise; the pixels of the digits have 17 grey levels, 1/16 apart
FILES = ("scores.parquet", "attributions.png", "curves.png", "radar.png", "ranks.png")
SHOWN = 6


def explainers() -> dict[str, explain.Explainer]:
    """Eight explainers, and two controls that do not use the model."""
    return {
        "Saliency": explain.Saliency(),
        "InputXGradient": explain.InputXGradient(),
        "IntegratedGradients": explain.IntegratedGradients(n_steps=16, baseline=BACKGROUND),
        "SmoothGrad": explain.SmoothGrad(n_samples=16),
        "Occlusion": explain.Occlusion(window=3, baseline=BACKGROUND),
        "KernelShap": explain.KernelShap(n_samples=48, patch=2, baseline=BACKGROUND),
        "LRP": explain.LRP(rule="epsilon_plus"),
        "DeepLift": explain.DeepLift(baseline=BACKGROUND),
        "Sobel": explain.Sobel(),
        "Random": explain.Random(),
    }


def chosen_metrics() -> dict[str, Metric]:
    """Metrics of five families, with settings for images of 64 pixels in [0, 1].

    Removed pixels become background, which is also the explainers' baseline. If they became white,
    strokes would not change, and metrics would rank maps of the strokes behind noise. There is no
    localisation metric, as the digit fills its image.
    """
    m: Any = metrics.METRICS
    gone = {"baseline": BACKGROUND}
    chosen = (
        m["PixelFlipping"](n_steps=32, **gone),
        m["Insertion"](n_steps=32, **gone),
        m["RegionPerturbation"](patch_size=2, **gone),
        m["FaithfulnessCorrelation"](n_runs=100, subset_size=16, **gone),
        m["FaithfulnessEstimate"](**gone),
        m["SensitivityN"](n_runs=50, **gone),
        # Without normalisation the scale of a map counts, too: a faint map of anything would beat
        # a good one that is ten times too large.
        m["Infidelity"](n_samples=50, std=0.2, normalised=True),
        m["MaxSensitivity"](radius=RADIUS, n_samples=10),
        m["AvgSensitivity"](radius=RADIUS, n_samples=10),
        m["Sparseness"](),
        m["Complexity"](),
        m["MPRT"](),
        m["RandomLogit"](),
        m["Completeness"](**gone),
    )
    return {type(metric).__name__: metric for metric in chosen}


def run(
    out: Path,
    samples: int = 500,
    batch_size: int | None = None,
    seed: int = 0,
    console: Console | None = None,
    progress: bool = True,
) -> Results:
    """Evaluate, print the results, and write `FILES` into the folder `out`.

    Args:
      out: created if missing; files with these names are replaced.
      samples: number of held-out digits, from the first.
      batch_size: maximum number of model evaluations at once; None: one per sample.
      seed: seed of all randomness.
      console: where to print; default: standard output.
      progress: whether to show a progress bar on standard error.

    Raises:
      ValueError: more samples than available, or fewer than 2.
      ImportError: a dependency is missing; the message says how to install it.
    """
    console = console or Console()
    clock = Clock()
    with clock("data and model"):
        new_figure(1, 1)  # fails early if matplotlib is missing
        data, model = digits(), digits_cnn()
        if not 2 <= samples <= len(data.x_test):
            raise ValueError(f"samples must lie in 2..{len(data.x_test)}, got {samples}")
        logits = np.asarray(model(data.x_test))
        accuracy = float((logits.argmax(-1) == data.y_test).mean())
        x, y = data.x_test[:samples], data.y_test[:samples]
    methods, asked = explainers(), chosen_metrics()
    announce(console, samples, accuracy, len(data.x_test), methods, asked)

    with clock("evaluation"):
        results = evaluate(
            model,
            x,
            explainers=methods,
            metrics=asked,
            key=seed,
            batch_size=batch_size or samples,
            progress=progress,
        )
    print_table(results, console)
    remarks(results, console)

    with clock("files"):
        out.mkdir(parents=True, exist_ok=True)
        results.save(out / FILES[0])
        rows = _one_of_each(results.y)
        figures = (
            plot.attributions(
                x[rows],
                _shown_maps(results, model, x, methods, rows, seed),
                titles=[_title(results.y[i], y[i]) for i in rows],
                channel_axis=-1,
                n=len(rows),
            ),
            plot.curves(
                results,
                "PixelFlipping",
                xlabel="fraction of pixels removed, highest attribution first",
                ylabel="probability of the class, 95 % band",
            ),
            plot.radar(results),
            plot.ranks(results),
        )
        for name, figure in zip(FILES[1:], figures, strict=True):
            figure.savefig(out / name, dpi=160, bbox_inches="tight")
    costs(results, clock, console)
    where(out, FILES, console)
    return results


# -- computed in addition to the scores ------------------------------------------------------------


def _one_of_each(y: np.ndarray) -> np.ndarray:
    """The first sample of each of up to `SHOWN` classes."""
    return np.sort(np.unique(y, return_index=True)[1])[:SHOWN]


def _title(predicted: Any, label: Any) -> str:
    return f"{predicted}" if predicted == label else f"{predicted} (is a {label})"


def _shown_maps(
    results: Results, model: Model, x: Any, methods: Any, rows: np.ndarray, seed: int
) -> dict[str, np.ndarray]:
    """The maps of some rows as they were scored, using the compiled programs."""
    width = results.settings["chunk_width"]
    i = np.resize(rows, width)
    return {
        name: np.asarray(
            attribute(method, model, x[i], results.y[i], index=i, key=seed, batch_size=width)
        )[: len(rows)]
        for name, method in methods.items()
    }
