"""Perturbations: the questions that metrics ask the model, each a series of queries per sample."""

from ..registry import enter
from .base import PERTURBATIONS as PERTURBATIONS
from .base import Perturbation as Perturbation
from .base import RandomPerturbation as RandomPerturbation
from .base import step_key as step_key
from .cells import RandomCells as RandomCells
from .deletion import RankedDeletion as RankedDeletion
from .groups import RankedGroups as RankedGroups
from .imputation import RankedImputation as RankedImputation
from .layers import RandomiseLayers as RandomiseLayers
from .layers import layer_names as layer_names
from .noise import Noise as Noise
from .noise import RankedNoise as RankedNoise
from .offset import Offset as Offset
from .other_class import OtherClass as OtherClass
from .region import EachPatch as EachPatch
from .region import RandomSquares as RandomSquares
from .region import RankedPatches as RankedPatches
from .segments import RankedSegments as RankedSegments
from .shift import Shift as Shift
from .single import Blank as Blank
from .single import SingleFeature as SingleFeature
from .soft_mask import SoftMask as SoftMask
from .soft_removal import AllZero as AllZero
from .soft_removal import SoftRemoval as SoftRemoval
from .subset import RandomSubsets as RandomSubsets

_BASES = (Perturbation, RandomPerturbation)
for _value in tuple(vars().values()):
    if isinstance(_value, type) and issubclass(_value, Perturbation) and _value not in _BASES:
        enter(_value)
