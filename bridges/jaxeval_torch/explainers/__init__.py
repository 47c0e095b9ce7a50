"""Attribution methods that run in torch or NumPy, as explainers for `jaxeval.evaluate`."""

from .base import torch_explainer as torch_explainer
from .of_captum import captum_explainer as captum_explainer
from .of_lime import lime_explainer as lime_explainer
from .of_shap import shap_explainer as shap_explainer
from .of_zennit import zennit_explainer as zennit_explainer
