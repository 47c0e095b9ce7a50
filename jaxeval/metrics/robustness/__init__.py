"""Robustness: do similar inputs get similar attributions?"""

from .avg_sensitivity import AvgSensitivity as AvgSensitivity
from .avg_sensitivity import avg_sensitivity as avg_sensitivity
from .local_lipschitz import LocalLipschitz as LocalLipschitz
from .local_lipschitz import LocalLipschitzEstimate as LocalLipschitzEstimate
from .local_lipschitz import local_lipschitz as local_lipschitz
from .max_sensitivity import MaxSensitivity as MaxSensitivity
from .max_sensitivity import max_sensitivity as max_sensitivity
from .ris import RIS as RIS
from .ris import RelativeInputStability as RelativeInputStability
from .ris import ris as ris
from .ros import ROS as ROS
from .ros import RelativeOutputStability as RelativeOutputStability
from .ros import ros as ros
