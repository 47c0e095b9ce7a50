"""The same explainers and metrics on both sides: ours, and Quantus with captum."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from captum import attr
from networks import Network
from optional import mend_torchvision

import jaxeval as je

mend_torchvision()
import quantus  # noqa: E402  (which imports torchvision where it finds zennit)

if not hasattr(np, "trapz"):
    np.trapz = np.trapezoid  # which Quantus calls by the name that NumPy 2.4 removed


@dataclasses.dataclass(frozen=True)
class Explainer:
    """One method: ours, captum's as Quantus calls it, and the gradients that one map takes."""

    ours: Any
    theirs: Callable[..., np.ndarray]
    gradients: int


def dtype_of(model: Any) -> np.dtype:
    """The precision of a torch model."""
    return next(model.parameters()).detach().numpy().dtype


def captum(name: str, /, **settings: Any) -> Callable[..., np.ndarray]:
    """One of captum's methods as the function that Quantus calls."""

    def explain(model: Any, inputs: Any, targets: Any, **_: Any) -> np.ndarray:
        x = torch.as_tensor(np.asarray(inputs, dtype_of(model)))
        y = torch.as_tensor(np.asarray(targets, np.int64))
        a = getattr(attr, name)(model).attribute(x, target=y, **settings)
        return a.detach().numpy()

    return explain


def _smooth_grad(
    draws: np.ndarray, level: float, model: Any, inputs: Any, targets: Any, **_: Any
) -> np.ndarray:
    """captum's gradient on all noisy copies in one batch, as its NoiseTunnel asks it."""
    x = np.asarray(inputs, dtype_of(model))
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
    """One metric on both sides, with settings that make both ask the model as often.

    Attributes:
      theirs: Quantus's class, and `fields` its settings.
      compare: settings for the comparison of scores only: (ours, theirs).
      draws: what of Quantus's draws ours can be given: "indices", "noise" or "weights".
      curve: the curves are compared, not the scores; "mean": their mean over the samples.
      differs: why the scores are not compared: Quantus computes something else.
      gradients: explanations that make one of the maps it scores.
      tolerance: the largest deviation that counts as agreement, relative to the largest score
        (at least 1).
    """

    ours: je.Metric
    theirs: str
    fields: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    compare: tuple[Mapping[str, Any], Mapping[str, Any]] = ({}, {})
    draws: str | None = None
    curve: bool | str = False
    differs: str | None = None
    gradients: int = 1
    tolerance: float = 1e-4

    @property
    def explains(self) -> bool:
        """It needs an explainer, not only its maps."""
        return "attribution" in self.ours.asks

    def given(self, draws: Any = None, compare: bool = False) -> je.Metric:
        """Ours, with these draws instead of its own."""
        changed = dict(self.compare[0]) if compare else {}
        if draws is not None:
            changed["draws"] = draws
        return dataclasses.replace(self.ours, **changed)


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


def every() -> dict[str, Metric]:
    """All metrics of Quantus 0.6.0, for images of 28 x 28 and maps without channels."""
    maps = {"abs": False}
    size, group, patch = 224, 28, 4
    noise = {"lower_bound": 0.02, "upper_bound": None}
    relative = {
        "nr_samples": 20,
        "return_nan_when_prediction_changes": False,
        "perturb_func_kwargs": noise,
    }
    order = {"layer_order": "top_down"}
    rows = [
        pixel_flipping(group),
        region_perturbation(patch),
        Metric(je.Selectivity(patch_size=patch), "Selectivity", {"patch_size": patch}, curve=True),
        Metric(
            je.ROAD(percentages=tuple(range(10, 100, 10))),
            "ROAD",
            {"percentages": list(range(10, 100, 10))},
            compare=({"noise": 0.0}, {"perturb_func_kwargs": {"noise": 0.0}}),
            curve="mean",
        ),
        faithfulness_correlation(100, size),
        faithfulness_estimate(group),
        Metric(
            je.MonotonicityCorrelation(features_in_step=group, n_samples=10),
            "MonotonicityCorrelation",
            {"features_in_step": group, "nr_samples": 10},
            differs="divides by f(x), and draws its own replacements",
        ),
        Metric(
            je.Monotonicity(features_in_step=group, strict=True),
            "Monotonicity",
            {"features_in_step": group},
            differs="replaces the baseline by the baseline",
        ),
        Metric(
            je.SensitivityN(n_runs=4),
            "SensitivityN",
            {"features_in_step": group},
            differs="correlates over samples, of ranked features",
        ),
        Metric(
            je.Infidelity(n_samples=160),
            "Infidelity",
            {"n_perturb_samples": 10, "perturb_patch_sizes": [7]},
            differs="never takes a perturbation back",
        ),
        Metric(
            je.Sufficiency(),
            "Sufficiency",
            {"normalise_func_kwargs": {}},  # it also normalises distances
            differs="other distances",
        ),
        Metric(je.IROF(), "IROF", differs="fills in the mean of the perturbed batch"),
        sensitivity("MaxSensitivity", 20),
        sensitivity("AvgSensitivity", 20),
        Metric(
            je.LocalLipschitz(n_samples=20),
            "LocalLipschitzEstimate",
            {"nr_samples": 20},
            draws="noise",
            tolerance=1e-3,
        ),
        # Quantus's shifts by every second pixel, -26 to 28, are ours of 29 steps.
        Metric(je.Continuity(n_steps=29), "Continuity", {"abs": True}, tolerance=1e-3),
        Metric(je.Consistency(), "Consistency", differs="the first pixels, not the largest"),
        Metric(je.RIS(n_samples=20), "RelativeInputStability", relative, differs=RELATIVE),
        Metric(je.ROS(n_samples=20), "RelativeOutputStability", relative, differs=RELATIVE),
        Metric(
            je.RRS(n_samples=20, layers=("fc_1",)),
            "RelativeRepresentationStability",
            {**relative, "layer_names": ["fc_1"]},
            differs=RELATIVE,
        ),
        Metric(je.PointingGame(), "PointingGame", maps),
        Metric(je.AttributionLocalisation(), "AttributionLocalisation", maps),
        Metric(je.RelevanceMassAccuracy(), "RelevanceMassAccuracy", maps, differs="sums signs"),
        Metric(je.RelevanceRankAccuracy(), "RelevanceRankAccuracy", maps),
        Metric(je.TopKIntersection(k=90), "TopKIntersection", {**maps, "k": 90}),
        Metric(je.AUC(), "AUC", maps),
        Metric(je.Focus(), "Focus", maps),
        sparseness(),
        Metric(je.Complexity(), "Complexity", {"abs": True}),
        Metric(je.EffectiveComplexity(), "EffectiveComplexity", {"abs": True}),
        Metric(je.MPRT(), "MPRT", order, draws="weights", curve=True, tolerance=1e-3),
        Metric(
            je.SmoothMPRT(n_samples=10),
            "SmoothMPRT",
            {**order, "nr_samples": 10},
            gradients=10,
            differs="draws its own noise",
        ),
        Metric(
            je.EfficientMPRT(normalise=None),
            "EfficientMPRT",
            {"abs": True, "normalise": False},
            draws="weights",
            tolerance=1e-2,  # an entry at the edge of a bin falls on either side
        ),
        Metric(
            je.RandomLogit(), "RandomLogit", {"num_classes": 10}, differs="flattens the map first"
        ),
        Metric(je.Completeness(), "Completeness", differs="tells only whether it holds exactly"),
        Metric(
            je.NonSensitivity(n_samples=1, baseline="black"),
            "NonSensitivity",
            {"abs": True},
            differs="looks for a variance of single numbers",
        ),
        Metric(je.InputInvariance(), "InputInvariance", differs="shifts nothing back"),
    ]
    return {row.theirs: row for row in rows}


RELATIVE = "NaN where a draw changes the prediction"


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


def random_weights(net: Network) -> Any:
    """The weights that Quantus randomises layers to, as draws of ours, with a seed axis."""
    drawn = {}
    for name, randomised in quantus.PyTorchModel(net.torch).get_random_layer_generator(
        "independent", seed=42
    ):
        layer = randomised.get_submodule(name)
        drawn[name] = tuple(p.detach().numpy().copy()[None] for p in (layer.weight, layer.bias))
    return drawn


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
        fields |= dict(metric.compare[1])
    if record is not None:
        fields["perturb_func"] = record
    np.random.seed(1)
    more: dict[str, Any] = {}
    if metric.theirs == "Focus":
        more["custom_batch"] = net.tiles
    elif "mask" in metric.ours.needs:
        more["s_batch"] = net.mask
    scores = getattr(quantus, metric.theirs)(**fields)(
        model=net.torch,
        x_batch=net.x_torch,
        y_batch=net.y,
        a_batch=a.copy(),  # some metrics write into it
        explain_func=explain,
        channel_first=True,
        softmax=metric.theirs == "EfficientMPRT",  # it stops at negative outputs
        batch_size=len(a) if compare else 64,  # 64: the default
        **more,
    )
    if isinstance(scores, dict):  # of percentages, or of layers, after the model as it was
        scores = np.stack([np.asarray(v) for k, v in scores.items() if k != "original"], -1)
    return np.asarray(scores)


def mask(net: Network, metric: Metric) -> np.ndarray | None:
    """What ours is told of where the object is, for a metric that needs it."""
    if metric.theirs != "Focus":
        return net.to_jax(net.mask) if "mask" in metric.ours.needs else None
    side = net.mask.shape[-1] // 2
    quarters = net.tiles.reshape(-1, 1, 2, 2).astype(bool)
    return net.to_jax(quarters.repeat(side, 2).repeat(side, 3))
