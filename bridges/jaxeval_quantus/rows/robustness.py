"""Robustness: explanations of changed inputs."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import numpy as np
import quantus.functions.norm_func as norms
import quantus.functions.perturb_func as perturb_func
import quantus.functions.similarity_func as similarities

import jaxeval as je

from ..batch import Batch
from ..draws import noisy
from ..models import calls
from ..settings import Unmapped
from ..sharing import watches
from .row import Row

NORMS = (norms.fro_norm, norms.l2_norm)


def finished(metric: Any, maps: np.ndarray) -> np.ndarray:
    """Maps of one batch as Quantus's `explain_batch` leaves them."""
    if metric.normalise:
        maps = metric.normalise_func(maps)
    return np.abs(maps) if metric.abs else maps


def sensitivities(b: Batch, watch: bool) -> np.ndarray:
    """[N, S] of MaxSensitivity and AvgSensitivity; NaN where the prediction changes, if asked."""
    metric, a = b.metric, b.a.reshape(b.n, -1)
    explainer = b.explainer()
    b.worth(metric.nr_samples, 2 * watch, explainer)
    plain = (
        not metric.normalise
        and metric.similarity_func is similarities.difference
        and metric.norm_numerator in NORMS
    )
    scores = np.empty((b.n, metric.nr_samples))
    draw = noisy(metric, b.x)
    asked = {"raw": not plain, "watch": watch}
    for s, step in enumerate(b.explained(draw, metric.nr_samples, explainer, **asked)):
        if plain:
            numerator = step.change
        else:
            other = finished(metric, step.maps).reshape(b.n, -1)
            numerator = metric.norm_numerator(a=metric.similarity_func(a=a, b=other))
        with np.errstate(divide="ignore", invalid="ignore"):
            scores[:, s] = numerator / metric.norm_denominator(a=a)
        scores[step.changed, s] = np.nan
    return scores


def max_sensitivity(b: Batch) -> np.ndarray:
    watch = watches(b.metric)
    return b.metric.max_func(sensitivities(b, watch), axis=1)


def avg_sensitivity(b: Batch) -> np.ndarray:
    watch = watches(b.metric)
    return b.metric.mean_func(sensitivities(b, watch), axis=1)


def local_lipschitz(b: Batch) -> np.ndarray:
    metric, a = b.metric, b.a.reshape(b.n, -1)
    explainer = b.explainer()
    watch = watches(metric)
    b.worth(metric.nr_samples, 2 * watch, explainer)
    plain = (
        not metric.normalise
        and metric.similarity_func is similarities.lipschitz_constant
        and metric.norm_numerator is similarities.distance_euclidean
    )
    own = {"norm_numerator": metric.norm_numerator, "norm_denominator": metric.norm_denominator}
    scores = np.empty((b.n, metric.nr_samples))
    draw = noisy(metric, b.x)
    asked = {"raw": not plain, "watch": watch}
    for s, step in enumerate(b.explained(draw, metric.nr_samples, explainer, **asked)):
        far = step.x.reshape(b.n, -1)
        if plain:
            scores[:, s] = step.change / (metric.norm_denominator(a=b.flat, b=far) + 1e-10)
        else:
            other = finished(metric, step.maps).reshape(b.n, -1)
            scores[:, s] = metric.similarity_func(a=a, b=other, c=b.flat, d=far, **own)
        scores[step.changed, s] = np.nan
    return metric.max_func(scores, axis=1)


def relative_stability(b: Batch, ours: Any, **how: Any) -> np.ndarray | list[Any]:
    """The largest ratio of relative changes; NaN if one draw changes the prediction, if asked."""
    metric = b.metric
    explainer = b.explainer()
    watch = watches(metric)
    b.worth(metric._nr_samples, 1 + 2 * watch, explainer)
    if b.x.ndim > 4:
        raise Unmapped("inputs with more than four axes")
    ratios = np.empty((metric._nr_samples, b.n))
    draw = noisy(metric, b.x)
    asked = {"distance": ours, "watch": watch, "eps": metric._eps_min, **how}
    asked["raw"] = metric.normalise
    for s, step in enumerate(b.explained(draw, metric._nr_samples, explainer, **asked)):
        change, distance = step.relative, step.distance
        if metric.normalise:
            parts = (b.a - finished(metric, step.maps)) / (b.a + (b.a == 0) * metric._eps_min)
            change = np.linalg.norm(parts.reshape(b.n, -1), axis=1)
        ratios[s] = change / (distance + (distance == 0) * metric._eps_min)
        ratios[s, step.changed] = np.nan
    result = ratios.max(0)
    return [metric.aggregate_func(result)] if metric.return_aggregate else result


def ris(b: Batch) -> Any:
    return relative_stability(b, je.RIS(eps=b.metric._eps_min))


def ros(b: Batch) -> Any:
    """Of what `predict` gives: logits, or probabilities with ``softmax=True``."""
    if b.wrapped.softmax:
        raise Unmapped("softmax=True of RelativeOutputStability")
    return relative_stability(b, je.ROS(eps=b.metric._eps_min))


def rrs(b: Batch) -> Any:
    """Layers are named as by `named_modules`, without containers and the module itself.

    A module that is called several times has a representation of each call.
    """
    import torch

    metric, module = b.metric, b.wrapped.get_model()
    every = list(module.named_modules())
    containers = (type(module), torch.nn.Sequential)
    hidden = [name for name, layer in every if not isinstance(layer, containers)]
    names, numbers = metric._layer_names or [], metric._layer_indices or []
    at = {i if i >= 0 else len(every) + i for i in numbers}
    if names or at:
        hidden = [name for i, name in enumerate(hidden) if name in names or i in at]
    times = calls(module, b.x[:1])
    layers = tuple(f"{k}@{n + 1}" if n else k for k in hidden for n in range(times[k]))
    if not layers:
        raise Unmapped("no hidden layer is named")
    ours = je.RRS(eps=metric._eps_min, layers=layers)
    return relative_stability(b, ours, exact_layers=True)


def continuity(b: Batch) -> np.ndarray:
    """Maps are compared as in Quantus, shift by shift; NaN for what its `np.NaN` was."""
    metric = b.metric
    if b.x.ndim != 4:
        raise Unmapped("inputs that are no images")
    explainer = b.explainer()
    watch = metric.return_nan_when_prediction_changes
    # Quantus's own code would stop at np.NaN, which NumPy 2 does not have.
    always = watch and not hasattr(np, "NaN")
    b.worth(metric.nr_steps, int(watch), explainer, always)
    width = b.x.shape[3]
    stride = (2 * width + 1) // metric.nr_steps
    shifts = [-width + stride * (s + 1) for s in range(metric.nr_steps)]

    def twice(maps: np.ndarray) -> np.ndarray:
        return finished(metric, finished(metric, maps)).reshape(b.n, -1)

    a, results = None, []

    def given() -> Iterator[np.ndarray]:
        yield b.x
        for d in shifts:  # each draws a number, as every baseline with a name
            yield perturb_func.batched_translation(b.x, "black", d, direction="x")

    draw = functools.partial(next, given())
    for step in b.explained(draw, len(shifts) + 1, explainer, raw=True):
        maps = twice(step.maps)
        if a is None:
            a = maps
            continue
        apart = similarities.distance_euclidean(b.flat, step.x.reshape(b.n, -1)) + 1e-9
        result = np.asarray(similarities.distance_manhattan(a, maps) / apart)
        if watch:
            result[b.wrapped.predict(step.x).argmax(-1) != b.y] = np.nan
        results.append(result)
    return np.max(np.stack(results, 1), 1)


def consistency(b: Batch) -> np.ndarray:
    codes = np.array([b.metric.discretise_func(a) for a in b.a.reshape(b.n, -1)])
    scores = je.functional.consistency(codes, b.predicted)
    return np.nan_to_num(np.asarray(scores, np.float64))


ROWS = {
    "MaxSensitivity": Row(max_sensitivity),
    "AvgSensitivity": Row(avg_sensitivity),
    "LocalLipschitzEstimate": Row(local_lipschitz),
    "RelativeInputStability": Row(ris),
    "RelativeOutputStability": Row(ros),
    "RelativeRepresentationStability": Row(rrs),
    "Continuity": Row(continuity),
    "Consistency": Row(
        consistency,
        in_torch=True,
        paper="explanations are compared over the whole data set; Quantus compares within a "
        "batch. As there, a sample that is like no other scores 0",
        whole=True,
    ),
}
