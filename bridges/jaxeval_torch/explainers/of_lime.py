"""Explainers from the package lime."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np

import jaxeval as je

from ..logits import Logits
from .base import check_outputs, host, unused

SUMS_TO_1 = 0.02
"""Tolerance for sums of probabilities: a few roundings in bfloat16."""


def lime_explainer(
    explainer: Any,
    module: Any,
    *,
    output: str | int | None = None,
    outputs: str | None = None,
    device: Any = None,
    **settings: Any,
) -> je.Host:
    """Wrap a LIME explainer of the package lime for `jaxeval.evaluate`; one sample at a time.

    Args:
      explainer: a ``LimeImageExplainer`` (its maps are pixel maps: the weight of each pixel's
        segment) or a ``LimeTabularExplainer``.
      output: which part of the module's output holds the outputs [N, K], as for `from_torch`.
      outputs: their kind, which determines what LIME gets: for "logits" the softmax; for
        "probabilities" the outputs unchanged; for "binary", one logit z,
        ``[1 - sigmoid(z), sigmoid(z)]``; for "values" the outputs unchanged, with y the output's
        index (needs a LimeTabularExplainer with ``mode="regression"``, or a LimeImageExplainer).
        None: the explained model's `outputs` (`jaxeval.Model`), else "logits".
      settings: arguments of ``explain_instance``, such as ``num_samples``.

    LIME gets images as H W C with three channels, as its segmentation requires.
    """
    import torch

    check_outputs("lime_explainer", outputs)
    alone = Logits(module, None, output)

    def maps(module: Any, inputs: Any, targets: Any) -> Any:
        regression = getattr(explainer, "mode", None) == "regression"
        if inputs.ndim == 2 and regression != (alone.outputs == "values"):
            raise ValueError(
                f"outputs={alone.outputs!r} with a LimeTabularExplainer in mode="
                f'{explainer.mode!r}: mode="regression" explains outputs="values", and '
                'mode="classification" all others'
            )
        random = np.random.RandomState(int(torch.randint(2**31 - 1, ())))
        lime = unused(explainer, "lime")  # leaves the random state of the caller's object unchanged
        for owner in (lime, lime.base):
            owner.random_state = random
        label = int(targets[0])

        def probabilities(rows: Any) -> np.ndarray:
            t = torch.as_tensor(np.asarray(rows), dtype=inputs.dtype, device=inputs.device)
            if inputs.ndim == 4:
                t = t.permute(0, 3, 1, 2)[:, : inputs.shape[1]]
            with torch.no_grad():
                found = as_probabilities(alone(t).double(), alone.outputs).cpu().numpy()
            return found[:, label] if inputs.ndim == 2 and regression else found

        given = inputs[0].double().cpu().numpy()
        if inputs.ndim == 2:
            options = {"num_features": inputs.shape[1], **settings}
            found = lime.explain_instance(given, probabilities, labels=(label,), **options)
            weights = np.zeros(inputs.shape[1])
            # For a regression, lime stores the weights under the key 1.
            for feature, weight in found.local_exp[1 if regression else label]:
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

    return host(maps, module, device, True, alone, outputs)


def as_probabilities(z: Any, outputs: str) -> Any:
    """What LIME gets for a module's outputs z [N, K]; for "binary", z is already [-z, z]."""
    import torch

    if outputs == "logits":
        if z.shape[1] == 1:
            raise ValueError(
                "the module has one output [N, 1], and the softmax of one logit is 1 whatever the "
                'input: give outputs="binary" (one logit, that of class 1), '
                '"probabilities" or "values"'
            )
        if _are_shares(z):
            raise ValueError(
                "the module returns probabilities (its outputs lie in [0, 1] and sum to 1), and "
                'LIME would get their softmax: give outputs="probabilities"'
            )
        return torch.softmax(z, -1)
    if outputs == "probabilities" and not _are_shares(z):
        raise ValueError(
            'outputs="probabilities", but the module\'s outputs do not lie in [0, 1] and sum to 1: '
            'for logits give outputs="logits", for independent scores outputs="values"'
        )
    return torch.sigmoid(z) if outputs == "binary" else z


def _are_shares(z: Any) -> bool:
    """Whether all rows of z [N, K] lie in [0, 1] and sum to 1, to half precision."""
    within = bool(((z >= 0) & (z <= 1)).all())
    return within and bool(((z.sum(-1) - 1).abs() <= SUMS_TO_1).all())
