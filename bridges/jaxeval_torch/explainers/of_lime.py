"""Explainers of the package lime."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np

import jaxeval as je

from ..logits import Logits
from .base import torch_explainer, unused


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
        lime = unused(explainer, "lime")  # the caller's keeps its own random stream
        for owner in (lime, lime.base):
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
            found = lime.explain_instance(given, probabilities, labels=(label,), **options)
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
        found = lime.explain_instance(
            image.transpose(1, 2, 0), probabilities, labels=(label,), top_labels=None, **options
        )
        weights = dict(found.local_exp[label])
        return np.vectorize(lambda s: weights.get(s, 0.0), otypes=[float])(found.segments)[
            None, None
        ]

    return torch_explainer(maps, module, device=device, per_sample=True)
