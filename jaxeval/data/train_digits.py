"""Train the digits networks: ``python -m jaxeval.data.train_digits``, about half a minute.

Training images are shifted by up to a pixel, noise is added, and a random share of their pixels is
set to the background. The last step matters for evaluation: metrics remove pixels, and a
network's output on images far from its training data says little about the explanation.
"""

from __future__ import annotations

import argparse
import functools
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

try:
    import optax

    from .digit_network import TRANSFORMER_WEIGHTS, WEIGHTS, DigitsCNN, DigitsTransformer, save
except ImportError as e:
    raise ImportError('training needs Flax and Optax: pip install "jaxeval[demo]"') from e

from .digit_images import Digits, digits

NETWORKS = {
    "cnn": (DigitsCNN(), WEIGHTS),
    "transformer": (DigitsTransformer(), TRANSFORMER_WEIGHTS),
}
NOISE = 0.1
ERASED = 0.4


def augment(key: jax.Array, x: jax.Array) -> jax.Array:
    """One augmented training image [8, 8, 1]."""
    shift, where, noise, size, share, erased = jax.random.split(key, 6)
    moved = jax.random.bernoulli(shift)
    corner = jnp.where(moved, jax.random.randint(where, (2,), 0, 3), 1)
    x = jax.lax.dynamic_slice(jnp.pad(x, ((1, 1), (1, 1), (0, 0))), (*corner, 0), x.shape)
    x = x + NOISE * jax.random.uniform(size) * jax.random.normal(noise, x.shape)
    kept = jax.random.uniform(erased, x.shape) >= ERASED * jax.random.uniform(share)
    return x * kept


def train(
    data: Digits,
    epochs: int = 250,
    batch: int = 64,
    seed: int = 0,
    network: Any = NETWORKS["cnn"][0],
) -> Any:
    """The parameters {layer: {parameter: array}} of a trained network."""
    x, y = jnp.asarray(data.x_train), jnp.asarray(data.y_train)
    n_steps = epochs * (len(x) // batch)
    optimiser = optax.adamw(optax.cosine_decay_schedule(3e-3, n_steps), weight_decay=0.03)
    start, order, noise = jax.random.split(jax.random.key(seed), 3)

    def loss(params: Any, x: jax.Array, y: jax.Array) -> jax.Array:
        logits = jnp.asarray(network.apply({"params": params}, x))
        return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()

    @functools.partial(jax.jit, donate_argnums=(0, 1))
    def step(params: Any, state: Any, key: jax.Array, rows: jax.Array) -> tuple[Any, Any]:
        changed = jax.vmap(augment)(jax.random.split(key, batch), x[rows])
        gradient = jax.grad(loss)(params, changed, y[rows])
        updates, state = optimiser.update(gradient, state, params)
        return optax.apply_updates(params, updates), state

    params = network.init(start, x[:1])["params"]
    state = optimiser.init(params)
    for epoch in range(epochs):
        rows = np.asarray(jax.random.permutation(jax.random.fold_in(order, epoch), len(x)))
        for i in range(len(x) // batch):
            key = jax.random.fold_in(noise, epoch * (len(x) // batch) + i)
            params, state = step(params, state, key, rows[i * batch : (i + 1) * batch])
    return jax.tree.map(np.asarray, params)


def assess(params: Any, x: np.ndarray, y: np.ndarray, network: Any) -> tuple[float, float]:
    """(accuracy on x, mean probability of the predicted class)."""
    logits = jnp.asarray(network.apply({"params": params}, x))
    correct = np.asarray(logits.argmax(-1)) == y
    return float(correct.mean()), float(jax.nn.softmax(logits).max(-1).mean())


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Train a digits network and keep its weights.")
    parser.add_argument("--network", choices=NETWORKS, default="cnn", help="default: %(default)s")
    parser.add_argument("--out", type=Path, help="default: the file of the package")
    parser.add_argument("--epochs", type=int, default=250, help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    given = parser.parse_args(arguments)
    (network, weights), data = NETWORKS[given.network], digits()
    out = given.out or weights
    params = train(data, epochs=given.epochs, seed=given.seed, network=network)
    accuracy, confidence = assess(params, data.x_test, data.y_test, network)
    save(params, out)
    print(f"test accuracy {accuracy:.2%} on {len(data.y_test)} held-out digits")
    print(f"mean probability of the predicted class {confidence:.2%}")
    print(f"weights in {out} ({out.stat().st_size / 1000:.0f} kB)")


if __name__ == "__main__":
    main()
