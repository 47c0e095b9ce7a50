"""Volumes: which slices and which places tell a network where the camera moves?

    pip install "jaxeval[demo,image]"
    python docs/examples/volumes.py --out volumes

Photographs of scikit-image, each seen through a window that moves left or right: volumes of time,
height and width, [N, T, H, W, 1]. A network with three-dimensional convolutions tells which.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import numpy as np
import optax
from skimage import color, data
from skimage.transform import resize

import jaxeval as je

LENGTH, SIDE = 6, 10
PHOTOGRAPHS = ("camera", "coffee", "chelsea", "astronaut", "rocket")


class Net(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = nn.relu(nn.Conv(8, (2, 1, 4), padding="VALID")(x))
        return nn.Dense(2)(x.mean((1, 2, 3)))


def clips(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """x [n, LENGTH, SIDE, SIDE, 1] of mean 0 and deviation 1, y [n]: 0 for left, 1 for right."""
    rng = np.random.default_rng(seed)
    photos = []
    for name in PHOTOGRAPHS:
        image = getattr(data, name)()
        grey = color.rgb2gray(image) if image.ndim == 3 else image / 255
        photos.append(resize(grey, (128, 128), anti_aliasing=True))
    x = np.zeros((n, LENGTH, SIDE, SIDE, 1), np.float32)
    y = rng.integers(0, 2, n)
    for i in range(n):
        photo = photos[rng.integers(len(photos))]
        top, left = rng.integers(0, 128 - SIDE), rng.integers(0, 128 - SIDE - LENGTH)
        for t in range(LENGTH):
            shift = left + (t if y[i] else LENGTH - 1 - t)
            x[i, t, ..., 0] = photo[top : top + SIDE, shift : shift + SIDE]
    spread = x.std((1, 2, 3, 4), keepdims=True) + 0.02
    return (x - x.mean((1, 2, 3, 4), keepdims=True)) / spread, y


def trained(steps: int) -> je.Model:
    x, y = clips(512, seed=0)
    net, optimiser = Net(), optax.adam(1e-2)
    params = net.init(jax.random.key(0), x[:1])
    state = optimiser.init(params)

    @jax.jit
    def step(params: Any, state: Any, x: Any, y: Any) -> Any:
        def loss(p: Any) -> Any:
            return optax.softmax_cross_entropy_with_integer_labels(net.apply(p, x), y).mean()

        updates, state = optimiser.update(jax.grad(loss)(params), state)
        return optax.apply_updates(params, updates), state

    rng = np.random.default_rng(0)
    for _ in range(steps):
        rows = rng.integers(0, len(x), 64)
        params, state = step(params, state, x[rows], y[rows])
    other, truth = clips(256, seed=1)
    right = (net.apply(params, other).argmax(-1) == truth).mean()
    print(f"{right:.1%} of new clips are right")
    return je.from_flax(net, params)


def main(out: Path, samples: int, steps: int) -> dict[str, Any]:
    model = trained(steps)
    x, y = clips(samples, seed=2)
    methods = {
        "integrated gradients": ("IntegratedGradients", {"baseline": 0.0}),
        "Grad-CAM": ("GradCAM", {"layer": "Conv_0"}),
        # windows and patches have a side for each axis: two slices, 4 x 4 pixels
        "occlusion": ("Occlusion", {"window": (2, 4, 4, 1), "stride": (1, 2, 2, 1)}),
    }
    results = je.evaluate(
        model, x, y, explainers=methods, reduce_channels="sum",
        metrics={
            "regions": je.RegionPerturbation(patch_size=(2, 4, 4), baseline=0.0),
            "pixel flipping": je.PixelFlipping(n_steps=16, baseline=0.0),
            "sparseness": je.Sparseness(),
        },
    )  # fmt: skip
    print(results)
    maps = {name: je.attribute(e, model, x, y) for name, e in methods.items()}
    out.mkdir(parents=True, exist_ok=True)
    titles = [("left", "right")[v] for v in y]
    figure = je.plot.attributions(x, maps, titles=titles, channel_axis=-1, n=2, slices=3)
    figure.savefig(out / "volumes.png", dpi=120)
    print(f"volumes.png is in {out}")
    return {"results": results, "maps": maps, "x": x, "y": y, "model": model}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("volumes"), help="folder to write to")
    parser.add_argument("--samples", type=int, default=40, help="clips to explain")
    parser.add_argument("--steps", type=int, default=200, help="of training")
    given = parser.parse_args()
    main(given.out, given.samples, given.steps)
