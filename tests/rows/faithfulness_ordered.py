"""Faithfulness, of metrics that change features in the order of the map."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from skimage.segmentation import slic

import jaxeval as je
from tests import draws
from tests.reference.maths import (
    area,
    ascending,
    baseline,
    by_place,
    code_length,
    descending,
    f,
    imputed,
    patches,
    prepare,
    sizes,
)
from tests.reference.sample import Answer, Sample
from tests.rows.row import BASELINES, WHITE, Row


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


def _patches_gone(m: Any, s: Sample, n: int | None, order: str = "morf") -> list[np.ndarray]:
    """x with the first 1, 2, ... n patches in the order of their summed map at the baseline."""
    a, x, b = by_place(s, prepare(s.a, m)), s.x, baseline(s, m.baseline)
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


def monotonicity(m: Any, s: Sample) -> Answer:
    a, b = prepare(s.a, m), baseline(s, m.baseline)
    order = ascending(a)
    curve = [f(m, s, s.without(order[k:], b)) for k in (0, *sizes(a.size, m))]
    kept = [after >= before for before, after in pairwise(curve)]
    return float(all(kept)) if m.strict else sum(kept) / len(kept)


def road(m: Any, s: Sample) -> Answer:
    a = by_place(s, prepare(s.a, m)).reshape(s.spatial())
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
    a, b = by_place(s, prepare(s.a, m)).reshape(s.spatial()), baseline(s, m.baseline)
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


def _information(m: Any, s: Sample, says: Any) -> Answer:
    a, b = prepare(s.a, m), baseline(s, m.baseline)
    order = descending(a)
    shown = [s.without(order[k:], b) for k in (0, *sizes(a.size, m))]
    bits = np.array([code_length(x, s.x, s.channel_axis) for x in shown])
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


ROWS: dict[str, Row] = {
    "PixelFlipping": Row(
        je.PixelFlipping(n_steps=6),
        pixel_flipping,
        variants={
            "lerf": {"order": "lerf"},
            "in steps of 30": {"features_in_step": 30},
            "one step": {"n_steps": 1},
            "more steps than features": {"n_steps": 1000},
            "every feature": {"n_steps": None},
            **BASELINES,
        },
    ),
    "PixelFlipping/random": Row(
        je.PixelFlipping(order="random", n_steps=6, baseline=-2.0),
        pixel_flipping,
        variants={"in steps of 5": {"features_in_step": 5}},
        draws=draws.order,
        recover=draws.recover_order,
        random=True,
    ),
    "Deletion": Row(
        je.Deletion(n_steps=6),
        deletion,
        variants={"in steps of 30": {"features_in_step": 30}, **WHITE},
    ),
    "Insertion": Row(
        je.Insertion(n_steps=6),
        insertion,
        variants={"in steps of 30": {"features_in_step": 30}, "baseline 3": {"baseline": 3}},
    ),
    "RegionPerturbation": Row(
        je.RegionPerturbation(patch_size=4),
        region_perturbation,
        variants={
            "patches that do not fit": {"patch_size": 3},
            "3 regions": {"patch_size": 3, "n_regions": 3},
            "all regions": {"patch_size": 1, "n_regions": None},
            "channel means": {"baseline": "channel_mean"},
            "lerf": {"order": "lerf", "patch_size": 3},
            "random": {"order": "random", "patch_size": 3},
        },
        draws=draws.patch_order,
        skip=frozenset({"channels"}),
    ),
    "Selectivity": Row(
        je.Selectivity(patch_size=4),
        selectivity,
        variants={
            "patches that do not fit": {"patch_size": 3},
            "patches of one": {"patch_size": 1},
            "channel means": {"baseline": "channel_mean"},
        },
        skip=frozenset({"channels"}),
    ),
    "SRG": Row(
        je.SRG(n_steps=6),
        srg,
        variants={
            "in steps of 30": {"features_in_step": 30},
            "one step": {"n_steps": 1},
            **WHITE,
        },
    ),
    "Monotonicity": Row(
        je.Monotonicity(n_steps=12),
        monotonicity,
        variants={
            "in steps of 30": {"features_in_step": 30},
            "strict": {"strict": True, "n_steps": 2},
            **WHITE,
        },
    ),
    "ROAD": Row(
        je.ROAD(percentages=(10, 40, 75, 95), noise=0.5),
        road,
        variants={
            "lerf": {"order": "lerf"},
            "hardly any noise": {"noise": 1e-3},
            "other percentages": {"percentages": (0.5, 29, 99)},
        },
        draws=draws.imputation_noise,
        recover=draws.recover_imputation_noise,
        random=True,
        numbers={"percentages": ((10, 40, 75, 95), (20, 30, 50, 90))},
        skip=frozenset({"channels"}),
    ),
    "IROF": Row(
        je.IROF(n_segments=10),
        irof,
        variants={"more": {"n_segments": 20, "compactness": 1.0}, **WHITE},
        skip=frozenset({"channels", "tabular"}),
    ),
    "SIC": Row(
        je.SIC(n_steps=6),
        sic,
        variants={"in steps of 30": {"features_in_step": 30}, "of white": {"baseline": 1.0}},
        skip=frozenset({"tabular"}),  # refused: its columns have no order
    ),
    "AIC": Row(
        je.AIC(n_steps=6),
        aic,
        variants={"in steps of 30": {"features_in_step": 30}, "of white": {"baseline": 1.0}},
        skip=frozenset({"tabular"}),  # refused: its columns have no order
    ),
}
