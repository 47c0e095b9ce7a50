"""Which metrics can be trusted: their scores under perturbations of model, inputs and maps.

`meta_evaluate` computes the scores, `MetaResults` what they say. The statistics are pure functions
of scores in NumPy: `iac`, `iec_minor`, `iec_disruptive`, `meta_consistency`, `tau`, `agree`,
`effect`, `react`, `recovery`, `krippendorff_alpha`, `icc`.
"""

from .alpha import krippendorff_alpha as krippendorff_alpha
from .alpha import midranks as midranks
from .criteria import iac as iac
from .criteria import iec_disruptive as iec_disruptive
from .criteria import iec_minor as iec_minor
from .criteria import meta_consistency as meta_consistency
from .evaluate import meta_evaluate as meta_evaluate
from .measures import MEASURES as MEASURES
from .measures import RANKABLE as RANKABLE
from .perturbations import InputNoise as InputNoise
from .perturbations import MapNoise as MapNoise
from .perturbations import ModelNoise as ModelNoise
from .results import MetaResults as MetaResults
from .retest import retest as retest
from .statistics import agree as agree
from .statistics import effect as effect
from .statistics import icc as icc
from .statistics import react as react
from .statistics import recovery as recovery
from .statistics import tau as tau
