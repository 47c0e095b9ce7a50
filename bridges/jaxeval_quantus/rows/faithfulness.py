"""Faithfulness: what the outputs say when features are removed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import quantus.functions.perturb_func as perturb_func
from quantus.helpers import utils

import jaxeval as je

from ..batch import Batch
from ..draws import (
    baseline_of,
    drifting_means,
    fills,
    fills_values,
    patch_sums,
    patches,
    perturbation,
    places,
)
from ..mended import calculate_auc
from ..questions import Removed, Replaced, Subsets
from ..settings import PAGE, Unmapped, chosen, say_once
from .row import Row


def faithfulness_correlation(b: Batch) -> list[float]:
    metric, runs = b.metric, b.metric.nr_runs
    fill = fills(metric, b.flat) if fills_values(metric) else None
    b.worth(runs)
    a, (n, features) = b.full, b.flat.shape
    subsets, values = [], []

    def subset() -> np.ndarray:
        rows = [np.random.choice(features, metric.subset_size, replace=False) for _ in range(n)]
        subsets.append(np.stack(rows))
        return subsets[-1]

    if fill is None:
        drops = b.answers(b.perturbed(subset() for _ in range(runs)), runs, "drop")
        at = np.stack(subsets, 1)
    else:
        for _ in range(runs):
            subset()
            values.append(fill())
        at, value = np.stack(subsets, 1), np.stack(values, 1).astype(np.float32)
        drops = b.outputs(Subsets(draws=at.astype(np.int32)), "drop", fill=value)
    sums = np.take_along_axis(a[:, None], at, 2).sum(-1)
    return metric.similarity_func(a=sums, b=drops, batched=True).tolist()


def one_group_at_a_time(b: Batch, order: np.ndarray, repeats: int = 1) -> np.ndarray:
    """[N, S repeats]: f(x) - f(x_s), where x_s lacks the s-th group of features in this order."""
    size, features = b.metric.features_in_step, b.flat.shape[1]
    steps = math.ceil(features / size) * repeats
    if not fills_values(b.metric):
        at = (order[:, i : i + size] for i in range(0, features, size) for _ in range(repeats))
        return b.answers(b.perturbed(at), steps, "drop")
    fill = fills(b.metric, b.flat)
    values = np.stack([fill() for _ in range(steps)], 1).astype(np.float32)
    group = (places(order) // size).astype(np.int32).reshape(b.x.shape)
    return b.outputs(Replaced(repeats=repeats, draws=values), "drop", group=group)


def group_sums(a: np.ndarray, order: np.ndarray, size: int) -> np.ndarray:
    """[N, S]: the sums of a over groups of `size` features in this order; the last is smaller."""
    ordered = np.take_along_axis(a, order, 1)
    return np.stack([ordered[:, i : i + size].sum(-1) for i in range(0, ordered.shape[1], size)], 1)


def faithfulness_estimate(b: Batch) -> list[float]:
    b.worth(math.ceil(b.flat.shape[1] / b.metric.features_in_step))
    order = np.argsort(-b.full, axis=1)
    drops = one_group_at_a_time(b, order)
    sums = group_sums(b.full, order, b.metric.features_in_step)
    return b.metric.similarity_func(a=sums, b=drops, batched=True).tolist()


def monotonicity_correlation(b: Batch) -> list[float]:
    """Quantus divides the variances of a sample by f(x)^2, which no rank correlation notices."""
    metric = b.metric
    b.worth(math.ceil(b.flat.shape[1] / metric.features_in_step) * metric.nr_samples)
    order = np.argsort(b.full, axis=1)
    drops = one_group_at_a_time(b, order, metric.nr_samples).reshape(b.n, -1, metric.nr_samples)
    f = b.clean[:, None]
    scale = np.where(np.abs(f) >= metric.eps, 1 / np.maximum(np.abs(f), metric.eps), 1) ** 2
    variances = np.mean(drops**2, axis=2) * scale
    sums = group_sums(b.full, order, metric.features_in_step)
    return metric.similarity_func(a=sums, b=variances, batched=True).tolist()


def removed(
    b: Batch,
    group: np.ndarray,
    steps: int,
    what: str,
    padded: Callable[[], tuple[np.ndarray, np.ndarray]] | None = None,
) -> np.ndarray:
    """[N, S]: answers while groups are removed one after the other and stay away.

    Args:
      group: the step at which each entry is removed, [N, F].
      padded: the same inputs and groups with what Quantus pads them by, which counts for a mean.
    """
    fill = fills(b.metric, b.flat)
    values = np.stack([fill() for _ in range(steps)], 1)
    if baseline_of(b.metric) == "mean":
        values = drifting_means(*(padded() if padded else (b.flat, group)), steps)
    value = np.take_along_axis(values, np.minimum(group, steps - 1), 1)
    return b.outputs(
        Removed(steps=steps),
        what,
        group=group.astype(np.int32).reshape(b.x.shape),
        value=value.astype(np.float32).reshape(b.x.shape),
    )


def pixel_flipping(b: Batch) -> list[Any]:
    size, features = b.metric.features_in_step, b.flat.shape[1]
    steps = math.ceil(features / size)
    b.worth(steps)
    order = np.argsort(-b.full, axis=1)
    if fills_values(b.metric):
        curves = removed(b, places(order) // size, steps, "value")
    else:
        at = (order[:, i : i + size] for i in range(0, features, size))
        curves = b.answers(b.perturbed(at, in_turn=True), steps)
    return (
        calculate_auc(curves, batched=True) if b.metric.return_auc_per_sample else curves
    ).tolist()


def patches_removed(b: Batch, order: np.ndarray, steps: int, what: str) -> np.ndarray:
    """[N, S]: answers while patches are removed in this order [N, P]."""
    size, place = b.metric.patch_size, places(order)
    of, (_, columns), pads = patches(b.x, size)
    if not fills_values(b.metric):
        return b.answers(own_patches(b, order, pads), steps, what)

    def padded() -> tuple[np.ndarray, np.ndarray]:
        x = b.x.reshape(b.n, b.x.shape[1], -1, b.x.shape[-1])
        x = np.pad(x, ((0, 0), (0, 0), *pads), "edge")
        row, column = np.indices(x.shape[2:])
        tile = np.broadcast_to(row // size * columns + column // size, x.shape[1:])
        return x.reshape(b.n, -1), place[:, tile.reshape(-1)]

    return removed(b, place[:, of.reshape(-1)], steps, what, padded)


def own_patches(b: Batch, order: np.ndarray, pads: tuple[Any, ...]) -> Iterator[np.ndarray]:
    """The inputs after patch after patch is perturbed by the caller's function, in this order.

    It is given the image with its edges repeated, and positions in that, as in Quantus.
    """
    x = b.x.reshape(b.n, b.x.shape[1], -1, b.x.shape[-1])
    x = np.pad(x, ((0, 0), (0, 0), *pads), "edge")
    blocks = np.stack(list(utils.get_block_indices(x, b.metric.patch_size)), 1)
    inside = tuple(slice(low, n - high) for (low, high), n in zip(pads, x.shape[2:], strict=True))
    shape, x = x.shape, x.reshape(b.n, -1)
    for patch in order.T:
        x = b.metric.perturb_func(arr=x, indices=blocks[np.arange(b.n), patch])
        yield x.reshape(shape)[:, :, *inside]


def patch_scores(b: Batch) -> np.ndarray:
    return patch_sums(np.broadcast_to(b.a, b.x.shape), b.x, b.metric.patch_size)


def region_perturbation(b: Batch) -> np.ndarray:
    metric = b.metric
    _, tiles, _ = patches(b.x, metric.patch_size)
    n_patches = int(np.prod(tiles))
    steps = min(metric.regions_evaluation, n_patches)
    b.worth(steps)
    if metric.order == "random":
        order = np.array([np.random.permutation(n_patches) for _ in range(b.n)])
    elif metric.order in ("morf", "lerf"):
        sums = patch_scores(b)
        order = np.argsort(-sums if metric.order == "morf" else sums, -1)
    else:
        raise Unmapped(f"order={metric.order!r}")
    return patches_removed(b, order, steps, "drop")


def selectivity(b: Batch) -> np.ndarray:
    steps = int(np.prod(patches(b.x, b.metric.patch_size)[1]))
    b.worth(steps)
    order = np.argsort(-patch_scores(b), -1)
    return patches_removed(b, order, steps, "value").astype(np.float64)


def infidelity(b: Batch) -> np.ndarray:
    """Each patch alone, as the paper resets the input; Quantus goes on from what it removed."""
    metric, a = b.metric, b.full
    baseline_of(metric)
    fill = fills(metric, b.flat)
    random = baseline_of(metric) == "uniform"
    results = []
    for _ in range(metric.n_perturb_samples if random else 1):
        for size in metric.perturb_patch_sizes:
            of, tiles, _ = patches(b.x, size)
            steps = int(np.prod(tiles))
            b.worth(steps, always=True)
            values = np.stack([fill() for _ in range(steps)], 1).astype(np.float32)
            group = np.broadcast_to(of.astype(np.int32), b.x.shape)
            drops = b.outputs(Replaced(draws=values), "drop", group=np.array(group))
            sums = np.zeros((b.n, steps))
            changed = a * (b.flat - np.take_along_axis(values, group.reshape(b.n, -1), 1))
            np.add.at(sums, (np.arange(b.n)[:, None], group.reshape(b.n, -1)), changed)
            results.append(metric.loss_func(a=drops, b=sums, batched=True))
    return np.mean(np.stack(results, 1), 1)


def monotonicity(b: Batch) -> list[bool]:
    """Whether f never falls while features return to the baseline, those with least first."""
    fill, size = fills(b.metric, b.flat), b.metric.features_in_step
    steps = math.ceil(b.flat.shape[1] / size)
    b.worth(steps, always=True)
    blank = np.repeat(fill()[:, None], b.flat.shape[1], 1).reshape(b.x.shape)
    group = (places(np.argsort(b.full, axis=1)) // size).astype(np.int32).reshape(b.x.shape)
    curve = b.outputs(Removed(steps=steps), x=blank, group=group, value=b.x.astype(np.float32))
    curve = np.concatenate([b.clean[:, None], curve], 1)
    strictly = jax.vmap(lambda c: je.functional.monotonicity(c, True))
    return np.asarray(strictly(curve)).astype(bool).tolist()


def sensitivity_n(b: Batch) -> list[Any]:
    b.worth(1, always=True)
    if b.metric.similarity_func.__name__ != "correlation_pearson":
        raise Unmapped("similarity_func of SensitivityN")
    metric = je.SensitivityN(
        n_max_percentage=b.metric.n_max_percentage,
        baseline=jaxeval_baseline(b),
        normalise=None,
        output="probability" if b.wrapped.softmax else "logit",
    )
    a = np.array(b.full.reshape(b.x.shape), np.float32)
    return list(np.asarray(b.ask(metric, a=a, key=seed()).curve))


def irof(b: Batch) -> np.ndarray:
    """With Quantus's segments; the fill is that of the clean sample, the area is on [0, 1]."""
    known = perturb_func.baseline_replacement_by_mask
    if perturbation(b.metric)[0] is not known:
        raise Unmapped("perturb_func of IROF")
    baseline = baseline_of(b.metric, known)
    method, a = b.metric.segmentation_method, b.full.reshape(b.x.shape)
    images = [np.moveaxis(x, 0, -1).astype("double") for x in b.x]
    segments = [utils.get_superpixel_segments(img=i, segmentation_method=method) for i in images]
    counts = np.array([int(s.max()) + 1 for s in segments])
    group = np.empty(b.x.shape, np.int32)
    for i, segment in enumerate(segments):
        means = [a[i][:, segment == s].mean() for s in range(counts[i])]
        group[i] = places(np.argsort(-np.array(means), kind="stable")[None])[0][segment]
    b.worth(int(counts.max()), always=True)
    if baseline == "mean":
        value = np.broadcast_to(b.x.mean((2, 3), keepdims=True), b.x.shape)
    else:
        steps = [fills(b.metric, b.flat, known)() for _ in range(counts.max())]
        value = np.take_along_axis(np.stack(steps, 1), group.reshape(b.n, -1), 1)
    value = np.array(value, np.float32).reshape(b.x.shape)
    curve = b.outputs(Removed(steps=int(counts.max())), group=group, value=value)
    drops = 1 - curve / np.where(b.clean > 0, b.clean, np.nan)[:, None]
    valid = np.arange(counts.max()) < counts[:, None]
    return np.asarray(jax.vmap(je.functional.irof)(jnp.asarray(drops), jnp.asarray(valid)))


def road(b: Batch) -> list[np.ndarray]:
    """[N, percentages] of 0 and 1; Quantus draws the noise pixel by pixel, sample by sample."""
    metric = b.metric
    sizes = [int(metric.a_size * p / 100) for p in metric.percentages]
    b.worth(len(sizes))
    function, kwargs = perturbation(metric)
    if function is not perturb_func.noisy_linear_imputation:
        return own_road(b, sizes)
    if b.x.ndim != 4 or b.a.shape[1] != 1:
        raise Unmapped("ROAD of maps with channels")
    a, channels = b.a.reshape(b.n, -1), b.x.shape[1]
    pixels = a.shape[1]
    if max(sizes) >= pixels:
        raise Unmapped("percentages that leave no pixel")
    if channels > 1:
        say_once("ROAD", f"all channels of a pixel are imputed; Quantus stops there. See {PAGE}")
    noise = kwargs.get("noise", 0.01)
    order = np.argsort(-a, axis=1)
    drawn = np.zeros((b.n, len(sizes), channels, pixels), np.float32)
    for s, k in enumerate(sizes):
        for i in range(b.n):
            drawn[i, s, :, order[i, :k]] = noise * np.random.randn(channels, k).T
    ours = je.ROAD(
        percentages=tuple(100 * (k + 0.5) / pixels for k in sizes),  # rounded down to k
        noise=0.0,
        draws=drawn.reshape(b.n, -1, *b.x.shape[1:]),
        normalise=None,
    )
    # Places instead of values: ties are then Quantus's.
    ranks = -places(order).astype(np.float32).reshape(b.a.shape)
    return [np.asarray(b.ask(ours, a=ranks).curve).astype(int)]


def own_road(b: Batch, sizes: list[int]) -> list[np.ndarray]:
    """The same by the caller's function, which is given one sample and positions in it."""
    order = np.argsort(-b.full, axis=1)

    def made() -> Iterator[np.ndarray]:
        for k in sizes:
            rows = [
                b.metric.perturb_func(arr=x, indices=at[:k])
                for x, at in zip(b.x.copy(), order, strict=True)
            ]
            yield np.stack(rows)

    predicted = b.answers(made(), len(sizes), "predicted")
    return [(predicted == b.y[:, None]).astype(int)]


def jaxeval_baseline(b: Batch, *known: Any) -> Any:
    baseline = baseline_of(b.metric, *known)
    return "uniform_value" if baseline == "uniform" else baseline


def seed() -> int:
    """A key from NumPy's generator, so that `np.random.seed` holds for jaxeval's draws, too."""
    return int(np.random.randint(2**31))


class OfClasses:
    """Sufficiency without Quantus's distances within a batch, unless its own code runs."""

    _theirs: Any

    def custom_batch_preprocess(
        self, model: Any, x_batch: np.ndarray, a_batch: np.ndarray, **kwargs: Any
    ) -> dict[str, np.ndarray]:
        if "quantus" in chosen.values():
            return self._theirs.custom_batch_preprocess(self, model, x_batch, a_batch)
        x = model.shape_input(x_batch, x_batch.shape, channel_first=True, batched=True)
        return {"y_pred_classes": np.argmax(model.predict(x), axis=1).flatten()}

    def _for_theirs(self, given: dict[str, Any]) -> dict[str, Any]:
        if "i_batch" in given:
            return given
        arrays = (given[name] for name in ("model", "x_batch", "a_batch"))
        return {**self._theirs.custom_batch_preprocess(self, *arrays), **given}


def sufficiency(b: Batch) -> np.ndarray:
    if b.metric.distance_func != "seuclidean":
        raise Unmapped(f"distance_func={b.metric.distance_func!r}")
    assert b.predicted is not None
    a, threshold = b.a.reshape(b.n, -1), b.metric.threshold
    return np.nan_to_num(np.asarray(je.functional.sufficiency(a, b.predicted, threshold), float))


ROWS = {
    "FaithfulnessCorrelation": Row(faithfulness_correlation),
    "FaithfulnessEstimate": Row(faithfulness_estimate),
    "PixelFlipping": Row(pixel_flipping),
    "RegionPerturbation": Row(region_perturbation),
    "Selectivity": Row(selectivity),
    "MonotonicityCorrelation": Row(monotonicity_correlation),
    "Monotonicity": Row(
        monotonicity,
        paper="features are inserted into the baseline; in Quantus the input never changes and "
        "every score is True",
    ),
    "SensitivityN": Row(
        sensitivity_n,
        paper="the correlation is over random subsets of each size, sample by sample; Quantus "
        "correlates over the samples of its first batch",
        whole=True,
    ),
    "IROF": Row(
        irof,
        paper="removed segments take the channel means of the clean sample, and the area is on "
        "[0, 1]; Quantus takes the mean of the partly perturbed batch and counts segments",
    ),
    "ROAD": Row(road),
    "Infidelity": Row(
        infidelity,
        paper="every patch is removed from the clean input; in Quantus all patches before it are "
        "gone, too",
    ),
    "Sufficiency": Row(
        sufficiency,
        in_torch=True,
        mixin=OfClasses,
        paper="maps are compared over the whole data set, and constant features are left out; "
        "Quantus compares within a batch, and scores 0 where a feature is constant. As there, a "
        "sample that is like no other scores 0",
        whole=True,
    ),
}
