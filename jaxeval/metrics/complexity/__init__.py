"""Complexity: how few features does the attribution use?"""

from .complexity import Complexity as Complexity
from .complexity import complexity as complexity
from .effective_complexity import EffectiveComplexity as EffectiveComplexity
from .effective_complexity import effective_complexity as effective_complexity
from .mstc import MSTC as MSTC
from .mstc import mstc as mstc
from .sparseness import Sparseness as Sparseness
from .sparseness import sparseness as sparseness
