"""Draws to give to metrics that draw at random, and own draws recovered from what was asked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from tests.reference.maths import imputed, subset_sizes
from tests.world import K, World

# -- draws to give, shared by all samples --------------------------------------------------------


Draws = Callable[[World, Any, np.random.Generator], Any]


def subsets(w: World, m: Any, rng: np.random.Generator) -> Any:
    """Feature indices [n_runs, subset_size]."""
    n = int(np.prod(w.features))
    return np.stack([rng.choice(n, m.subset_size, replace=False) for _ in range(m.n_runs)])


def sized_subsets(w: World, m: Any, rng: np.random.Generator) -> Any:
    """n_runs subsets of each size, size by size, filled up with -1."""
    n = int(np.prod(w.features))
    sizes = subset_sizes(m, n)
    out = np.full((len(sizes) * m.n_runs, max(sizes)), -1)
    for row, size in zip(out, np.repeat(sizes, m.n_runs), strict=True):
        row[:size] = rng.choice(n, size, replace=False)
    return out


def noise(w: World, m: Any, rng: np.random.Generator) -> Any:
    scale = getattr(m, "radius", None) or m.std
    return rng.uniform(-scale, scale, (m.n_samples, *w.x.shape[1:])).astype(np.float32)


def infidelity_draws(w: World, m: Any, rng: np.random.Generator) -> Any:
    if m.perturbation == "patches":
        return None
    if m.perturbation == "gaussian":
        return noise(w, m, rng)
    space = [n for i, n in enumerate(w.x.shape[1:]) if i != w.channel_axis]
    return np.stack([rng.integers(0, n - m.patch_size + 1, m.n_samples) for n in space], 1)


def order(w: World, m: Any, rng: np.random.Generator) -> Any:
    return rng.permutation(int(np.prod(w.features))) if m.order == "random" else None


def patch_order(w: World, m: Any, rng: np.random.Generator) -> Any:
    space = [n for i, n in enumerate(w.x.shape[1:]) if i != w.channel_axis]
    n = int(np.prod([-(-n // m.patch_size) for n in space]))
    return rng.permutation(n) if m.order == "random" else None


def replacements(w: World, m: Any, rng: np.random.Generator) -> Any:
    return rng.uniform(size=int(np.prod(w.features)) * m.n_samples).astype(np.float32)


def imputation_noise(w: World, m: Any, rng: np.random.Generator) -> Any:
    shape = (len(m.percentages), *w.x.shape[1:])
    return rng.normal(scale=m.noise, size=shape).astype(np.float32)


def group_replacements(w: World, m: Any, rng: np.random.Generator) -> Any:
    groups = -(-int(np.prod(w.features)) // m.features_in_step)
    return rng.uniform(size=(groups * m.n_samples, *w.x.shape[1:])).astype(np.float32)


def cells(w: World, m: Any, rng: np.random.Generator) -> Any:
    """Indices of cells [n_runs, n]."""
    space = [n for i, n in enumerate(w.x.shape[1:]) if i != w.channel_axis]
    n = int(np.prod([min(m.grid_size, k) for k in space]))
    size = max(1, round(m.subset_percent * n))
    return np.stack([rng.choice(n, size, replace=False) for _ in range(m.n_runs)])


def other_class(w: World, m: Any, rng: np.random.Generator) -> Any:
    return np.int32(rng.integers(K))


def random_params(w: World, m: Any, rng: np.random.Generator) -> Any:
    return jax.tree.map(
        lambda p: rng.normal(size=(m.n_seeds, *p.shape), scale=0.4).astype(np.float32),
        w.model.params,
    )


def smooth_draws(w: World, m: Any, rng: np.random.Generator) -> Any:
    noise = rng.normal(size=(m.n_samples, *w.x.shape[1:])).astype(np.float32)
    return {"params": random_params(w, m, rng), "noise": noise}


def fractions(w: World, m: Any, rng: np.random.Generator) -> Any:
    """Numbers in [0, 1) for each entry [n_samples, *x]."""
    return rng.uniform(size=(m.n_samples, *w.x.shape[1:])).astype(np.float32)


# -- own draws, recovered from what was asked: (x [N, ...], y [N, S], queries [N, S, ...]) ---------


def gone(w: World, x: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Which features differ [N, S, F]."""
    changed = q != x[:, None]
    if w.pixelwise:
        changed = changed.any(w.channel_axis + 2)
    return changed.reshape(*changed.shape[:2], -1)


def recover_subsets(w: World, x: Any, y: Any, q: Any) -> Any:
    """Feature indices [N, S, n], filled up with -1."""
    steps = gone(w, x, q)
    most = steps.sum(-1).max()
    features = np.where(steps, np.arange(steps.shape[-1]), -1)
    return np.sort(features, -1)[..., ::-1][..., :most]


def recover_noise(w: World, x: Any, y: Any, q: Any) -> Any:
    return q - x[:, None]


def recover_change(w: World, x: Any, y: Any, q: Any) -> Any:
    return x[:, None] - q


def recover_corners(w: World, x: Any, y: Any, q: Any) -> Any:
    changed = (q != x[:, None]).any(w.channel_axis + 2)
    return np.array([[np.argwhere(step).min(0) for step in row] for row in changed])


def recover_cells(w: World, x: Any, y: Any, q: Any) -> Any:
    """Cells of 2 x 2 pixels [N, S, n], filled up with -1."""
    steps = (q != x[:, None]).any(w.channel_axis + 2)[..., ::2, ::2]
    steps = steps.reshape(*steps.shape[:2], -1)
    most = steps.sum(-1).max()
    indices = np.where(steps, np.arange(steps.shape[-1]), -1)
    return np.sort(indices, -1)[..., ::-1][..., :most]


def recover_order(w: World, x: Any, y: Any, q: Any) -> Any:
    """An order in which features went; those of one step in any."""
    return np.argsort(gone(w, x, q).argmax(1), axis=1, kind="stable")


def recover_replacements(w: World, x: Any, y: Any, q: Any) -> Any:
    """The new value of feature floor(s / n_samples) in step s; none of them is what it was."""
    changed = q != x[:, None]
    n, s = changed.shape[:2]
    flat, values = changed.reshape(n, s, -1), q.reshape(n, s, -1)
    return np.take_along_axis(values, flat.argmax(2)[..., None], 2)[..., 0]


def recover_inputs(w: World, x: Any, y: Any, q: Any) -> Any:
    return q


def recover_imputation_noise(w: World, x: Any, y: Any, q: Any) -> Any:
    out = np.zeros_like(q)
    for i, s in np.ndindex(*q.shape[:2]):
        changed = (q[i, s] != x[i]).any(w.channel_axis)
        out[i, s] = q[i, s] - imputed(x[i], changed, w.channel_axis)
    return out


def recover_class(w: World, x: Any, y: Any, q: Any) -> Any:
    return y[:, 0]


def recover_kept(w: World, x: Any, y: Any, q: Any) -> Any:
    """0 for entries that stayed and 1 for those that went; the last query lacks all features."""
    return np.where((q[:, :-1] == 0) & (x[:, None] != 0), 1.0, 0.0).astype(np.float32)
