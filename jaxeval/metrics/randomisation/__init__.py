"""Randomisation: does the attribution depend on the model and the class?"""

from .class_sensitivity import ClassSensitivity as ClassSensitivity
from .class_sensitivity import class_sensitivity as class_sensitivity
from .efficient_mprt import EfficientMPRT as EfficientMPRT
from .efficient_mprt import efficient_mprt as efficient_mprt
from .mprt import MPRT as MPRT
from .mprt import mprt as mprt
from .random_logit import RandomLogit as RandomLogit
from .random_logit import random_logit as random_logit
from .smooth_mprt import SmoothMPRT as SmoothMPRT
from .smooth_mprt import smooth_mprt as smooth_mprt
