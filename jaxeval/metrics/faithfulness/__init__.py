"""Faithfulness: does the attribution tell what the model responds to?"""

from .deletion import Deletion as Deletion
from .deletion import deletion as deletion
from .faithfulness_correlation import FaithfulnessCorrelation as FaithfulnessCorrelation
from .faithfulness_correlation import faithfulness_correlation as faithfulness_correlation
from .faithfulness_estimate import FaithfulnessEstimate as FaithfulnessEstimate
from .faithfulness_estimate import faithfulness_estimate as faithfulness_estimate
from .infidelity import Infidelity as Infidelity
from .infidelity import infidelity as infidelity
from .insertion import Insertion as Insertion
from .insertion import insertion as insertion
from .monotonicity import Monotonicity as Monotonicity
from .monotonicity import monotonicity as monotonicity
from .monotonicity_correlation import MonotonicityCorrelation as MonotonicityCorrelation
from .monotonicity_correlation import monotonicity_correlation as monotonicity_correlation
from .pixel_flipping import PixelFlipping as PixelFlipping
from .pixel_flipping import pixel_flipping as pixel_flipping
from .region_perturbation import RegionPerturbation as RegionPerturbation
from .region_perturbation import region_perturbation as region_perturbation
from .selectivity import Selectivity as Selectivity
from .selectivity import selectivity as selectivity
from .sensitivity_n import SensitivityN as SensitivityN
from .sensitivity_n import sensitivity_n as sensitivity_n
from .srg import ABPC as ABPC
from .srg import SRG as SRG
from .srg import srg as srg
