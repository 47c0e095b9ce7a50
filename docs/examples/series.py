"""Series: which channels and time steps does a forecast of an EEG use?

    pip install "jaxeval[demo]"
    python docs/examples/series.py --out series

The recording that comes with Matplotlib: four channels, 800 time steps. A perceptron reads 32 steps
of all channels and predicts the next value of the first channel.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import jax
import numpy as np
from matplotlib.cbook import get_sample_data
from sklearn.neural_network import MLPRegressor

import jaxeval as je

CHANNELS = ["PG3", "PG5", "PG7", "PG9"]
LENGTH, AHEAD = 32, 1


def windows() -> tuple[np.ndarray, np.ndarray]:
    """x [N, 4, LENGTH] and what is to be predicted [N], standardised."""
    raw = np.frombuffer(get_sample_data("eeg.dat", asfileobj=True).read(), float).reshape(800, 4)
    eeg = (raw - raw.mean(0)) / raw.std(0)
    starts = np.arange(len(eeg) - LENGTH - AHEAD)
    x = np.stack([eeg[i : i + LENGTH].T for i in starts]).astype(np.float32)
    return x, eeg[starts + LENGTH + AHEAD - 1, 0]


def forecast() -> tuple[je.Model, np.ndarray]:
    """A model of x [N, 4, LENGTH] with one plain number as its output, and inputs to explain."""
    x, target = windows()
    half = len(x) // 2
    net = MLPRegressor(hidden_layer_sizes=(16,), max_iter=60, random_state=0, alpha=10.0)
    net.fit(x[:half].reshape(half, -1), target[:half])
    test = x[half + LENGTH :]
    score = net.score(test.reshape(len(test), -1), target[half + LENGTH :])
    print(f"it explains {score:.0%} of the variance in the second half")
    flat = je.from_sklearn(net)
    model = je.Model(
        lambda p, x: flat.apply(p, x.reshape(len(x), -1)), flat.params, outputs="values"
    )
    return model, test


def explained(model: je.Model, x: np.ndarray) -> dict[str, Any]:
    """Methods per channel and time, per time step, and per channel."""
    pieces = {"baseline": 0.0, "patch": (1, 4)}
    per_channel = np.repeat(np.arange(4), LENGTH).reshape(4, LENGTH)
    return {
        "integrated gradients": ("IntegratedGradients", {"baseline": 0.0}),
        "Shapley, 4 steps of a channel": ("ShapleyValueSampling", {"n_samples": 16, **pieces}),
        "occlusion of time steps": ("Occlusion", {"window": (4, 4), "stride": (1, 2)}),
        "ablation of channels": ("FeatureAblation", {"features": per_channel, "baseline": 0.0}),
    }


def main(out: Path, samples: int) -> dict[str, Any]:
    model, x = forecast()
    x = x[:: max(1, len(x) // samples)][:samples]
    methods = explained(model, x)
    results = je.evaluate(
        model, x, explainers=methods,
        metrics={
            "pixel flipping": je.PixelFlipping(baseline=0.0, n_steps=16),
            "faithfulness": je.FaithfulnessCorrelation(baseline=0.0, subset_size=32, n_runs=64),
            "selectivity": je.Selectivity(patch_size=4, baseline=0.0),
            "max sensitivity": je.MaxSensitivity(radius=0.1, n_samples=4),
        },
    )  # fmt: skip
    print(results)
    maps = {name: np.asarray(je.attribute(e, model, x)) for name, e in methods.items()}
    # A map may be reduced to one number per time step, or per channel.
    maps["occlusion of time steps"] = maps["occlusion of time steps"].mean(1, keepdims=True)
    maps["ablation of channels"] = maps["ablation of channels"].mean(2, keepdims=True)
    out.mkdir(parents=True, exist_ok=True)
    figure = je.plot.attributions(x, maps, names=CHANNELS, channel_axis=1, n=3)
    figure.savefig(out / "series.png", dpi=120)
    print(f"series.png is in {out}")
    return {"results": results, "maps": maps, "x": x, "model": model}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("series"), help="folder to write to")
    parser.add_argument("--samples", type=int, default=60, help="windows to explain")
    given = parser.parse_args()
    jax.config.update("jax_default_matmul_precision", "highest")
    main(given.out, given.samples)
