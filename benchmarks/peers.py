"""The same explainers and metrics on both sides: ours, and Quantus with captum."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import quantus
import torch
from captum import attr
from networks import Network

import jaxeval as je


@dataclasses.dataclass(frozen=True)
class Explainer:
    """One method: ours, captum's as Quantus calls it, and the gradients that one map takes."""

    ours: Any
    theirs: Callable[..., np.ndarray]
    gradients: int


def captum(name: str, /, **settings: Any) -> Callable[..., np.ndarray]:
    """One of captum's methods as the function that Quantus calls."""

    def explain(model: Any, inputs: Any, targets: Any, **_: Any) -> np.ndarray:
        x = torch.as_tensor(np.asarray(inputs, np.float32))
        y = torch.as_tensor(np.asarray(targets, np.int64))
        a = getattr(attr, name)(model).attribute(x, target=y, **settings)
        return a.detach().numpy()

    return explain


def _smooth_grad(
    draws: np.ndarray, level: float, model: Any, inputs: Any, targets: Any, **_: Any
) -> np.ndarray:
    """captum's gradient on all noisy copies in one batch, as its NoiseTunnel asks it."""
    x = np.asarray(inputs, np.float32)
    axes = tuple(range(1, x.ndim))
    std = level * (x.max(axes, keepdims=True) - x.min(axes, keepdims=True))
    noisy = torch.from_numpy((x[:, None] + std[:, None] * draws).reshape(-1, *x.shape[1:]))
    y = torch.as_tensor(np.repeat(np.asarray(targets, np.int64), len(draws)))
    a = attr.Saliency(model).attribute(noisy, target=y, abs=False)
    return a.reshape(len(x), len(draws), *x.shape[1:]).mean(1).numpy()


def explainers(net: Network) -> dict[str, Explainer]:
    """Eight methods that take nothing but gradients, with the same settings on both sides."""
    rng = np.random.default_rng(3)
    e = je.explain

    def integrated(n_steps: int, method: str, baseline: float = 0.0) -> Explainer:
        return Explainer(
            e.IntegratedGradients(n_steps=n_steps, method=method, baseline=baseline),
            captum("IntegratedGradients", n_steps=n_steps, method=method, baselines=baseline),
            n_steps,
        )

    def smooth(n_samples: int, level: float) -> Explainer:
        draws = rng.normal(size=(n_samples, *net.x_torch.shape[1:])).astype(np.float32)
        ours = e.SmoothGrad(noise_level=level, draws=net.to_jax(draws))
        return Explainer(ours, functools.partial(_smooth_grad, draws, level), n_samples)

    return {
        "Saliency": Explainer(e.Saliency(), captum("Saliency"), 1),
        "Gradient": Explainer(e.Gradient(), captum("Saliency", abs=False), 1),
        "InputXGradient": Explainer(e.InputXGradient(), captum("InputXGradient"), 1),
        "IG trapezoid 10": integrated(10, "riemann_trapezoid"),
        "IG Gauss 8": integrated(8, "gausslegendre"),
        "IG from white 5": integrated(5, "riemann_middle", 1.0),
        "SmoothGrad 4": smooth(4, 0.1),
        "SmoothGrad 4 wide": smooth(4, 0.3),
    }


@dataclasses.dataclass(frozen=True)
class Metric:
    """One metric on both sides; `draws` says what of Quantus's draws ours can be given."""

    ours: je.Metric
    theirs: str
    fields: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    draws: str | None = None
    curve: bool = False
    tolerance: float = 1e-4
    """Largest deviation that counts as agreement, relative to the largest score (at least 1)."""

    def given(self, draws: np.ndarray | None) -> je.Metric:
        """Ours, with these draws instead of its own."""
        return self.ours if draws is None else dataclasses.replace(self.ours, draws=draws)


def pixel_flipping(step: int) -> Metric:
    metric = je.PixelFlipping(features_in_step=step)
    return Metric(metric, "PixelFlipping", {"features_in_step": step}, curve=True)


def faithfulness_correlation(n_runs: int, size: int) -> Metric:
    metric = je.FaithfulnessCorrelation(n_runs=n_runs, subset_size=size)
    fields = {"nr_runs": n_runs, "subset_size": size}
    return Metric(metric, "FaithfulnessCorrelation", fields, draws="indices")


def faithfulness_estimate(step: int) -> Metric:
    metric = je.FaithfulnessEstimate(features_in_step=step)
    return Metric(metric, "FaithfulnessEstimate", {"features_in_step": step})


def region_perturbation(patch: int) -> Metric:
    metric = je.RegionPerturbation(patch_size=patch)
    return Metric(metric, "RegionPerturbation", {"patch_size": patch}, curve=True)


def sensitivity(name: str, n_samples: int) -> Metric:
    """MaxSensitivity or AvgSensitivity.

    Some of the noisy inputs lie within rounding of a kink (of a ReLU, of max pooling), where
    torch and JAX may give the gradients of either side; hence the wider tolerance.
    """
    metric = getattr(je, name)(n_samples=n_samples)
    fields = {"nr_samples": n_samples, "normalise": False}
    return Metric(metric, name, fields, draws="noise", tolerance=1e-3)


def sparseness() -> Metric:
    return Metric(je.Sparseness(), "Sparseness", {"abs": True})


class Recorded:
    """One of Quantus's perturbation functions, which keeps what it drew, one batch a step."""

    def __init__(self, what: str):
        self.what = what
        names = {"indices": "batch_baseline_replacement_by_indices", "noise": "batch_uniform_noise"}
        self.function = getattr(quantus, names[what])
        self.kept: list[np.ndarray] = []

    def __call__(self, arr: np.ndarray, indices: np.ndarray, **kwargs: Any) -> np.ndarray:
        changed = self.function(arr=arr, indices=indices, **kwargs)
        self.kept.append(indices if self.what == "indices" else changed - arr)
        return changed

    def draws(self, net: Network) -> np.ndarray:
        """[N, S, ...] as ours takes them."""
        kept = np.stack(self.kept, 1)
        if self.what == "indices":
            return kept
        return net.to_jax(kept.reshape(*kept.shape[:2], *net.x_torch.shape[1:]))


def ties_to_the_first(a: np.ndarray) -> np.ndarray:
    """Quantus's normalisation, per sample, in float64 with a slope that breaks ties as ours does.

    Quantus sorts with NumPy's unstable sort, so that its scores depend on the order that equal
    attributions happen to get. The slope is far below what float32 resolves.
    """
    a = quantus.normalise_by_max(a, normalise_axes=(1, 2, 3)).astype(np.float64)
    return a - 1e-15 * np.arange(a[0].size).reshape(a[0].shape)


def theirs(
    net: Network,
    metric: Metric,
    a: np.ndarray,
    explain: Callable[..., np.ndarray] | None = None,
    compare: bool = False,
    record: Recorded | None = None,
) -> np.ndarray:
    """Quantus's scores [N] (or curves [N, S]) of the maps a [N, 1, h, w], for logits.

    Maps are normalised per sample, as ours are; by default Quantus takes the maximum of a batch.
    `compare`: ties go where ours go, and all samples are one batch.
    """
    fields: dict[str, Any] = {
        "normalise": True,
        "normalise_func": quantus.normalise_by_max,
        "normalise_func_kwargs": {"normalise_axes": (1, 2, 3)},
        "return_aggregate": False,
        "disable_warnings": True,
        "display_progressbar": False,
    } | dict(metric.fields)
    if compare:
        fields |= {"normalise_func": ties_to_the_first, "normalise_func_kwargs": None}
    if record is not None:
        fields["perturb_func"] = record
    np.random.seed(1)
    return np.asarray(
        getattr(quantus, metric.theirs)(**fields)(
            model=net.torch,
            x_batch=net.x_torch,
            y_batch=net.y,
            a_batch=a.copy(),  # some metrics write into it
            explain_func=explain,
            channel_first=True,
            softmax=False,
            batch_size=len(a) if compare else 64,  # 64: the default
        )
    )
