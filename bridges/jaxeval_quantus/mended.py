"""Quantus's functions that fail with the NumPy of today, and names of earlier versions."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import quantus.functions.norm_func as norm_func
import quantus.functions.normalise_func as normalise_func
import quantus.functions.perturb_func as perturb_func
import quantus.functions.similarity_func as similarity_func
import quantus.helpers.asserts as asserts
import quantus.helpers.utils as utils
from scipy.stats import rankdata

fro_norm, l2_norm, linf_norm = norm_func.fro_norm, norm_func.l2_norm, norm_func.linf_norm
uniform_sampling = perturb_func.uniform_noise

BATCHED = {
    perturb_func.uniform_noise: perturb_func.batch_uniform_noise,
    perturb_func.gaussian_noise: perturb_func.batch_gaussian_noise,
    perturb_func.baseline_replacement_by_indices: (
        perturb_func.batch_baseline_replacement_by_indices
    ),
}
"""The perturbation functions that Quantus's metrics call with a batch, for those of one sample,
which tutorials pass and which fail there."""


def calculate_auc(values: Any, dx: int = 1, batched: bool = False) -> Any:
    """The area under curves along the last axis ([N, S] if `batched`), by trapezoids.

    >>> float(calculate_auc([1.0, 0.5, 0.0]))
    1.0
    """
    return np.trapezoid(np.asarray(values), dx=dx, axis=1 if batched else -1)


def normalise_by_negative(a: np.ndarray, normalise_axes: Sequence[int] | None = None) -> np.ndarray:
    """Positive entries divided by the largest, negative ones by the size of the most negative.

    Args:
      normalise_axes: the axes over which both extremes are taken; None: all.

    >>> normalise_by_negative(np.array([-4.0, 1.0, 2.0])).tolist()
    [-1.0, 0.5, 1.0]
    """
    axes = tuple(range(a.ndim) if normalise_axes is None else normalise_axes)
    top = a.max(axis=axes, keepdims=True)
    bottom = a.min(axis=axes, keepdims=True)
    # Of entries that all have one sign, the largest and the smallest magnitude are exchanged.
    scale = np.where(a > 0, top, -bottom)
    return np.divide(a, scale, out=np.zeros_like(a), where=(a != 0) & (scale != 0))


def correlation_spearman(a: Any, b: Any, batched: bool = False, **kwargs: Any) -> Any:
    """The rank correlation of two maps, or of the rows of two arrays [N, F] if `batched`.

    Quantus compares every row with every other one and keeps the diagonal.

    >>> a = np.array([[1.0, 2.0, 3.0], [1.0, 2.0, 2.0]])
    >>> correlation_spearman(a, a[:, ::-1], batched=True).tolist()
    [-1.0, -0.5]
    """
    if not batched:
        return similarity_func.correlation_spearman(a, b, **kwargs)
    u, v = (rankdata(rows, axis=1).astype(np.float64) for rows in (a, b))
    u, v = (rows - rows.mean(1, keepdims=True) for rows in (u, v))
    with np.errstate(invalid="ignore"):  # constant rows are NaN, as in SciPy
        return (u * v).sum(1) / np.sqrt((u**2).sum(1) * (v**2).sum(1))


_check = asserts.assert_attributions


def assert_attributions(x_batch: Any, a_batch: Any) -> None:
    """Quantus's check of maps, which turns all of their numbers into Python's to compare them.

    Maps that have two different numbers, not all of them negative, can only fail in their shape.
    """
    a = a_batch
    if (
        type(a) is np.ndarray
        and a.size > 1
        and len(x_batch) == len(a)
        and (a != a.flat[0]).any()
        and not (a < 0).all()
    ):
        some = min(2, len(a))
        shape = (some, *a.shape[1:])
        x_batch, a = x_batch[:some], np.arange(float(np.prod(shape))).reshape(shape)
    _check(x_batch=x_batch, a_batch=a)


@contextlib.contextmanager
def quick_checks() -> Iterator[None]:
    """Quantus's own methods check maps by `assert_attributions` above."""
    if asserts.assert_attributions is not _check:
        yield
        return
    asserts.assert_attributions = assert_attributions
    try:
        yield
    finally:
        asserts.assert_attributions = _check


MENDED = {normalise_func.normalise_by_negative: normalise_by_negative}
FASTER = {similarity_func.correlation_spearman: correlation_spearman}

if not hasattr(np, "trapz"):  # Quantus's areas call it, and it is gone since NumPy 2.4
    utils.calculate_auc = calculate_auc
