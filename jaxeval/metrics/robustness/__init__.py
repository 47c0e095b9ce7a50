"""Robustness: do similar inputs have similar attributions?"""

from .average_stability import AverageStability as AverageStability
from .average_stability import average_stability as average_stability
from .avg_sensitivity import AvgSensitivity as AvgSensitivity
from .avg_sensitivity import avg_sensitivity as avg_sensitivity
from .consistency import Consistency as Consistency
from .consistency import consistency as consistency
from .continuity import Continuity as Continuity
from .continuity import continuity as continuity
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
from .rrs import RRS as RRS
from .rrs import RelativeRepresentationStability as RelativeRepresentationStability
from .rrs import rrs as rrs
