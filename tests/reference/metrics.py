"""Each metric of one sample: ``name(metric, sample) -> score`` or ``(score, curve)``.

`metric` holds the settings, nothing else of it is used.
"""

from __future__ import annotations

from itertools import pairwise, product
from typing import Any

import numpy as np
from scipy.sparse import lil_matrix
from scipy.sparse.linalg import spsolve
from skimage.segmentation import slic

from .maths import (
    area,
    ascending,
    baseline,
    descending,
    f,
    hull_area,
    patches,
    pearson,
    prepare,
    relative_change,
    sizes,
    spearman,
    ssim,
    unit_range,
)
from .sample import Net, Sample

Answer = float | tuple[float, Any]


# -- faithfulness ------------------------------------------------------------------------------


def pixel_flipping(m: Any, s: Sample) -> Answer:
    a, b = prepare(s.a, m), baseline(s, m.baseline)
    order = s.draws if m.order == "random" else {"morf": descending, "lerf": ascending}[m.order](a)
    curve = [f(m, s, s.without(order[:k], b)) for k in sizes(a.size, m)]
    return area(curve), curve


def deletion(m: Any, s: Sample) -> Answer:
    a, b = prepare(s.a, m), baseline(s, m.baseline)
    order = descending(a)
    curve = [f(m, s, s.without(order[:k], b)) for k in (0, *sizes(a.size, m))]
    return area(curve), curve


def insertion(m: Any, s: Sample) -> Answer:
    a, b = prepare(s.a, m), baseline(s, m.baseline)
    order = descending(a)
    curve = [f(m, s, s.without(order[k:], b)) for k in (0, *sizes(a.size, m))]
    return area(curve), curve


def srg(m: Any, s: Sample) -> Answer:
    a, b = prepare(s.a, m), baseline(s, m.baseline)
    morf, lerf = (
        np.array([f(m, s, s.without(order[:k], b)) for k in sizes(a.size, m)])
        for order in (descending(a), ascending(a))
    )
    return area(lerf) - area(morf), lerf - morf


def _by_place(s: Sample, a: np.ndarray) -> np.ndarray:
    """The map [space], summed over the channels where it has them."""
    channels = s.channel_axis is not None and s.features_with_channels()
    return a.sum(s.channel_axis) if channels else a


def _patches_gone(m: Any, s: Sample, n: int | None, order: str = "morf") -> list[np.ndarray]:
    """x with the first 1, 2, ... n patches in the order of their summed map at the baseline."""
    a, x, b = _by_place(s, prepare(s.a, m)), s.x, baseline(s, m.baseline)
    tiles, out = patches(s.spatial(), m.patch_size), []
    sums = np.array([a[t].sum() for t in tiles])
    first = s.draws if order == "random" else {"morf": descending, "lerf": ascending}[order](sums)
    for k in first[:n]:
        x = np.where(s.over_space(tiles[k]), b, x)
        out.append(x)
    return out


def region_perturbation(m: Any, s: Sample) -> Answer:
    curve = [f(m, s, s.x) - f(m, s, x) for x in _patches_gone(m, s, m.n_regions, m.order)]
    return sum(curve) / (len(curve) + 1), curve


def selectivity(m: Any, s: Sample) -> Answer:
    curve = [f(m, s, x) for x in _patches_gone(m, s, None)]
    return area(curve), curve


def faithfulness_correlation(m: Any, s: Sample) -> Answer:
    a, b = prepare(s.a, m), baseline(s, m.baseline)
    sums = [a.flat[np.asarray(subset)].sum() for subset in s.draws]
    drops = [f(m, s, s.x) - f(m, s, s.without(subset, b)) for subset in s.draws]
    return pearson(sums, drops)


def faithfulness_estimate(m: Any, s: Sample) -> Answer:
    a, b = prepare(s.a, m), baseline(s, m.baseline)
    order, n = descending(a), m.features_in_step
    groups = [order[k : k + n] for k in range(0, a.size, n)]
    drops = [f(m, s, s.x) - f(m, s, s.without(g, b)) for g in groups]
    return pearson([a.flat[g].sum() for g in groups], drops)


def monotonicity_correlation(m: Any, s: Sample) -> Answer:
    a, n = prepare(s.a, m), m.features_in_step
    order = ascending(a)
    groups = [order[k : k + n] for k in range(0, a.size, n)]
    there = np.reshape(s.draws, (len(groups), m.n_samples, *s.x.shape))
    effects = [
        np.mean([(f(m, s, s.x) - f(m, s, s.without(g, u))) ** 2 for u in draws])
        for g, draws in zip(groups, there, strict=True)
    ]
    return spearman([a.flat[g].sum() for g in groups], effects)


def monotonicity(m: Any, s: Sample) -> Answer:
    a, b = prepare(s.a, m), baseline(s, m.baseline)
    order = ascending(a)
    curve = [f(m, s, s.without(order[k:], b)) for k in (0, *sizes(a.size, m))]
    kept = [after >= before for before, after in pairwise(curve)]
    return float(all(kept)) if m.strict else sum(kept) / len(kept)


def _prediction_gap(m: Any, s: Sample, top: bool) -> float:
    order = descending(prepare(s.a, m))
    n = -(-len(order) * round(1000 * m.top_fraction) // 1000)
    chosen = order[:n] if top else order[n:]
    return np.mean([abs(f(m, s, s.x) - f(m, s, s.without(chosen, s.x + u))) for u in s.draws])


def pgi(m: Any, s: Sample) -> Answer:
    return _prediction_gap(m, s, True)


def pgu(m: Any, s: Sample) -> Answer:
    return _prediction_gap(m, s, False)


def _average_drop(m: Any, s: Sample, x: np.ndarray) -> float:
    whole = f(m, s, s.x)
    return max(0.0, whole - f(m, s, x)) / whole if whole > 0 else np.nan


def _masked(m: Any, s: Sample) -> np.ndarray:
    return s.x * s.spread(unit_range(prepare(s.a, m)))


def average_drop(m: Any, s: Sample) -> Answer:
    return _average_drop(m, s, _masked(m, s))


def increase_in_confidence(m: Any, s: Sample) -> Answer:
    return float(f(m, s, _masked(m, s)) > f(m, s, s.x))


def adcc(m: Any, s: Sample) -> Answer:
    x, a = _masked(m, s), prepare(s.a, m)
    coherency = (1 + pearson(a, prepare(s.explain(x), m))) / 2
    parts = [coherency, 1 - unit_range(a).mean(), 1 - _average_drop(m, s, x)]
    if np.isnan(parts).any():
        return np.nan
    return 0.0 if min(parts) <= 0 else 3 / sum(1 / p for p in parts)


def mu_fidelity(m: Any, s: Sample) -> Answer:
    a, b = _by_place(s, prepare(s.a, m)), baseline(s, m.baseline)
    if a.ndim > len(s.spatial()):  # a pixel map that kept its channel axis
        a = a.reshape(s.spatial())
    grid = [min(m.grid_size, n) for n in s.spatial()]
    sums, drops = [], []
    for cells in s.draws:
        gone = np.zeros(s.spatial(), bool)
        for at in np.ndindex(*s.spatial()):
            cell = [i * g // n for i, g, n in zip(at, grid, s.spatial(), strict=True)]
            gone[at] = np.ravel_multi_index(cell, grid) in cells
        sums.append(a[gone].sum())
        drops.append(f(m, s, s.x) - f(m, s, np.where(s.over_space(gone), b, s.x)))
    return spearman(sums, drops)


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


def road(m: Any, s: Sample) -> Answer:
    a = _by_place(s, prepare(s.a, m)).reshape(s.spatial())
    order = {"morf": descending, "lerf": ascending}[m.order](a)
    held = []
    for p, noise in zip(m.percentages, s.draws, strict=True):
        gone = np.zeros(a.size, bool)
        gone[order[: int(round(p * 1000) * a.size // 100_000)]] = True
        gone = gone.reshape(a.shape)
        x = np.where(s.over_space(gone), imputed(s.x, gone, s.channel_axis) + noise, s.x)
        held.append(float(s.net.logits(x).argmax() == s.y))
    return float(np.mean(held)), held


def irof(m: Any, s: Sample) -> Answer:
    a, b = _by_place(s, prepare(s.a, m)).reshape(s.spatial()), baseline(s, m.baseline)
    image = np.moveaxis(s.over_space(np.ones(s.spatial())) * s.x, s.channel_axis, -1)
    image = (image - image.min()) / np.ptp(image)
    series = image.ndim == 2
    image = image[None] if series else image
    ids = slic(image, m.n_segments, m.compactness, start_label=0, channel_axis=-1)
    ids = ids[0] if series else ids
    labels = np.unique(ids)
    order = [labels[k] for k in descending(np.array([a[ids == v].mean() for v in labels]))]
    whole = f(m, s, s.x)
    if whole <= 0:
        return np.nan
    x, shares = s.x, [1.0]
    for label in order:
        x = np.where(s.over_space(ids == label), b, x)
        shares.append(f(m, s, x) / whole)
    return 1 - area(shares)


def _code_length(x: np.ndarray, like: np.ndarray, channel_axis: int | None) -> float:
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


def _information(m: Any, s: Sample, says: Any) -> Answer:
    a, b = prepare(s.a, m), baseline(s, m.baseline)
    order = descending(a)
    shown = [s.without(order[k:], b) for k in (0, *sizes(a.size, m))]
    bits = np.array([_code_length(x, s.x, s.channel_axis) for x in shown])
    y = np.array([says(x) for x in shown])
    if bits[-1] <= bits[0] or np.isnan(y).any():
        return np.nan, np.full(len(y), np.nan)
    h = np.clip((bits - bits[0]) / (bits[-1] - bits[0]), 0, 1)
    h = np.maximum.accumulate(h)
    return float(np.trapezoid(y, h)), np.interp(np.linspace(0, 1, len(h)), h, y)


def sic(m: Any, s: Sample) -> Answer:
    whole = f(m, s, s.x)
    return _information(m, s, lambda x: np.clip(f(m, s, x) / whole, 0, 1) if whole > 0 else np.nan)


def aic(m: Any, s: Sample) -> Answer:
    return _information(m, s, lambda x: float(s.net.logits(x).argmax() == s.y))


def sufficiency(m: Any, samples: list[Sample]) -> list[float]:
    """Of the whole data set."""
    a = np.array([prepare(s.a, m).ravel() for s in samples])
    labels = [s.net.logits(s.x).argmax() for s in samples]
    varies = a.std(0) > 0
    a = a[:, varies] / a[:, varies].std(0)
    distance = np.array([[np.linalg.norm(u - v) for v in a] for u in a])
    scores = []
    for i in range(len(a)):
        near = [
            j for j in range(len(a)) if j != i and distance[i, j] <= m.threshold * distance.max()
        ]
        scores.append(np.mean([labels[j] == labels[i] for j in near]) if near else np.nan)
    return scores


def subset_sizes(m: Any, n: int) -> list[int]:
    """The sizes of subsets of n features: those given, or evenly on a log scale."""
    if m.sizes is not None:
        return [int(size) for size in m.sizes]
    top = max(1, int(m.n_max_percentage * n))
    return sorted({round(top ** (i / (m.n_sizes - 1))) for i in range(m.n_sizes)})


def _subset_of(m: Any, s: Sample, query: np.ndarray) -> np.ndarray:
    """Which features a query removed; nothing else may have changed."""
    gone = query != s.x
    if s.a.shape != s.x.shape:
        gone = gone.any(s.channel_axis, keepdims=s.features_with_channels())
    subset = np.flatnonzero(gone)
    np.testing.assert_allclose(query, s.without(subset, baseline(s, m.baseline)), rtol=1e-6)
    return subset


def sensitivity_n(m: Any, s: Sample) -> Answer:
    """Of the draws, or of what was asked, which must show the sizes that were promised."""
    a, b, sizes = prepare(s.a, m), baseline(s, m.baseline), subset_sizes(m, s.a.size)
    if s.draws is not None:
        subsets = [row[row >= 0] for row in s.draws]
    else:
        subsets = [_subset_of(m, s, q) for q in s.queries]
    assert [len(v) for v in subsets] == list(np.repeat(sizes, m.n_runs))
    sums = np.array([a.flat[v].sum() for v in subsets])
    drops = np.array([f(m, s, s.x) - f(m, s, s.without(v, b)) for v in subsets])
    by_size = zip(sums.reshape(-1, m.n_runs), drops.reshape(-1, m.n_runs), strict=True)
    curve = [pearson(u, v) for u, v in by_size]
    defined = [v for v in curve if not np.isnan(v)]
    return (float(np.mean(defined)) if defined else np.nan), curve


def infidelity(m: Any, s: Sample) -> Answer:
    a, b = prepare(s.a, m), baseline(s, m.baseline)
    if m.perturbation == "gaussian":
        changes = list(s.draws)
    else:
        if m.perturbation == "patches":
            squares = patches(s.spatial(), m.patch_size)
        else:
            squares = []
            for corner in s.draws:
                where = np.zeros(s.spatial(), bool)
                where[tuple(slice(c, c + m.patch_size) for c in corner)] = True
                squares.append(where)
        changes = [s.x - np.where(s.over_space(where), b, s.x) for where in squares]
    products = np.array([(i * s.spread(a)).sum() for i in changes])
    drops = np.array([f(m, s, s.x) - f(m, s, s.x - i) for i in changes])
    if m.normalised and (products**2).sum() > 0:
        products = products * (products * drops).sum() / (products**2).sum()
    return ((products - drops) ** 2).mean()


# -- robustness --------------------------------------------------------------------------------


def _changes(m: Any, s: Sample) -> list[float]:
    a = prepare(s.a, m)
    size = np.linalg.norm(a.ravel())
    if size == 0:
        return [np.nan for _ in s.draws]
    moved = [prepare(s.explain(s.x + n), m) for n in s.draws]
    return [np.linalg.norm((a - v).ravel()) / size for v in moved]


def max_sensitivity(m: Any, s: Sample) -> Answer:
    return max(_changes(m, s))


def avg_sensitivity(m: Any, s: Sample) -> Answer:
    return float(np.mean(_changes(m, s)))


def local_lipschitz(m: Any, s: Sample) -> Answer:
    a = prepare(s.a, m)
    return max(
        np.linalg.norm((a - prepare(s.explain(s.x + n), m)).ravel()) / np.linalg.norm(n.ravel())
        for n in s.draws
    )


def _stability(m: Any, s: Sample, distance: Any) -> float:
    a, z = prepare(s.a, m), s.net.logits(s.x)
    ratios = []
    for n in s.draws:
        there = s.net.logits(s.x + n)
        if there.argmax() == z.argmax():
            change = relative_change(a, prepare(s.explain(s.x + n), m), m.eps)
            ratios.append(change / max(distance(s.x + n, z, there), m.eps))
    return max(ratios, default=np.nan)


def ris(m: Any, s: Sample) -> Answer:
    return _stability(m, s, lambda x, z, there: relative_change(s.x, x, m.eps))


def ros(m: Any, s: Sample) -> Answer:
    return _stability(m, s, lambda x, z, there: np.linalg.norm(z - there))


def rrs(m: Any, s: Sample) -> Answer:
    h = s.net.hidden(s.x)
    return _stability(m, s, lambda x, z, there: relative_change(h, s.net.hidden(x), m.eps))


def average_stability(m: Any, s: Sample) -> Answer:
    a = prepare(s.a, m)
    moved = [prepare(s.explain(s.x + n), m) for n in s.draws]
    if m.distance == "l2":
        return float(np.mean([np.linalg.norm((a - v).ravel()) for v in moved]))
    return float(np.mean([1 - spearman(a, v) for v in moved]))


def continuity(m: Any, s: Sample) -> Answer:
    """Column by column: what moves out is lost, and what moves in is the baseline."""
    a, b = prepare(s.a, m), baseline(s, m.baseline)
    axis = s.x.ndim - 1 if s.channel_axis != s.x.ndim - 1 else s.x.ndim - 2
    width, ratios = s.x.shape[axis], []
    for k in range(m.n_steps):
        shift = round(-width + 2 * width * k / (m.n_steps - 1))
        moved = np.array(b)
        for column in range(width):
            if 0 <= column + shift < width:
                to, of = ([slice(None)] * s.x.ndim for _ in range(2))
                to[axis], of[axis] = column + shift, column
                moved[tuple(to)] = s.x[tuple(of)]
        change = np.abs(a - prepare(s.explain(moved), m)).sum()
        if shift != 0 and (moved != s.x).any():
            ratios.append(change / np.linalg.norm((s.x - moved).ravel()))
    return max(ratios, default=np.nan)


def consistency(m: Any, samples: list[Sample]) -> list[float]:
    def code(s: Sample) -> Any:
        a = prepare(s.a, m).ravel()
        if m.discretise == "top_n_sign":
            return {(i, np.sign(a[i])) for i in descending(np.abs(a))[: m.n]}
        if m.discretise == "rank":
            return descending(a)
        return [np.sign(v) if m.discretise == "sign" else round(v, m.decimals) for v in a]

    codes = [code(s) for s in samples]
    classes = [int(s.net.logits(s.x).argmax()) for s in samples]
    scores = []
    for i, c in enumerate(codes):
        same = [j for j, other in enumerate(codes) if j != i and other == c]
        alike = [classes[j] == classes[i] for j in same]
        scores.append(float(np.mean(alike)) if alike else np.nan)
    return scores


# -- localisation ------------------------------------------------------------------------------


def pointing_game(m: Any, s: Sample) -> Answer:
    a = prepare(s.a, m)
    if not s.mask.any():
        return np.nan
    axes = [
        i for i in range(a.ndim) if not (i == s.channel_axis and s.features_with_channels())
    ]  # distances are in pixels
    top = np.array(np.unravel_index(descending(a)[0], a.shape))[axes]
    distance = min(np.linalg.norm(at[axes] - top) for at in np.argwhere(s.mask))
    hit = float(distance <= m.tolerance)
    return hit * (1 - s.mask.sum() / a.size) if m.weighted else hit


def relevance_mass_accuracy(m: Any, s: Sample) -> Answer:
    a = prepare(s.a, m)
    mass = np.abs(a) if m.signed else np.clip(a, 0, None)
    if not s.mask.any() or mass.sum() == 0:
        return np.nan
    return mass[s.mask].sum() / mass.sum()


def relevance_rank_accuracy(m: Any, s: Sample) -> Answer:
    a, k = prepare(s.a, m), int(s.mask.sum())
    return np.nan if k == 0 else s.mask.ravel()[descending(a)[:k]].sum() / k


def auc(m: Any, s: Sample) -> Answer:
    a = prepare(s.a, m)
    inside, outside = a[s.mask], a[~s.mask]
    if not inside.size or not outside.size:
        return np.nan
    wins = sum(np.sum(u > outside) + np.sum(u == outside) / 2 for u in inside)
    return wins / (inside.size * outside.size)


def attribution_localisation(m: Any, s: Sample) -> Answer:
    inside = total = 0.0
    for v, on in zip(prepare(s.a, m).flat, s.mask.flat, strict=True):
        total += max(v, 0)
        inside += max(v, 0) if on else 0
    if not s.mask.any() or total == 0:
        return np.nan
    return inside / total * (s.mask.size / s.mask.sum() if m.weighted else 1)


def focus(m: Any, s: Sample) -> Answer:
    positive = np.clip(prepare(s.a, m), 0, None)
    if not s.mask.any() or not positive.any():
        return np.nan
    return positive[s.mask].sum() / positive.sum()


def top_k_intersection(m: Any, s: Sample) -> Answer:
    a, mask = prepare(s.a, m), s.mask.ravel()
    if not mask.any():
        return np.nan
    k = max(a.size // 10, 1) if m.k is None else m.k
    hits = sum(mask[i] for i in descending(a)[:k])
    return hits / k * (mask.size / mask.sum() if m.concept_influence else 1)


def average_precision(m: Any, s: Sample) -> Answer:
    """Each recalled feature at the precision of its threshold."""
    a = prepare(s.a, m)
    inside = a[s.mask]
    if not inside.size:
        return np.nan
    return float(np.mean([(inside >= t).sum() / (a >= t).sum() for t in inside]))


def iou(m: Any, s: Sample) -> Answer:
    a, mask = prepare(s.a, m).ravel(), s.mask.ravel()
    if not mask.any():
        return np.nan
    if m.threshold is None:
        chosen = set(descending(a)[: mask.sum()])
    else:
        chosen = {i for i, v in enumerate(a) if v > m.threshold}
    wanted = set(np.flatnonzero(mask).tolist())
    return len(chosen & wanted) / len(chosen | wanted)


# -- complexity --------------------------------------------------------------------------------


def sparseness(m: Any, s: Sample) -> Answer:
    """Gini, as the mean absolute difference of all pairs over twice the mean."""
    v = np.abs(prepare(s.a, m)).ravel()
    if v.sum() == 0:
        return np.nan
    return np.abs(v[:, None] - v[None]).mean() / (2 * v.mean())


def complexity(m: Any, s: Sample) -> Answer:
    v = np.abs(prepare(s.a, m)).ravel()
    if v.sum() == 0:
        return np.nan
    p = v[v > 0] / v.sum()
    return -(p * np.log(p)).sum()


def effective_complexity(m: Any, s: Sample) -> Answer:
    return float(sum(abs(v) > m.eps for v in prepare(s.a, m).flat))


def mstc(m: Any, s: Sample) -> Answer:
    """Every pair of points, and Kruskal's tree over those that are neighbours."""
    a = prepare(s.a, m)
    if s.channel_axis is not None and s.features_with_channels():
        a = a.sum(s.channel_axis)
    heat = np.abs(a)
    bar = np.percentile(heat, m.percentile)
    points = [p for p in np.ndindex(heat.shape) if heat[p] >= bar and heat[p] > 0]
    area = hull_area(points)
    if area == 0:
        return np.nan
    n = len(points)
    length = [[float(np.hypot(p[0] - q[0], p[1] - q[1])) for q in points] for p in points]
    k = min(m.n_neighbours, n - 1)
    reach = [sorted(row)[k] for row in length]  # the first is the point itself
    edges = [
        (length[i][j], i, j)
        for i in range(n)
        for j in range(i)
        if length[i][j] <= max(reach[i], reach[j])
    ]
    part, tree = list(range(n)), 0.0
    for d, i, j in sorted(edges):
        if part[i] != part[j]:
            tree += d
            old, new = part[i], part[j]
            part = [new if v == old else v for v in part]
    return 100 * np.hypot(*heat.shape) / np.sqrt(area) * n / tree


# -- randomisation -----------------------------------------------------------------------------


def _similarity(kind: Any, u: np.ndarray, v: np.ndarray, s: Sample) -> float:
    if callable(kind):
        return float(kind(u, v))
    if kind == "ssim":
        axis = s.channel_axis if s.features_with_channels() else None
        return ssim(unit_range(u), unit_range(v), axis)
    return {"spearman": spearman, "pearson": pearson}[kind](u, v)


def _by_layer(m: Any, s: Sample, a: np.ndarray, draws: Any, explain: Any) -> Any:
    """(score, mean curve, standard deviations over the seeds) of a test by layers."""
    names = [n for n in ("hidden", "out") if m.layers is None or n in m.layers]
    if m.order != "bottom_up":
        names = names[::-1]
    similarities = np.zeros((m.n_seeds, len(names)))
    for seed in range(m.n_seeds):
        fresh = {n: {k: v[seed] for k, v in layer.items()} for n, layer in draws.items()}
        for i, name in enumerate(names):
            random = {name} if m.order == "independent" else set(names[: i + 1])
            net = Net({n: (fresh if n in random else s.net.params)[n] for n in s.net.params})
            similarities[seed, i] = _similarity(m.similarity, a, prepare(explain(net), m), s)
    curve = similarities.mean(0)
    return (curve.mean() if m.score == "mean" else curve[-1]), curve, similarities.std(0)


def mprt(m: Any, s: Sample) -> Answer:
    return _by_layer(m, s, prepare(s.a, m), s.draws, lambda net: s.explain(s.x, net=net))[:2]


def smooth_mprt(m: Any, s: Sample) -> Answer:
    sigma = m.noise_level * np.ptp(s.x)

    def explain(net: Net) -> np.ndarray:
        maps = [s.explain(s.x + sigma * e.astype(np.float64), net=net) for e in s.draws["noise"]]
        return sum(maps) / len(maps)

    return _by_layer(m, s, prepare(explain(s.net), m), s.draws["params"], explain)[:2]


def _bins(m: Any, a: np.ndarray) -> int:
    if not isinstance(m.n_bins, str):
        return m.n_bins
    name = {"freedman_diaconis": "fd"}.get(m.n_bins, m.n_bins)
    spread = np.subtract(*np.percentile(a, [75, 25])) if name == "fd" else a.std()
    if name in ("fd", "scott") and spread == 0:
        return 200
    return int(np.clip(len(np.histogram_bin_edges(a, name)) - 1, 10, 200))


def _entropy(a: np.ndarray, bins: int) -> float:
    counts = np.histogram(a, bins)[0]
    p = counts[counts > 0] / counts.sum()
    return -(p * np.log(p)).sum()


def efficient_mprt(m: Any, s: Sample) -> Answer:
    a = prepare(s.a, m)
    bins = _bins(m, a)
    clean = _entropy(a, bins)
    random = []
    for seed in range(m.n_seeds):
        net = Net({n: {k: v[seed] for k, v in layer.items()} for n, layer in s.draws.items()})
        random.append(_entropy(prepare(s.explain(s.x, net=net), m), bins))
    return (np.mean(random) - clean) / clean if clean > 0 else np.nan


def class_sensitivity(m: Any, s: Sample) -> Answer:
    if s.draws is None:
        others = [c for c in range(len(s.net.logits(s.x))) if c != s.y]
        other = max(others, key=lambda c: s.net.logits(s.x)[c])
    else:
        other = int(s.draws)
    u, v = (unit_range(prepare(a, m)) for a in (s.a, s.explain(s.x, other)))
    return _similarity(m.similarity, u, v, s)


def random_logit(m: Any, s: Sample) -> Answer:
    a, other = prepare(s.a, m), prepare(s.explain(s.x, int(s.draws)), m)
    return ssim(a, other, s.channel_axis if s.features_with_channels() else None)


# -- axiomatic ---------------------------------------------------------------------------------


def completeness(m: Any, s: Sample) -> Answer:
    gain = f(m, s, s.x) - f(m, s, baseline(s, m.baseline))
    gap = abs(prepare(s.a, m).sum() - gain)
    if m.relative:
        gap = gap / abs(gain) if gain != 0 else np.nan
    return float(gap <= m.tolerance) if m.satisfied else gap


def input_invariance(m: Any, s: Sample) -> Answer:
    """The shifted network has the first bias b - w m."""
    first = s.net.params["hidden"]
    shift = np.full(s.x.size, float(m.shift))
    moved = {"w": first["w"], "b": first["b"] - shift @ first["w"]}
    net = Net({**s.net.params, "hidden": moved})
    a, shifted = prepare(s.a, m), prepare(s.explain(s.x + m.shift, net=net), m)
    change = np.abs(a - shifted).max()
    return float(change <= m.tolerance) if m.satisfied else change


def non_sensitivity(m: Any, s: Sample) -> Answer:
    a = prepare(s.a, m).ravel()
    draws = np.reshape(s.draws, (a.size, m.n_samples))
    disagree = 0
    for i in range(a.size):
        change = max(abs(f(m, s, s.x) - f(m, s, s.without([i], u))) for u in draws[i])
        disagree += (abs(a[i]) < m.eps) != (change < m.eps)
    return disagree / a.size
