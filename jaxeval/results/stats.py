"""Statistics over samples and over explainers: NumPy arrays in, NumPy arrays out.

NaN means "undefined" throughout: it is left out, and a statistic of no values is NaN.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import ArrayLike

ARROWS = {"higher": "↑", "lower": "↓"}
"""The arrows by which tables and figures show which direction is better."""
DIRECTIONS = tuple(ARROWS)
_CHUNK = 2**22  # entries per block of resamples: 32 MiB in float64


def mean_and_std(values: ArrayLike) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean, standard deviation (ddof 1) and number of the defined values along axis 0.

    Args:
      values: [n, ...] with NaN where undefined.

    Returns:
      (mean, std, n), each of shape [...]; mean and std in float64 and in the unit of `values`.
      The mean of no values and the deviation of fewer than two are NaN.

    >>> mean, std, n = mean_and_std([[1.0, np.nan], [3.0, np.nan]])
    >>> mean.tolist(), std.round(3).tolist(), n.tolist()
    ([2.0, nan], [1.414, nan], [2, 0])
    """
    values = np.asarray(values, np.float64)
    defined = ~np.isnan(values)
    n = defined.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(defined, values, 0.0).sum(axis=0) / n
        squares = np.where(defined, values - mean, 0.0) ** 2
        # Without the explicit NaN, a single value would have the deviation 0 / 0 = NaN but no
        # value at all 0 / -1 = -0.
        std = np.sqrt(squares.sum(axis=0) / np.where(n > 1, n - 1, np.nan))
    return mean, std, n


def bootstrap_mean_ci(
    values: ArrayLike, confidence: float = 0.95, n_bootstrap: int = 1000, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Percentile bootstrap interval for the mean along axis 0, over the defined values.

    Columns defined on the same rows are resampled together (the same rows are drawn for each), so
    their intervals are paired.

    Args:
      values: [n, ...] with NaN where undefined.
      confidence: coverage of the interval, between 0 and 1.
      n_bootstrap: number of resamples.
      seed: random seed; equal arguments give equal intervals.

    Returns:
      (low, high), each of shape [...] in float64. NaN where fewer than two values are defined or
      one of them is infinite.

    Raises:
      ValueError: `confidence` outside (0, 1) or `n_bootstrap` below 1.

    >>> low, high = bootstrap_mean_ci(np.arange(100.0))
    >>> bool(40 < low < 49.5 < high < 60)
    True
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, got {confidence!r}")
    if n_bootstrap < 1:
        raise ValueError(f"n_bootstrap must be at least 1, got {n_bootstrap!r}")
    values = np.asarray(values, np.float64)
    columns = values.reshape(len(values), int(np.prod(values.shape[1:])))
    interval = np.full((2, columns.shape[1]), np.nan)
    edges = [(1 - confidence) / 2, (1 + confidence) / 2]

    together: dict[bytes, list[int]] = {}
    defined = ~np.isnan(columns)
    for j in range(columns.shape[1]):
        together.setdefault(defined[:, j].tobytes(), []).append(j)
    for js in together.values():
        x = columns[defined[:, js[0]]][:, js]
        if len(x) < 2:
            continue
        with np.errstate(invalid="ignore"):
            # Resampling the deviations keeps a constant column's interval at exactly its value.
            mean = x.mean(axis=0)
            blocks = [w @ (x - mean) / len(x) for w in resamples(len(x), n_bootstrap, seed)]
            found = mean + np.quantile(np.concatenate(blocks), edges, axis=0)
            # A mean lies within the range of its values; rounding must not move it outside.
            interval[:, js] = np.clip(found, x.min(axis=0), x.max(axis=0))
    low, high = interval.reshape((2, *values.shape[1:]))
    return low, high


def resamples(n: int, n_bootstrap: int, seed: int) -> Iterator[np.ndarray]:
    """Blocks [b, n]: how often each of n rows occurs in each of b resamples; the b sum to
    n_bootstrap."""
    rng = np.random.default_rng(seed)
    block = max(1, _CHUNK // n)
    for start in range(0, n_bootstrap, block):
        b = min(block, n_bootstrap - start)
        rows = rng.integers(n, size=(b, n)) + n * np.arange(b)[:, None]
        # Counts make the resampled means of all columns one matrix product, without gathers.
        yield np.bincount(rows.ravel(), minlength=b * n).reshape(b, n).astype(np.float64)


def explainer_ranks(
    scores: ArrayLike, direction: str | Sequence[str] = "higher", tolerance: float = 0.0
) -> np.ndarray:
    """Ranks of explainers (axis 0), 1 for the best; ties share their average rank.

    Args:
      scores: [E] or [E, M], one row per explainer; NaN where undefined.
      direction: which is better, "higher" or "lower"; one for all columns, or one per column [M].
      tolerance: as for `row_ranks`, for each column.

    Returns:
      Ranks in the shape of `scores`, in float64; NaN stays NaN and takes no rank.

    Raises:
      ValueError: an unknown direction, or a number of directions other than M.

    >>> explainer_ranks([0.3, 0.1, 0.3, np.nan]).tolist()
    [1.5, 3.0, 1.5, nan]
    >>> explainer_ranks([0.3, 0.1, 0.2], "lower").tolist()
    [3.0, 1.0, 2.0]
    >>> explainer_ranks([1.0, 0.9999999, 0.5], tolerance=1e-6).tolist()
    [1.5, 1.5, 3.0]
    """
    scores = np.asarray(scores, np.float64)
    given = [direction] if isinstance(direction, str) else list(direction)
    if unknown := sorted(set(given) - set(DIRECTIONS)):
        raise ValueError(f'direction must be "higher" or "lower", got {unknown[0]!r}')
    if not isinstance(direction, str) and scores.shape[1:] != (len(given),):
        raise ValueError(
            f"direction names {len(given)} columns, but scores has the shape {scores.shape}"
        )
    sign = np.array([-1.0 if d == "higher" else 1.0 for d in given])
    cost = scores * (sign[0] if isinstance(direction, str) else sign)
    return row_ranks(cost.T, tolerance).T


def row_ranks(values: ArrayLike, tolerance: float = 0.0) -> np.ndarray:
    """Ranks along the last axis, 1 for the smallest; ties share their average rank.

    The same rule for ties holds wherever scores are ranked: two values tie if they differ by no
    more than `tolerance` times the largest magnitude of their row, and ties are transitive: a
    value that ties with one of a group ties with all of it. (Otherwise A could tie with B, and B
    with C, but not A with C, which ranks cannot express.) Neither the order of the values nor
    their sign changes the ties.

    Args:
      values: [..., k], NaN where undefined.
      tolerance: a share of the largest finite magnitude of the row; 0: only equal values tie.

    Returns:
      Ranks in the shape of `values`, in float64; NaN stays NaN and takes no rank.

    >>> row_ranks([[0.3, 0.1, 0.3, np.nan], [4, 3, 2, 1]]).tolist()
    [[2.5, 1.0, 2.5, nan], [4.0, 3.0, 2.0, 1.0]]
    >>> row_ranks([10.0, 9.5, 9.0, 5.0], tolerance=0.05).tolist()
    [3.0, 3.0, 3.0, 1.0]
    """
    values = np.asarray(values, np.float64)
    if not values.size:
        return np.full(values.shape, np.nan)
    order = np.argsort(values, axis=-1, kind="stable")  # NaN comes last
    rising = np.take_along_axis(values, order, -1)
    size = np.abs(np.where(np.isfinite(values), values, 0)).max(axis=-1, keepdims=True)
    left, right = rising[..., :-1], rising[..., 1:]
    with np.errstate(invalid="ignore"):  # inf - inf
        apart = (left != right) & ~(right - left <= tolerance * size)
    # Each run of ties gets the mean of its first and last place.
    place = np.broadcast_to(np.arange(values.shape[-1], dtype=np.float64), values.shape)
    edge = np.ones((*values.shape[:-1], 1), bool)
    first = np.maximum.accumulate(np.where(np.concatenate([edge, apart], -1), place, 0), -1)
    ends = np.where(np.concatenate([apart, edge], -1), place, np.inf)
    last = np.minimum.accumulate(ends[..., ::-1], -1)[..., ::-1]
    ranks = np.empty(values.shape)
    np.put_along_axis(ranks, order, (first + last) / 2 + 1, -1)
    return np.where(np.isnan(values), np.nan, ranks)
