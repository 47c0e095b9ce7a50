"""Attribution methods of captum as explainers."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

import jaxeval as je
from jaxeval import check

from ..logits import Logits
from ..tensors import to_torch
from .base import check_outputs, host, unused

# Methods of captum in which the map of a sample depends on the random draws for the others.
RANDOM = (
    "DeepLiftShap",
    "GradientShap",
    "KernelShap",
    "LayerGradientShap",
    "Lime",
    "NoiseTunnel",
    "ShapleyValueSampling",
    "ShapleyValues",
)


def captum_explainer(
    method: Any,
    module: Any = None,
    *,
    layer: str | Any = None,
    target: Any = "label",
    output: str | int | None = None,
    outputs: str | None = None,
    interpolate: str | None = None,
    per_sample: bool | None = None,
    device: Any = None,
    **settings: Any,
) -> je.Host:
    """Wrap an attribution method of captum as an explainer for `jaxeval.evaluate`.

    It is called once per batch, on the module's device.

    Args:
      method: the name of a class in `captum.attr`, or any object with captum's ``attribute``.
      module: the module to explain; an object with ``attribute`` may hold its own.
      layer: for layer methods, the layer's name (``"layer4.1.conv2"``) or the module itself. The
        result is summed over the layer's channels and interpolated to the input's size, which
        gives pixel maps; of token ids, it is summed over the embedding of each token.
      target: "label" explains the run's y; None, a class or captum's tuples are passed on
        unchanged; a function computes the target from y.
      output: which part of the module's output holds the logits, as for `from_torch`.
      outputs: the kind of outputs: "logits", "probabilities" or "values", of which output y is
        explained, or "binary", one logit z [N, 1]: z for class 1, -z for class 0. None: the
        explained model's `outputs` (`jaxeval.Model`), else "logits". An object with ``attribute``
        explains the outputs of its own module.
      interpolate: the mode of `torch.nn.functional.interpolate`; None: "bilinear" for images,
        "linear" for series.
      per_sample: see `torch_explainer`; None: True for captum's random methods.
      settings: arguments of the constructor and of ``attribute``: ``n_steps``, ``baselines`` (a
        number, an array or tensor, or a function of the inputs), ``internal_batch_size`` (default:
        the batch's number of rows, so the module never gets larger batches than the engine's), ...

    ``baselines``, ``feature_mask`` and ``stdevs`` as arrays are shared by all samples: with the
    shape of a sample, or with a leading axis of 1 (for GradientShap and DeepLiftShap, ``baselines``
    are a distribution [B, ...], and a number is a distribution of one row). Arrays with one row per
    sample raise an error, as batches are cut, padded and perturbed: give a function of the inputs.

    Raises:
      ValueError: a setting with one row per sample.
      TypeError: methods or settings unknown to captum, and captum's FeaturePermutation, whose maps
        depend on the other samples of the batch.

    >>> import torch
    >>> net = torch.nn.Linear(4, 3)
    >>> ig = captum_explainer("IntegratedGradients", net, n_steps=8)
    >>> ig(None, jax.numpy.ones((2, 4)), jax.numpy.zeros(2, int), None).shape
    (2, 4)
    """
    import captum.attr
    import torch

    check_outputs("captum_explainer", outputs)
    alone = None
    if isinstance(method, str):
        known = [k for k, v in vars(captum.attr).items() if hasattr(v, "attribute")]
        if method not in known:
            raise ValueError(
                f"captum.attr has no method {method!r}{check.did_you_mean(method, known)}"
            )
        if not isinstance(module, torch.nn.Module):
            raise TypeError(
                f"captum_explainer({method!r}, module): module must be an nn.Module, got "
                f"{type(module).__name__}"
            )
        kind = getattr(captum.attr, method)
        if "attribution_method" in inspect.signature(kind).parameters:
            raise TypeError(
                f"captum's {method} wraps another method: give the object, "
                f"{method}(Saliency(module))"
            )
        made, given = _split(kind, settings)
        explained = alone = Logits(module, None, output)
        if "layer" in inspect.signature(kind).parameters:
            if layer is None:
                raise TypeError(f"captum's {method} explains a layer: give layer=, its name")
            made["layer"] = _layer(module, layer)
        elif layer is not None:
            raise TypeError(f"captum's {method} is not a layer method: leave out layer=")
        instance = kind(explained, **made)
    else:
        if not hasattr(method, "attribute"):
            raise TypeError(
                "captum_explainer takes the name of a captum method or an object with "
                f".attribute, got {type(method).__name__}"
            )
        instance, given = method, settings
        if outputs is not None:
            raise TypeError(
                "captum_explainer(object, outputs=...): an object explains the outputs of its own "
                "module; give the method's name, or leave out outputs="
            )
        module = module if module is not None else _module_of(instance)
        if not isinstance(module, torch.nn.Module):
            raise TypeError("captum_explainer(object, module): give the module to explain")
    if type(instance).__name__ == "FeaturePermutation":
        raise TypeError(
            "captum's FeaturePermutation takes values from the other samples of the batch, so its "
            "maps depend on the batch size; jaxeval.explain.FeaturePermutation(background=...) "
            "takes them from background samples that you give"
        )
    for name in ("target", "additional_forward_args"):
        value = target if name == "target" else given.get(name)
        for v in value if isinstance(value, tuple) else (value,):
            if isinstance(v, list) or len(np.shape(_on_host(v))) > 0:
                raise one_row_a_sample(
                    name, "a function of y" if name == "target" else "a module that needs none"
                )
    accepted = inspect.signature(instance.attribute).parameters
    free = any(p.kind is p.VAR_KEYWORD for p in accepted.values())
    unknown = [k for k in given if k not in accepted and not free]
    if unknown:
        raise TypeError(
            f"captum's {type(instance).__name__} has no setting {unknown[0]!r}"
            f"{check.did_you_mean(unknown[0], accepted)}"
        )
    call = Captum(
        instance,
        given,
        target if "target" in accepted or free else None,
        "internal_batch_size" in accepted,
        bool(layer is not None or hasattr(instance, "layer")),
        interpolate,
        alone,
    )
    if per_sample is None:
        per_sample = type(instance).__name__ in RANDOM
    return host(call, module, device, per_sample, alone, outputs)


def _on_host(v: Any) -> Any:
    return v.detach().cpu().numpy() if hasattr(v, "detach") else v


def one_row_a_sample(name: str, instead: str, given: Any = None) -> ValueError:
    got = "" if given is None else f", got the shape {list(given)}"
    return ValueError(
        f"captum_explainer({name}=...) may not have one row per sample{got}: batches are cut, "
        f"padded and perturbed, so rows would not match samples. Give {instead}"
    )


@dataclasses.dataclass(frozen=True)
class Captum:
    instance: Any
    settings: Mapping[str, Any]
    target: Any
    in_parts: bool
    """Whether it takes an `internal_batch_size`."""
    of_layer: bool
    interpolate: str | None

    alone: Any = None
    """The `Logits` module that it explains, if any."""

    def __call__(self, module: Any, inputs: Any, targets: Any, more: Any = None) -> Any:
        settings = {k: self._as_tensor(k, v, inputs) for k, v in self.settings.items()}
        if isinstance(self.target, str):
            settings["target"] = targets
        elif callable(self.target):
            settings["target"] = self.target(targets)
        elif self.target is not None:
            settings["target"] = self.target
        if self.in_parts:
            settings.setdefault("internal_batch_size", len(inputs))
        if more:
            if self.alone is None:
                raise TypeError(
                    f"the model reads {', '.join(more)} with its input, which an object of "
                    "captum's does not get: give captum_explainer the method's name and the module"
                )
            first = next(iter(inspect.signature(module.forward).parameters))
            self.alone.names = (first, *more)
            settings["additional_forward_args"] = tuple(more.values())
        a = unused(self.instance, "captum").attribute(inputs, **settings)
        if settings.get("return_convergence_delta"):
            a = a[0]
        a = a[0] if isinstance(a, tuple) else a
        if not self.of_layer or a.shape == inputs.shape:
            return a
        if not inputs.is_floating_point() and a.shape[:2] == inputs.shape:
            return a.sum(2)  # over the embedding of each token
        return upsampled(a, inputs, self.interpolate)

    def _as_tensor(self, name: str, v: Any, inputs: Any) -> Any:
        import torch

        if name not in ("baselines", "feature_mask", "stdevs"):
            return v
        own = callable(v)  # one row per sample of these inputs
        if own:
            v = v(inputs)
        if isinstance(v, (np.ndarray, jax.Array)):
            v = to_torch(v)
        several = name == "baselines" and _is_distribution(self.instance)
        if several and (not isinstance(v, torch.Tensor) or not v.ndim) and v is not None:
            v = torch.full((1, *inputs.shape[1:]), float(v))
        if isinstance(v, torch.Tensor) and v.ndim:
            v = v.to(inputs.device, inputs.dtype if v.is_floating_point() else None)
            if v.ndim < inputs.ndim:
                v = v.reshape(1, *[1] * (inputs.ndim - 1 - v.ndim), *v.shape)
            if several:  # of which captum's DeepLiftShap wants two at least
                return v.expand(2, *v.shape[1:]) if len(v) == 1 else v
            if not own and (v.ndim > inputs.ndim or len(v) > 1):
                raise one_row_a_sample(
                    name,
                    f"a function of the inputs, or one for all samples {[1, *inputs.shape[1:]]}",
                    v.shape,
                )
            # A shared baseline is broadcast over the batch.
            if len(v) == 1 and name == "baselines":
                v = v.expand_as(inputs)
        return v


def _is_distribution(instance: Any) -> bool:
    """Whether captum interprets baselines as a distribution, not as one per sample."""
    while hasattr(instance, "attribution_method"):
        instance = instance.attribution_method
    return type(instance).__name__.endswith(("GradientShap", "DeepLiftShap"))


def upsampled(a: Any, inputs: Any, mode: str | None) -> Any:
    """Pixel maps [N, 1, ...] in the input's size from a layer's maps [N, C, ...]."""
    import torch

    if a.ndim != inputs.ndim or a.ndim < 3:
        raise ValueError(
            f"the layer's attributions {list(a.shape)} cannot be interpolated to the input "
            f"{list(inputs.shape)}: the layer must have the input's spatial axes"
        )
    mode = mode or {3: "linear", 4: "bilinear", 5: "trilinear"}[a.ndim]
    smooth = mode in ("linear", "bilinear", "bicubic", "trilinear")
    return torch.nn.functional.interpolate(
        a.sum(1, keepdim=True),
        size=inputs.shape[2:],
        mode=mode,
        align_corners=False if smooth else None,
    )


def _split(kind: type, settings: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """(for the constructor, for `attribute`)."""
    own = set(inspect.signature(kind).parameters) - {"forward_func", "model"}
    return (
        {k: v for k, v in settings.items() if k in own},
        {k: v for k, v in settings.items() if k not in own},
    )


def _layer(module: Any, layer: Any) -> Any:
    if not isinstance(layer, str):
        return layer
    names = [name for name, _ in module.named_modules() if name]
    if layer not in names:
        raise ValueError(
            f"layer={layer!r}: the module has no such submodule{check.did_you_mean(layer, names)}"
        )
    return module.get_submodule(layer)


def _module_of(instance: Any) -> Any:
    """The module of a captum object, which may wrap another captum object."""
    import torch

    for name in ("model", "forward_func", "attribution_method"):
        found = getattr(instance, name, None)
        if isinstance(found, torch.nn.Module):
            return found
        if hasattr(found, "attribute"):
            return _module_of(found)
    return None
