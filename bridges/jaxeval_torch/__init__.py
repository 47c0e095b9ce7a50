"""PyTorch models and attribution methods for jaxeval. ONNX models need no torch."""

from importlib import import_module as _import_module
from typing import TYPE_CHECKING as _TYPE_CHECKING
from typing import Any as _Any

from .graph import ConversionError as ConversionError
from .graph import Node as Node
from .graph import operator as operator
from .of_onnx import from_onnx as from_onnx

if _TYPE_CHECKING:
    from .convert import from_torch as from_torch
    from .explainers import captum_explainer as captum_explainer
    from .explainers import lime_explainer as lime_explainer
    from .explainers import shap_explainer as shap_explainer
    from .explainers import torch_explainer as torch_explainer
    from .explainers import zennit_explainer as zennit_explainer
    from .wrap import wrap_torch as wrap_torch

# Imported when they are first used, as these modules import torch.
_OF_TORCH = {
    "from_torch": "convert",
    "wrap_torch": "wrap",
    **dict.fromkeys(
        (
            *("captum_explainer", "lime_explainer", "shap_explainer", "torch_explainer"),
            "zennit_explainer",
        ),
        "explainers",
    ),
}


def __getattr__(name: str) -> _Any:
    if name not in _OF_TORCH:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(_import_module(f".{_OF_TORCH[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_OF_TORCH})
