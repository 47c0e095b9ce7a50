"""Attribution methods for JAX models: ``explainer(model, x, y, keys) -> a`` on a batch."""

from __future__ import annotations

from itertools import chain
from typing import Any

from ..registry import enter, make
from ..trace import Unsupported as Unsupported
from .attention import AttentionExplainer as AttentionExplainer
from .attention import AttentionRollout as AttentionRollout
from .attention import GenericAttention as GenericAttention
from .base import EXPLAINERS as EXPLAINERS
from .base import Explainer as Explainer
from .blur_ig import BlurIG as BlurIG
from .controls import Constant as Constant
from .controls import Random as Random
from .controls import Sobel as Sobel
from .deconvolution import Deconvolution as Deconvolution
from .deep_lift import DeepLift as DeepLift
from .deep_lift_shap import DeepLiftShap as DeepLiftShap
from .eigen_cam import EigenCAM as EigenCAM
from .excitation_backprop import ExcitationBackprop as ExcitationBackprop
from .expected_gradients import ExpectedGradients as ExpectedGradients
from .extremal_perturbation import ExtremalPerturbation as ExtremalPerturbation
from .feature_ablation import FeatureAblation as FeatureAblation
from .feature_permutation import FeaturePermutation as FeaturePermutation
from .fusiongrad import FusionGrad as FusionGrad
from .grad_cam import GradCAM as GradCAM
from .gradient import Gradient as Gradient
from .gradient import InputXGradient as InputXGradient
from .gradient import Saliency as Saliency
from .gradient_cams import GradCAMPlusPlus as GradCAMPlusPlus
from .gradient_cams import HiResCAM as HiResCAM
from .gradient_cams import LayerCAM as LayerCAM
from .gradient_cams import XGradCAM as XGradCAM
from .gradient_shap import GradientShap as GradientShap
from .guided_backprop import GuidedBackprop as GuidedBackprop
from .guided_grad_cam import GuidedGradCAM as GuidedGradCAM
from .guided_ig import GuidedIG as GuidedIG
from .integrated_gradients import IntegratedGradients as IntegratedGradients
from .internal_influence import InternalInfluence as InternalInfluence
from .kernel_shap import KernelShap as KernelShap
from .layer import layers as layers
from .layer import with_hidden as with_hidden
from .layer_activation import LayerActivation as LayerActivation
from .layer_backprop import LayerDeepLift as LayerDeepLift
from .layer_backprop import LayerLRP as LayerLRP
from .layer_conductance import LayerConductance as LayerConductance
from .layer_feature_ablation import LayerFeatureAblation as LayerFeatureAblation
from .layer_gradient_shap import LayerGradientShap as LayerGradientShap
from .layer_gradient_x_activation import LayerGradientXActivation as LayerGradientXActivation
from .layer_integrated_gradients import LayerIntegratedGradients as LayerIntegratedGradients
from .lime import Lime as Lime
from .lrp import LRP as LRP
from .lrp import RULES as _RULES
from .lrp import AttnLRP as AttnLRP
from .lrp_rules import LRP_RULES as LRP_RULES
from .lrp_rules import AlphaBeta as AlphaBeta
from .lrp_rules import Epsilon as Epsilon
from .lrp_rules import Flat as Flat
from .lrp_rules import Gamma as Gamma
from .lrp_rules import LrpRule as LrpRule
from .lrp_rules import Pass as Pass
from .lrp_rules import WSquare as WSquare
from .lrp_rules import ZBox as ZBox
from .lrp_rules import ZPlus as ZPlus
from .neuron import Neuron as Neuron
from .neuron import NeuronExplainer as NeuronExplainer
from .neuron_conductance import NeuronConductance as NeuronConductance
from .neurons import NeuronDeconvolution as NeuronDeconvolution
from .neurons import NeuronDeepLift as NeuronDeepLift
from .neurons import NeuronFeatureAblation as NeuronFeatureAblation
from .neurons import NeuronGradient as NeuronGradient
from .neurons import NeuronGradientShap as NeuronGradientShap
from .neurons import NeuronGuidedBackprop as NeuronGuidedBackprop
from .neurons import NeuronIntegratedGradients as NeuronIntegratedGradients
from .noisegrad import NoiseGrad as NoiseGrad
from .occlusion import Occlusion as Occlusion
from .rap import RAP as RAP
from .rise import RISE as RISE
from .score_cam import AblationCAM as AblationCAM
from .score_cam import ScoreCAM as ScoreCAM
from .shapley_value_sampling import ShapleyValueSampling as ShapleyValueSampling
from .smoothed import Smoothed as Smoothed
from .smoothgrad import SmoothGrad as SmoothGrad
from .smoothgrad_squared import SmoothGradSquared as SmoothGradSquared
from .stepped import SteppedExplainer as SteppedExplainer
from .transformer_attribution import TransformerAttribution as TransformerAttribution
from .vargrad import VarGrad as VarGrad
from .xrai import XRAI as XRAI

FAMILIES: dict[str, tuple[type[Explainer], ...]] = {
    "gradients": (
        *(Gradient, Saliency, InputXGradient, IntegratedGradients),
        *(SmoothGrad, SmoothGradSquared, VarGrad, GradientShap, ExpectedGradients),
        *(NoiseGrad, FusionGrad, BlurIG, GuidedIG, XRAI),
    ),
    "modified backpropagation": (
        *(GuidedBackprop, Deconvolution, DeepLift, DeepLiftShap, LRP, AttnLRP),
        *(RAP, ExcitationBackprop),
    ),
    "class activation maps": (
        *(GradCAM, GuidedGradCAM, HiResCAM, LayerCAM, XGradCAM, GradCAMPlusPlus),
        *(ScoreCAM, AblationCAM, EigenCAM),
    ),
    "layers": (
        *(LayerActivation, LayerGradientXActivation, LayerConductance),
        *(InternalInfluence, LayerIntegratedGradients, LayerGradientShap, LayerDeepLift, LayerLRP),
        LayerFeatureAblation,
    ),
    "attention": (AttentionRollout, GenericAttention, TransformerAttribution),
    "neurons": (
        *(NeuronGradient, NeuronIntegratedGradients, NeuronGradientShap, NeuronConductance),
        *(NeuronDeepLift, NeuronGuidedBackprop, NeuronDeconvolution, NeuronFeatureAblation),
    ),
    "perturbation": (
        *(Occlusion, FeatureAblation, FeaturePermutation, ShapleyValueSampling),
        *(KernelShap, Lime, RISE, ExtremalPerturbation),
    ),
    "controls": (Random, Constant, Sobel),
}
"""Our explainers by what they do; what is listed here has a name."""

for _cls in (*chain.from_iterable(FAMILIES.values()), *_RULES.values()):
    enter(_cls)


def get(name: str, **fields: Any) -> Explainer:
    """An explainer by its name, with its fields.

    >>> get("IntegratedGradients", n_steps=32).n_steps
    32
    """
    if not isinstance(name, str):
        raise TypeError(f"get(name) takes the name of an explainer, got {type(name).__name__}")
    return make(EXPLAINERS, "explainer", name, fields)
