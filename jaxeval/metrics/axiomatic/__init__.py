"""Axiomatic: does the attribution satisfy properties that explanations should have?"""

from .completeness import Completeness as Completeness
from .completeness import completeness as completeness
from .input_invariance import InputInvariance as InputInvariance
from .input_invariance import input_invariance as input_invariance
from .non_sensitivity import NonSensitivity as NonSensitivity
from .non_sensitivity import non_sensitivity as non_sensitivity
