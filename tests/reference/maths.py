"""What the definitions are made of."""

from __future__ import annotations

from itertools import pairwise, product
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.sparse import lil_matrix
from scipy.sparse.linalg import spsolve
from scipy.special import softmax
from scipy.stats import pearsonr, spearmanr
from skimage.metrics import structural_similarity

from .sample import Sample


def prepare(a: np.ndarray, m: Any) -> np.ndarray:
    """The map as metric m scores it: normalised per sample, then absolute."""
    a = np.asarray(a, np.float64)
    top = np.abs(a).max()
    if m.normalise == "max" and top > 0:
        a = a / top
    elif m.normalise == "negative":
        positive, negative = max(a.max(), 0), max(-a.min(), 0)
        a = np.array([v / positive if v > 0 else v / (negative or 1) for v in a.flat]).reshape(
            a.shape
        )
    elif m.normalise == "second_moment" and top > 0:
        a = a / np.sqrt((a**2).mean())
    return np.abs(a) if m.absolute else a


def value(z: np.ndarray, y: int, output: Any) -> float:
    """The score of class y."""
    if callable(output):
        return float(output(z, y))
    if output == "logit":
        return float(z[y])
    p = softmax(z)[y]
    return float(p if output == "probability" else np.log(p))


def f(m: Any, s: Sample, x: np.ndarray) -> float:
    """The scalar output for the explained class: the metric's output, else the run's."""
    return value(s.net.logits(x), s.y, s.output if m.output is None else m.output)


def baseline(s: Sample, b: Any) -> np.ndarray:
    """The replacement values, of the clean sample."""
    x, axes = s.x, tuple(i for i in range(s.x.ndim) if i != s.channel_axis)
    if not isinstance(b, str):
        return np.broadcast_to(np.asarray(b, np.float64), x.shape)
    if b == "blur":
        sigma = [5.0 if i in axes else 0.0 for i in range(x.ndim)]
        return gaussian_filter(x, sigma, truncate=3.0, mode="nearest")
    values = {
        "black": x.min,
        "white": x.max,
        "mean": x.mean,
        "zero": lambda: 0.0,
        "channel_mean": lambda: x.mean(axes, keepdims=True),
    }
    return np.broadcast_to(values[b](), x.shape)


def descending(a: np.ndarray) -> list[int]:
    """Flat indices, the largest first, ties to the lowest index."""
    flat = a.ravel()
    return sorted(range(flat.size), key=lambda i: (-flat[i], i))


def ascending(a: np.ndarray) -> list[int]:
    """Flat indices, the smallest first, ties to the lowest index."""
    flat = a.ravel()
    return sorted(range(flat.size), key=lambda i: (flat[i], i))


def sizes(n: int, m: Any) -> list[int]:
    """How many features are gone in each step."""
    if m.features_in_step is not None:
        out = [0]
        while out[-1] < n:
            out.append(min(out[-1] + m.features_in_step, n))
        return out[1:]
    steps = min(n if m.n_steps is None else m.n_steps, n)
    return [n * k // steps for k in range(1, steps + 1)]


def area(curve: Any) -> float:
    """Trapezoids under points spread evenly on [0, 1]."""
    curve = [float(v) for v in curve]
    if len(curve) == 1:
        return curve[0]
    width = 1 / (len(curve) - 1)
    return sum(width * (u + v) / 2 for u, v in pairwise(curve))


def pearson(u: Any, v: Any) -> float:
    u, v = np.ravel(u), np.ravel(v)
    return float(pearsonr(u, v)[0]) if np.ptp(u) > 0 and np.ptp(v) > 0 else np.nan


def spearman(u: Any, v: Any) -> float:
    u, v = np.ravel(u), np.ravel(v)
    return float(spearmanr(u, v)[0]) if np.ptp(u) > 0 and np.ptp(v) > 0 else np.nan


def ssim(u: np.ndarray, v: np.ndarray, channel_axis: int | None) -> float:
    """Structural similarity, 7x7 windows, with the range over both maps; 7 of one axis."""
    if u.shape[1:] == (1,):  # a number per channel
        u, v, channel_axis = u[:, 0], v[:, 0], None
    span = max(u.max(), v.max()) - min(u.min(), v.min())
    if span == 0:
        return np.nan
    return float(
        structural_similarity(u, v, win_size=7, data_range=span, channel_axis=channel_axis)
    )


def unit_range(a: np.ndarray) -> np.ndarray:
    return (a - a.min()) / (np.ptp(a) or 1)


def patches(shape: tuple[int, ...], side: int) -> list[np.ndarray]:
    """Masks [shape] of the patches that tile it from the first corner; the last may be smaller."""
    out = []
    for at in np.ndindex(*(len(range(0, n, side)) for n in shape)):
        where = np.zeros(shape, bool)
        where[tuple(slice(side * i, side * i + side) for i in at)] = True
        out.append(where)
    return out


def relative_change(u: np.ndarray, v: np.ndarray, eps: float) -> float:
    """||(u - v) / u||, zeros in the denominator replaced by eps."""
    return float(np.linalg.norm(((u - v) / np.where(u == 0, eps, u)).ravel()))


def hull_area(points: list[tuple[int, ...]]) -> float:
    """The area of the convex hull of points in a plane: two monotone chains, and the shoelace."""

    def turn(o: Any, p: Any, q: Any) -> int:
        return (p[0] - o[0]) * (q[1] - o[1]) - (p[1] - o[1]) * (q[0] - o[0])

    def chain(points: Any) -> list[Any]:
        out: list[Any] = []
        for p in points:
            while len(out) > 1 and turn(out[-2], out[-1], p) <= 0:
                out.pop()
            out.append(p)
        return out[:-1]

    around = chain(sorted(points)) + chain(sorted(points)[::-1])
    pairs = zip(around, around[1:] + around[:1], strict=True)
    return abs(sum(p[0] * q[1] - p[1] * q[0] for p, q in pairs)) / 2


def by_place(s: Sample, a: np.ndarray) -> np.ndarray:
    """The map [space], summed over the channels where it has them."""
    channels = s.channel_axis is not None and s.features_with_channels()
    return a.sum(s.channel_axis) if channels else a


def imputed(x: np.ndarray, gone: np.ndarray, channel_axis: int | None) -> np.ndarray:
    """Noiseless linear imputation of the pixels `gone` [space], by a sparse direct solver."""
    space = [int(i) for i in gone.shape]
    unknown = [tuple(int(i) for i in at) for at in np.argwhere(gone)]
    number = {at: k for k, at in enumerate(unknown)}
    channels = x[None] if channel_axis is None else np.moveaxis(x, channel_axis, 0)
    matrix = lil_matrix((len(unknown), len(unknown)))
    right = np.zeros((len(unknown), len(channels)))
    for k, at in enumerate(unknown):
        for offset in product((-1, 0, 1), repeat=len(space)):
            there = tuple(i + o for i, o in zip(at, offset, strict=True))
            inside = all(0 <= i < n for i, n in zip(there, space, strict=True))
            if not any(offset) or not inside:
                continue
            weight = 1 / 12 if np.abs(offset).sum() == 2 else 1 / 6
            matrix[k, k] += weight
            if there in number:
                matrix[k, number[there]] -= weight
            else:
                right[k] += weight * channels[(slice(None), *there)]
    out = channels.copy()
    if unknown:
        solved = spsolve(matrix.tocsc(), right)
        out[:, gone] = solved.reshape(len(unknown), len(channels)).T
    return out[0] if channel_axis is None else np.moveaxis(out, 0, channel_axis)


def code_length(x: np.ndarray, like: np.ndarray, channel_axis: int | None) -> float:
    """The entropy of the Paeth residuals of the 8-bit image, in bits."""
    image = np.round(255 * (x - like.min()) / (np.ptp(like) or 1)).astype(int)
    channels = [image] if channel_axis is None else np.moveaxis(image, channel_axis, 0)
    residuals = []
    for plane in channels:
        plane = np.atleast_2d(plane)
        for i, j in np.ndindex(*plane.shape):
            left = plane[i, j - 1] if j else 0
            up = plane[i - 1, j] if i else 0
            corner = plane[i - 1, j - 1] if i and j else 0
            guess = left + up - corner
            nearest = min((left, up, corner), key=lambda v: abs(guess - v))  # the first of equals
            residuals.append((plane[i, j] - nearest) % 256)
    n = np.bincount(residuals)
    n = n[n > 0]
    return float((n * np.log2(n.sum() / n)).sum())


def subset_sizes(m: Any, n: int) -> list[int]:
    """The sizes of subsets of n features: those given, or evenly on a log scale."""
    if m.sizes is not None:
        return [int(size) for size in m.sizes]
    top = max(1, int(m.n_max_percentage * n))
    return sorted({round(top ** (i / (m.n_sizes - 1))) for i in range(m.n_sizes)})
