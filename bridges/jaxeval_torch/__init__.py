"""PyTorch models and attribution methods for jaxeval."""

from .convert import from_torch as from_torch
from .explainers import captum_explainer as captum_explainer
from .explainers import lime_explainer as lime_explainer
from .explainers import shap_explainer as shap_explainer
from .explainers import torch_explainer as torch_explainer
from .explainers import zennit_explainer as zennit_explainer
from .graph import ConversionError as ConversionError
from .graph import Node as Node
from .graph import operator as operator
from .of_onnx import from_onnx as from_onnx
from .wrap import wrap_torch as wrap_torch
