"""Several inputs: an image and a table of one sample, explained together or one of them alone.

    pip install "jaxeval[demo]"
    python docs/examples/several_inputs.py --out several

scikit-learn's digits: a network with two branches reads the image and, as a table, how much ink is
in each of its eight rows.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax

import jaxeval as je


class TwoBranches(nn.Module):
    @nn.compact
    def __call__(self, x: dict[str, jax.Array]) -> jax.Array:
        image = nn.relu(nn.Conv(8, (3, 3))(x["image"])).reshape(len(x["image"]), -1)
        table = nn.relu(nn.Dense(16)(x["ink"]))
        return nn.Dense(10)(jnp.concatenate([image, table], -1))


def inputs(images: np.ndarray) -> dict[str, np.ndarray]:
    return {"image": images, "ink": images.sum((2, 3)) / 4}


def trained(steps: int = 150) -> tuple[je.Model, dict[str, np.ndarray], np.ndarray]:
    """The model, and the inputs and labels of the test set."""
    data, net = je.data.digits(), TwoBranches()
    x, y = inputs(data.x_train), jnp.asarray(data.y_train)
    params = net.init(jax.random.key(0), x)
    optimiser = optax.adam(5e-3)
    state = optimiser.init(params)

    @jax.jit
    def step(params: Any, state: Any) -> Any:
        def loss(p: Any) -> Any:
            return optax.softmax_cross_entropy_with_integer_labels(net.apply(p, x), y).mean()

        updates, state = optimiser.update(jax.grad(loss)(params), state)
        return optax.apply_updates(params, updates), state

    for _ in range(steps):
        params, state = step(params, state)
    test = inputs(data.x_test)
    right = (net.apply(params, test).argmax(-1) == data.y_test).mean()
    print(f"{right:.1%} of the test set are right")
    return je.Model(net.apply, params), test, data.y_test


def main(out: Path, samples: int, steps: int = 150) -> dict[str, Any]:
    model, test, y = trained(steps)
    x, y = {k: v[:samples] for k, v in test.items()}, y[:samples]
    methods = {
        "gradient x input": "InputXGradient",
        "integrated gradients": ("IntegratedGradients", {"baseline": 0.0}),
        "ablation": ("FeatureAblation", {"baseline": 0.0}),
    }
    # All entries of both inputs are features: 64 pixels and 8 sums.
    results = je.evaluate(
        model, x, y, explainers=methods,
        metrics={
            "pixel flipping": je.PixelFlipping(baseline=0.0, n_steps=None),
            "faithfulness": je.FaithfulnessCorrelation(baseline=0.0, subset_size=8, n_runs=64),
        },
    )  # fmt: skip
    print(results)
    maps = {name: je.attribute(e, model, x, y) for name, e in methods.items()}  # dicts, as x

    # Each input as one feature: what does it contribute as a whole?
    joined = je.join_inputs(model, x)
    whole = je.attribute(
        je.explain.FeatureAblation(features=joined.groups, baseline=0.0), joined.model, joined.x, y
    )
    share = {k: float(np.abs(v[:, :1]).mean()) for k, v in joined.split(whole).items()}
    print("mean drop of the logit without", {k: round(v, 2) for k, v in share.items()})

    out.mkdir(parents=True, exist_ok=True)
    picture(x, y, maps).savefig(out / "several.png", dpi=120)
    print(f"several.png is in {out}")
    return {"results": results, "maps": maps, "x": x, "share": share}


def picture(
    x: dict[str, np.ndarray], y: np.ndarray, maps: dict[str, Any], n: int = 3
) -> plt.Figure:
    """The image with its map, and the table with its bars, for each method."""
    figure = plt.figure(figsize=(10, 2.1 * n), layout="constrained")
    for line, part in enumerate(figure.subfigures(n, 1, squeeze=False)[:, 0]):
        grid = part.subplots(1, 2 * len(maps) + 1)
        grid[0].imshow(x["image"][line, ..., 0], cmap="gray")
        grid[0].set(title=f"a {y[line]}", xticks=[], yticks=[])
        for i, (name, a) in enumerate(maps.items()):
            image, bars = grid[1 + 2 * i : 3 + 2 * i]
            both = max(np.abs(v[line]).max() for v in a.values())
            style = {"cmap": "RdBu_r", "vmin": -both, "vmax": both}
            image.imshow(a["image"][line, ..., 0], **style)
            image.set(xticks=[], yticks=[])
            image.set_title(name if line == 0 else "", fontsize=8)
            bars.barh(range(8), a["ink"][line], color="#0072B2")
            bars.set(ylim=(7.5, -0.5), xlim=(-both, both), yticks=[])
            bars.set_title("ink" if line == 0 else "", fontsize=8)
            bars.tick_params(labelsize=7)
    return figure


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("several"), help="folder to write to")
    parser.add_argument("--samples", type=int, default=100, help="digits to explain")
    given = parser.parse_args()
    main(given.out, given.samples)
