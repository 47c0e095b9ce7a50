"""Indices, values and noise as Quantus's perturbation functions draw them, in their order."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import quantus.functions.perturb_func as theirs

from .settings import Unmapped

BASELINES = {"black": np.min, "white": np.max, "mean": np.mean, "uniform": None}


def perturbation(metric: Any) -> tuple[Callable[..., Any], dict[str, Any]]:
    """The function by which a metric perturbs, and the keyword arguments bound to it.

    A script may have put another function into the metric, which then has none.
    """
    function = metric.perturb_func
    if isinstance(function, functools.partial) and not function.args:
        return function.func, function.keywords
    return function, {}


def baseline_of(metric: Any, known: Any = theirs.batch_baseline_replacement_by_indices) -> Any:
    """What removed features become: a name or a number.

    Raises:
      Unmapped: the metric's `perturb_func` is another than `known`, or the baseline is an array.
        Most metrics then call it, see `fills_values`.
    """
    function, kwargs = perturbation(metric)
    if function is not known:
        raise Unmapped("perturb_func is the caller's own, and called once a step")
    baseline = kwargs.get("perturb_baseline")
    if isinstance(baseline, str) and baseline.lower() in BASELINES:
        return baseline.lower()
    if isinstance(baseline, (int, float)) or (
        isinstance(baseline, (np.ndarray, np.generic)) and np.ndim(baseline) == 0
    ):
        return float(baseline)
    raise Unmapped(f"perturb_baseline={baseline!r}")


def fills_values(metric: Any) -> bool:
    """Whether removed features become one value a sample; else `perturb_func` is called."""
    try:
        baseline_of(metric)
    except Unmapped:
        return False
    return True


def fills(metric: Any, arr: np.ndarray, *known: Any) -> Callable[[], np.ndarray]:
    """A function that draws the value [N] of removed features for the next step.

    For every baseline with a name Quantus draws a uniform number a sample, used or not.

    Args:
      arr: what is perturbed, [N, F]; "black", "white" and "mean" are those of its rows.
      known: as for `baseline_of`.
    """
    baseline, n = baseline_of(metric, *known), len(arr)
    if not isinstance(baseline, str):
        return lambda: np.full(n, baseline)
    _, kwargs = perturbation(metric)
    low, high = kwargs.get("uniform_low", 0.0), kwargs.get("uniform_high", 1.0)
    take = BASELINES[baseline]
    fixed = None if take is None else take(arr, axis=1)

    def fill() -> np.ndarray:
        drawn = np.random.uniform(low=low, high=high, size=n)
        return drawn if fixed is None else fixed

    return fill


def drifting_means(x: np.ndarray, group: np.ndarray, steps: int) -> np.ndarray:
    """[N, S]: the mean of each row of x [N, F] before each step, as it moves with what is removed.

    Step s sets the entries of group s to the mean before it.

    >>> drifting_means(np.array([[3.0, 0.0, 0.0]]), np.array([[0, 1, 2]]), 3).round(3).tolist()
    [[1.0, 0.333, 0.444]]
    """
    n, features = x.shape
    inside = group < steps
    cell = (np.arange(n)[:, None] * steps + np.minimum(group, steps - 1))[inside]
    sums = np.bincount(cell, x[inside], n * steps).reshape(n, steps)
    counts = np.bincount(cell, minlength=n * steps).reshape(n, steps)
    means = np.empty((n, steps))
    mean = x.mean(1, dtype=np.float64)
    for s in range(steps):
        means[:, s] = mean
        mean = mean + (counts[:, s] * mean - sums[:, s]) / features
    return means


def noisy(metric: Any, x: np.ndarray) -> Callable[[], np.ndarray]:
    """A function that draws the next perturbed inputs [N, *x], as ``perturb_func(arr, indices)``.

    The two functions that are the defaults are not called, as they index every entry by number;
    the numbers are the same.

    It raises Unmapped where the caller's function writes into its argument: Quantus then goes on
    from what it wrote.
    """
    flat, (function, kwargs) = x.reshape(len(x), -1), perturbation(metric)
    if function is theirs.batch_gaussian_noise:
        mean, std = kwargs.get("perturb_mean", 0.0), kwargs.get("perturb_std", 0.01)
        return lambda: _added(x, np.random.normal(loc=mean, scale=std, size=flat.shape))
    if function is theirs.batch_uniform_noise:
        low, high = kwargs.get("lower_bound", 0.02), kwargs.get("upper_bound")
        if high is None:
            return lambda: _added(x, np.random.uniform(low=-low, high=low, size=flat.shape))
        if high > low:
            return lambda: _added(x, np.random.uniform(low=low, high=high, size=flat.shape))
    indices = np.tile(np.arange(flat.shape[1]), (len(x), 1))

    def perturbed() -> np.ndarray:
        given = flat.copy()
        changed = metric.perturb_func(arr=given, indices=indices)
        if not np.array_equal(given, flat):
            raise Unmapped("perturb_func writes into its argument")
        return changed.reshape(x.shape)

    return perturbed


def _added(x: np.ndarray, noise: np.ndarray) -> np.ndarray:
    return (x + noise.reshape(x.shape)).astype(x.dtype)


def places(order: np.ndarray) -> np.ndarray:
    """The place of each item [N, F] in an order [N, F]."""
    at = np.empty_like(order)
    np.put_along_axis(at, order, np.arange(order.shape[1])[None], 1)
    return at


def patches(x: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray, tuple[Any, ...]]:
    """How Quantus tiles x [N, C, H, W], or [N, C, L] as one row: the patches are centred.

    Returns (the patch of each entry [*x], counted row by row; the shape (rows, columns) of the
    tiling; the padding of both axes, before and after).
    """
    if x.ndim not in (3, 4):
        raise Unmapped("patches of inputs that are neither images nor series")
    shape = x.shape[1:] if x.ndim == 4 else (x.shape[1], 1, x.shape[2])
    pads = []
    for length in shape[1:]:
        missing = -length % size
        pads.append((missing // 2, missing - missing // 2))
    tiles = np.array([(n + sum(p)) // size for n, p in zip(shape[1:], pads, strict=True)])
    row, column = ((np.arange(n) + p[0]) // size for n, p in zip(shape[1:], pads, strict=True))
    of = row[:, None] * tiles[1] + column
    return np.broadcast_to(of, shape).reshape(x.shape[1:]), tiles, tuple(pads)


def patch_sums(a: np.ndarray, x: np.ndarray, size: int) -> np.ndarray:
    """The sums [N, patches] of maps a [*x.shape] over the patches, added up as Quantus does."""
    _, (rows, columns), pads = patches(x, size)
    a = a.reshape(len(a), a.shape[1], -1, a.shape[-1])
    a = np.pad(a, ((0, 0), (0, 0), *pads))
    blocks = a.reshape(*a.shape[:2], rows, size, columns, size).transpose(0, 2, 4, 1, 3, 5)
    return blocks.reshape(len(a), rows * columns, -1).sum(-1)
