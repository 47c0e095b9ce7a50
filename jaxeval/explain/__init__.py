"""Attribution methods for JAX models: ``explainer(model, x, y, keys) -> a`` on a batch."""

from __future__ import annotations

import dataclasses
from typing import Any

from ..check import did_you_mean
from .base import Explainer as Explainer
from .base import SteppedExplainer as SteppedExplainer
from .controls import Constant as Constant
from .controls import Random as Random
from .controls import Sobel as Sobel
from .gradient import Gradient as Gradient
from .gradient import InputXGradient as InputXGradient
from .gradient import Saliency as Saliency
from .integrated_gradients import IntegratedGradients as IntegratedGradients
from .occlusion import Occlusion as Occlusion
from .smoothed import Smoothed as Smoothed
from .smoothgrad import SmoothGrad as SmoothGrad

EXPLAINERS: dict[str, type[Explainer]] = {
    cls.__name__: cls
    for cls in (
        Gradient,
        Saliency,
        InputXGradient,
        IntegratedGradients,
        SmoothGrad,
        Occlusion,
        Random,
        Constant,
        Sobel,
    )
}


def get(name: str, **fields: Any) -> Explainer:
    """An explainer by its name, with its fields.

    >>> get("IntegratedGradients", n_steps=32).n_steps
    32
    """
    if not isinstance(name, str):
        raise TypeError(f"get(name) takes the name of an explainer, got {type(name).__name__}")
    if name not in EXPLAINERS:
        raise ValueError(
            f"no explainer {name!r}, only {', '.join(EXPLAINERS)}{did_you_mean(name, EXPLAINERS)}"
        )
    cls = EXPLAINERS[name]
    known = [f.name for f in dataclasses.fields(cls)]
    for field in fields:
        if field not in known:
            raise TypeError(
                f"{name} has no field {field!r}, only {', '.join(known)}"
                f"{did_you_mean(field, known)}"
            )
    return cls(**fields)
