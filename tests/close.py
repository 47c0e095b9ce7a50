"""How close two computations in float32 have to come: a tolerance that follows from conditioning.

Rounding depends on the processor: on the width of its vectors, on whether it multiplies and adds at
once, on the order in which a library sums. So does how far apart two correct answers are, and what
one machine gave is no bound for another. What bounds it everywhere is the size of one rounding,
times how much the answer reacts to it. The first is a constant, and the second can be measured:
every weight is moved by a random relative amount of the size of a rounding, as the products it
takes part in are when they are computed, and the answer is computed again.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

EPS = float(np.finfo(np.float32).eps)
MARGIN = 8
"""Roundings of a few draws are no bound; of sums of hundreds of terms there are several."""


def of_smallest(v: Any) -> np.ndarray:
    """How far off, relatively, scores [N] may be that divide by every entry of v [N, ...].

    Entries are sums of terms as large as the largest entry, so each is off by a rounding of that
    one. Relative to the smallest entry this is max|v| / min|v| roundings, and where entries divide,
    the smallest counts most. A zero is no sum that happens to be small: it is exact.
    """
    v = np.abs(np.asarray(v, float)).reshape(len(v), -1)
    smallest = np.where(v > 0, v, np.inf).min(1)
    return MARGIN * EPS * np.where(v.any(1), v.max(1) / smallest, 1)


def assert_close(got: Any, want: Any, rtol: Any, atol: float = 0, err_msg: str = "") -> None:
    """As NumPy's `assert_allclose`, where `rtol` may be one number for each row."""
    got, want = np.asarray(got, float), np.asarray(want, float)
    rtol = np.reshape(rtol, np.shape(rtol) + (1,) * (want.ndim - 1) * np.ndim(rtol))
    np.testing.assert_array_equal(np.isnan(got), np.isnan(want), err_msg=err_msg)
    with np.errstate(invalid="ignore"):
        fine = np.isnan(want) | (got == want) | (np.abs(got - want) <= atol + rtol * np.abs(want))
    tol = np.broadcast_to(rtol, want.shape)
    assert fine.all(), f"{err_msg}: {got[~fine]} is not {want[~fine]} to {tol[~fine]}, {atol}"


def nudged(tree: Any, seed: int, eps: float = EPS) -> Any:
    """Every float32 entry times 1 + u, with u uniform in [-eps, eps]."""
    rng = np.random.default_rng(seed)

    def move(v: Any) -> Any:
        v = np.asarray(v)
        if v.dtype != np.float32:
            return v
        return (v * (1 + rng.uniform(-eps, eps, v.shape))).astype(np.float32)

    return jax.tree.map(move, tree)


def reaction(
    answer: Callable[[Any], Any], model: Any, draws: int = 3, eps: float = EPS
) -> np.ndarray:
    """How far the entries of ``answer(model)`` move when the model's weights are rounded anew.

    `eps` is the size of a rounding: that of float32, or of the half precision to compare with.
    """

    def moved(seed: int) -> Any:
        return dataclasses.replace(model, params=nudged(model.params, seed, eps))

    first = np.asarray(answer(model), float)
    others = [np.asarray(answer(moved(seed)), float) for seed in range(draws)]
    return np.max([np.abs(v - first) for v in others], axis=0)
