"""Attribution methods in torch (captum, zennit, any function) and on arrays (shap, LIME)."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np

import jaxeval as je
from jaxeval import check

from .logits import Logits
from .tensors import device_of, in_evaluation, to_jax, to_torch

# Methods of captum whose maps of one sample depend on what was drawn for the others.
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


@dataclasses.dataclass(frozen=True)
class TorchExplainer:
    """``fn(module, inputs, targets) -> attributions`` as an explainer: tensors in, a tensor out.

    The random numbers that it draws from torch are seeded with the sample's key, and torch's own
    stream goes on afterwards as if nothing had been drawn.
    """

    fn: Callable[[Any, Any, Any], Any]
    module: Any
    device: Any
    per_sample: bool = False

    def __call__(self, model: Any, x: Any, y: Any, keys: Any) -> jax.Array:
        parts = [slice(i, i + 1) for i in range(len(x))] if self.per_sample else [slice(None)]
        maps = [self._maps(x[p], y[p], None if keys is None else keys[p]) for p in parts]
        return jax.numpy.concatenate(maps) if self.per_sample else maps[0]

    def _maps(self, x: Any, y: Any, keys: Any) -> jax.Array:
        import torch

        inputs = to_torch(x, self.device)
        first = next((p for p in self.module.parameters() if p.is_floating_point()), None)
        if first is not None and inputs.is_floating_point():
            inputs = inputs.to(first.dtype)
        targets = to_torch(y, self.device).long()
        cuda = [self.device] if self.device.type == "cuda" else []
        with in_evaluation(self.module), torch.random.fork_rng(devices=cuda), torch.enable_grad():
            if keys is not None:
                torch.manual_seed(seed_of(keys))
            a = self.fn(self.module, inputs, targets)
        a = a[0] if isinstance(a, (tuple, list)) and len(a) == 1 else a
        if not isinstance(a, torch.Tensor):
            a = torch.as_tensor(np.asarray(a))
        return to_jax(a)


def seed_of(keys: Any) -> int:
    """A seed from the first sample's key."""
    words = np.asarray(jax.random.key_data(keys[:1])).reshape(-1)
    return int(words[-1]) ^ int(words[0]) << 31


def torch_explainer(
    fn: Callable[[Any, Any, Any], Any], module: Any, *, device: Any = None, per_sample: bool = False
) -> je.Host:
    """Any function of torch tensors as an explainer for `jaxeval.evaluate`.

    Args:
      fn: ``(module, inputs [N, ...], targets [N]) -> attributions``, a tensor or array in the
        shape of the inputs, or with a channel axis of size 1 or none (pixel maps).
      module: the module that is explained; it is in evaluation mode while `fn` runs, and gets
        back its mode and its ``requires_grad``.
      per_sample: call it for one sample at a time, each with its own seed, so that a random
        method's maps do not depend on the batch.
    """
    import torch

    if not callable(fn):
        raise TypeError(f"torch_explainer: fn must be callable, got {type(fn).__name__}")
    if not isinstance(module, torch.nn.Module):
        raise TypeError(
            f"torch_explainer: module must be an nn.Module, got {type(module).__name__}"
        )
    device = device_of(module) if device is None else torch.device(device)
    return je.Host(TorchExplainer(fn, module, device, per_sample), arrays="jax")


# captum


def captum_explainer(
    method: Any,
    module: Any = None,
    *,
    layer: str | Any = None,
    target: Any = "label",
    output: str | int | None = None,
    interpolate: str | None = None,
    per_sample: bool | None = None,
    device: Any = None,
    **settings: Any,
) -> je.Host:
    """An attribution method of captum as an explainer for `jaxeval.evaluate`.

    It is called once a batch, on the module's device.

    Args:
      method: the name of a class in `captum.attr`, or any object with captum's ``attribute``.
      module: the module that is explained; an object may bring its own.
      layer: for methods of a layer, its name (``"layer4.1.conv2"``) or the module itself. The
        result is summed over the layer's channels and interpolated to the input's size, as
        pixel maps.
      target: "label" explains the run's y; None, a class or captum's tuples go on as they are; a
        function makes them from y.
      output: which part of the module's answer the logits are, as in `from_torch`.
      interpolate: the mode of `torch.nn.functional.interpolate`; None: "bilinear" for images,
        "linear" for series.
      per_sample: see `torch_explainer`; None: for the methods of captum that draw at random.
      settings: for the constructor and for ``attribute``: ``n_steps``, ``baselines`` (a number,
        an array or tensor, or a function of the inputs), ``internal_batch_size``, ...

    >>> import torch
    >>> net = torch.nn.Linear(4, 3)
    >>> ig = captum_explainer("IntegratedGradients", net, n_steps=8)
    >>> ig(None, jax.numpy.ones((2, 4)), jax.numpy.zeros(2, int), None).shape
    (2, 4)
    """
    import captum.attr
    import torch

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
                f"captum's {method} works on another method: give the object, "
                f"{method}(Saliency(module))"
            )
        made, given = _split(kind, settings)
        explained = Logits(module, None, output)
        if "layer" in inspect.signature(kind).parameters:
            if layer is None:
                raise TypeError(f"captum's {method} explains a layer: give layer=, its name")
            made["layer"] = _layer(module, layer)
        elif layer is not None:
            raise TypeError(f"captum's {method} explains no layer: leave out layer=")
        instance = kind(explained, **made)
    else:
        if not hasattr(method, "attribute"):
            raise TypeError(
                "captum_explainer takes the name of a captum method or an object with "
                f".attribute, got {type(method).__name__}"
            )
        instance, given = method, settings
        module = module if module is not None else _module_of(instance)
        if not isinstance(module, torch.nn.Module):
            raise TypeError("captum_explainer(object, module): give the module that it explains")
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
        bool(layer is not None or hasattr(instance, "layer")),
        interpolate,
    )
    if per_sample is None:
        per_sample = type(instance).__name__ in RANDOM
    return torch_explainer(call, module, device=device, per_sample=per_sample)


@dataclasses.dataclass(frozen=True)
class Captum:
    instance: Any
    settings: Mapping[str, Any]
    target: Any
    of_layer: bool
    interpolate: str | None

    def __call__(self, module: Any, inputs: Any, targets: Any) -> Any:
        settings = {k: self._as_tensor(k, v, inputs) for k, v in self.settings.items()}
        if isinstance(self.target, str):
            settings["target"] = targets
        elif callable(self.target):
            settings["target"] = self.target(targets)
        elif self.target is not None:
            settings["target"] = self.target
        a = self.instance.attribute(inputs, **settings)
        if settings.get("return_convergence_delta"):
            a = a[0]
        a = a[0] if isinstance(a, tuple) else a
        if not self.of_layer or a.shape == inputs.shape:
            return a
        return upsampled(a, inputs, self.interpolate)

    def _as_tensor(self, name: str, v: Any, inputs: Any) -> Any:
        import torch

        if name not in ("baselines", "feature_mask", "stdevs"):
            return v
        if callable(v):
            v = v(inputs)
        if isinstance(v, (np.ndarray, jax.Array)):
            v = to_torch(v)
        if isinstance(v, torch.Tensor) and v.ndim:
            v = v.to(inputs.device, inputs.dtype if v.is_floating_point() else None)
            if v.ndim == inputs.ndim - 1:
                v = v[None]
            # One baseline for all is spread over the batch; a distribution of them is not.
            if len(v) == 1 and name == "baselines" and not _is_distribution(self.instance):
                v = v.expand_as(inputs)
        return v


def _is_distribution(instance: Any) -> bool:
    return "Shap" in type(instance).__name__


def upsampled(a: Any, inputs: Any, mode: str | None) -> Any:
    """A layer's maps [N, C, ...] as pixel maps [N, 1, ...] of the input's size."""
    import torch

    if a.ndim != inputs.ndim or a.ndim < 3:
        raise ValueError(
            f"the layer's attributions {list(a.shape)} do not lie on the input {list(inputs.shape)}"
            ": only a layer with the input's spatial axes can be laid over it"
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
            f"layer={layer!r}: the module has no such part{check.did_you_mean(layer, names)}"
        )
    return module.get_submodule(layer)


def _module_of(instance: Any) -> Any:
    """The module inside an object of captum's, which may hold another object."""
    import torch

    for name in ("model", "forward_func", "attribution_method"):
        found = getattr(instance, name, None)
        if isinstance(found, torch.nn.Module):
            return found
        if hasattr(found, "attribute"):
            return _module_of(found)
    return None


# zennit


def zennit_explainer(
    composite: Any, module: Any, *, output: str | int | None = None, device: Any = None
) -> je.Host:
    """Rules of zennit as an explainer for `jaxeval.evaluate`.

    Args:
      composite: a zennit composite (``EpsilonPlusFlat()``; with its gradient attributor), or a
        function ``module -> attributor``, such as
        ``lambda m: SmoothGrad(m, noise_level=0.1, n_iter=20)``.
      module, output, device: as in `captum_explainer`.

    What flows back starts as the one-hot vector of the explained class.
    """
    return torch_explainer(Zennit(composite, output), module, device=device)


@dataclasses.dataclass(frozen=True)
class Zennit:
    composite: Any
    output: str | int | None

    def __call__(self, module: Any, inputs: Any, targets: Any) -> Any:
        import torch
        from zennit.attribution import Gradient  # pyright: ignore[reportMissingImports]

        if hasattr(self.composite, "register"):
            attributor = Gradient(Logits(module, None, self.output), self.composite)
        else:
            attributor = self.composite(Logits(module, None, self.output))
        with attributor:
            return attributor(
                inputs, lambda out: torch.nn.functional.one_hot(targets, out.shape[1]).to(out)
            )[1]


# shap and LIME


def shap_explainer(
    method: Any,
    module: Any,
    background: Any = None,
    *,
    output: str | int | None = None,
    per_sample: bool | None = None,
    device: Any = None,
    **settings: Any,
) -> je.Host:
    """A SHAP explainer of the package shap as an explainer for `jaxeval.evaluate`.

    Args:
      method: "DeepExplainer", "GradientExplainer" (in torch), "KernelExplainer",
        "SamplingExplainer" or another of its classes that are made of a function and background
        data (asked with rows [N, F] in NumPy), or an object with ``shap_values``.
      background: samples in the form of the inputs.
      per_sample: see `torch_explainer`; None: for all but "DeepExplainer".
      settings: for ``shap_values``, such as ``nsamples``.
    """
    import shap  # pyright: ignore[reportMissingImports]
    import torch

    in_torch = ("DeepExplainer", "GradientExplainer")
    if isinstance(method, str):
        known = [k for k in vars(shap) if k.endswith("Explainer")]
        if method not in known:
            raise ValueError(f"shap has no {method!r}{check.did_you_mean(method, known)}")
        if background is None:
            raise TypeError(f"shap's {method} compares with background data: give background=")
    name = method if isinstance(method, str) else type(method).__name__
    torch_based = name in in_torch or "Deep" in name or "Gradient" in name
    alone = Logits(module, None, output)
    device = device_of(module) if device is None else torch.device(device)

    @functools.cache
    def explainer() -> Any:
        if not isinstance(method, str):
            return method
        data = background if isinstance(background, torch.Tensor) else to_torch(background)
        data = data.detach().to(device, torch.float32)
        if torch_based:
            return getattr(shap, method)(alone, data)
        shape = data.shape[1:]

        def logits(rows: np.ndarray) -> np.ndarray:
            with torch.no_grad():
                t = torch.as_tensor(rows, dtype=torch.float32, device=device)
                return alone(t.reshape(-1, *shape)).cpu().numpy()

        return getattr(shap, method)(logits, data.reshape(len(data), -1).cpu().numpy())

    def values(module: Any, inputs: Any, targets: Any) -> Any:
        given = inputs if torch_based else inputs.reshape(len(inputs), -1).cpu().numpy()
        options = dict(settings)
        if "silent" in inspect.signature(explainer().shap_values).parameters:
            options.setdefault("silent", True)
        if name == "GradientExplainer":
            options.setdefault("rseed", int(torch.randint(2**31 - 1, ())))
        with _numpy_seed():
            found = explainer().shap_values(given, **options)
        # A list with one array a class (old), or the classes along the last axis.
        found = np.stack(found, -1) if isinstance(found, list) else np.asarray(found)
        at = targets.cpu().numpy().reshape(-1, *[1] * (found.ndim - 1))
        return np.take_along_axis(found, at, -1)[..., 0].reshape(inputs.shape)

    if per_sample is None:
        per_sample = name != "DeepExplainer"
    return torch_explainer(values, module, device=device, per_sample=per_sample)


def lime_explainer(
    explainer: Any,
    module: Any,
    *,
    output: str | int | None = None,
    device: Any = None,
    **settings: Any,
) -> je.Host:
    """LIME, of the package lime, as an explainer for `jaxeval.evaluate`; one sample at a time.

    Args:
      explainer: a ``LimeImageExplainer`` (its maps are pixel maps: the weight of each pixel's
        segment) or a ``LimeTabularExplainer``.
      settings: for ``explain_instance``, such as ``num_samples``.

    Images are handed over as H W C, with three channels: what LIME segments.
    """
    import torch

    def maps(module: Any, inputs: Any, targets: Any) -> Any:
        alone = Logits(module, None, output)
        random = np.random.RandomState(int(torch.randint(2**31 - 1, ())))
        for owner in (explainer, explainer.base):
            owner.random_state = random
        label = int(targets[0])

        def probabilities(rows: Any) -> np.ndarray:
            t = torch.as_tensor(np.asarray(rows), dtype=inputs.dtype, device=inputs.device)
            if inputs.ndim == 4:
                t = t.permute(0, 3, 1, 2)[:, : inputs.shape[1]]
            with torch.no_grad():
                return torch.softmax(alone(t), -1).double().cpu().numpy()

        given = inputs[0].cpu().numpy().astype(np.float64)
        if inputs.ndim == 2:
            options = {"num_features": inputs.shape[1], **settings}
            found = explainer.explain_instance(given, probabilities, labels=(label,), **options)
            weights = np.zeros(inputs.shape[1])
            for feature, weight in found.local_exp[label]:
                weights[feature] = weight
            return weights[None]
        image = np.repeat(given, 3, 0) if len(given) == 1 else given
        if inputs.ndim != 4 or len(image) != 3:
            raise ValueError(f"LIME takes images [N, 1 or 3, H, W], got {list(inputs.shape)}")
        options = {"num_features": 10**6, **settings}
        if "progress_bar" in inspect.signature(explainer.explain_instance).parameters:
            options.setdefault("progress_bar", False)
        with _numpy_seed():
            found = explainer.explain_instance(
                image.transpose(1, 2, 0), probabilities, labels=(label,), top_labels=None, **options
            )
        weights = dict(found.local_exp[label])
        return np.vectorize(lambda s: weights.get(s, 0.0), otypes=[float])(found.segments)[
            None, None
        ]

    return torch_explainer(maps, module, device=device, per_sample=True)


@contextlib.contextmanager
def _numpy_seed() -> Iterator[None]:
    """NumPy's global stream, seeded by torch's, which is the sample's; afterwards as before."""
    import torch

    state = np.random.get_state()
    np.random.seed(int(torch.randint(2**31 - 1, ())))
    try:
        yield
    finally:
        np.random.set_state(state)
