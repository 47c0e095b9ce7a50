"""Explainers from the package shap."""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Iterator
from typing import Any

import numpy as np

import jaxeval as je
from jaxeval import check

from ..logits import Logits
from ..tensors import device_of, in_its_type, to_torch
from .base import check_outputs, host, unused


def shap_explainer(
    method: Any,
    module: Any,
    background: Any = None,
    *,
    output: str | int | None = None,
    outputs: str | None = None,
    per_sample: bool | None = None,
    device: Any = None,
    **settings: Any,
) -> je.Host:
    """Wrap a SHAP explainer of the package shap for `jaxeval.evaluate`.

    Args:
      method: "DeepExplainer", "GradientExplainer" (in torch), "KernelExplainer",
        "SamplingExplainer" or another shap class that takes a function and background data
        (called with rows [N, F] in NumPy), or an object with ``shap_values``.
      background: background samples in the form of the inputs.
      output, outputs: as for `captum_explainer`.
      per_sample: see `torch_explainer`; None: True except for "DeepExplainer".
      settings: arguments of ``shap_values``, such as ``nsamples``.
    """
    import shap  # pyright: ignore[reportMissingImports]
    import torch

    in_torch = ("DeepExplainer", "GradientExplainer")
    if isinstance(method, str):
        known = [k for k in vars(shap) if k.endswith("Explainer")]
        if method not in known:
            raise ValueError(f"shap has no {method!r}{check.did_you_mean(method, known)}")
        if background is None:
            raise TypeError(f"shap's {method} needs background data: give background=")
    name = method if isinstance(method, str) else type(method).__name__
    torch_based = name in in_torch or "Deep" in name or "Gradient" in name
    check_outputs("shap_explainer", outputs)
    alone = Logits(module, None, output)
    device = device_of(module) if device is None else torch.device(device)

    @functools.cache
    def explainer() -> Any:
        if not isinstance(method, str):
            return unused(method, "shap")
        data = background if isinstance(background, torch.Tensor) else to_torch(background)
        data = in_its_type(data.detach().to(device, torch.float32), module)
        if torch_based:
            return getattr(shap, method)(alone, data)
        shape = data.shape[1:]

        def logits(rows: np.ndarray) -> np.ndarray:
            with torch.no_grad():
                t = torch.as_tensor(rows, dtype=data.dtype, device=device)
                return alone(t.reshape(-1, *shape)).double().cpu().numpy()

        return getattr(shap, method)(logits, data.reshape(len(data), -1).double().cpu().numpy())

    def values(module: Any, inputs: Any, targets: Any) -> Any:
        given = inputs
        if not torch_based:
            given = inputs.reshape(len(inputs), -1).double().cpu().numpy()
        options = dict(settings)
        if "silent" in inspect.signature(explainer().shap_values).parameters:
            options.setdefault("silent", True)
        if name == "GradientExplainer":
            options.setdefault("rseed", int(torch.randint(2**31 - 1, ())))
        with numpy_seed():
            found = explainer().shap_values(given, **options)
        # Older versions: a list with one array per class; newer: classes along the last axis.
        found = np.stack(found, -1) if isinstance(found, list) else np.asarray(found)
        at = targets.cpu().numpy().reshape(-1, *[1] * (found.ndim - 1))
        return np.take_along_axis(found, at, -1)[..., 0].reshape(inputs.shape)

    if per_sample is None:
        per_sample = name != "DeepExplainer"
    return host(values, module, device, per_sample, alone, outputs)


@contextlib.contextmanager
def numpy_seed() -> Iterator[None]:
    """Seed NumPy's global random state from torch's (seeded per sample); restore it afterwards."""
    import torch

    # The global state, as shap's explainers draw from it and take no generator.
    state = np.random.get_state()
    np.random.seed(int(torch.randint(2**31 - 1, ())))
    try:
        yield
    finally:
        np.random.set_state(state)
