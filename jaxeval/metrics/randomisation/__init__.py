"""Randomisation: does the attribution depend on the model and the class?"""

from .mprt import MPRT as MPRT
from .mprt import mprt as mprt
from .random_logit import RandomLogit as RandomLogit
from .random_logit import random_logit as random_logit
