"""Quantus's names, on jaxeval's engine: ``import jaxeval_quantus as quantus``.

Every class is a subclass of Quantus's own, with its arguments, checks and results. See
docs/quantus.md.
"""

from typing import Any

import quantus as _quantus
from quantus import AVAILABLE_METRICS as _METRICS
from quantus import AVAILABLE_NORMALISATION_FUNCTIONS as _NORMALISATIONS

from . import batch as batch
from . import explainers as explainers
from . import rows as rows
from . import settings as settings
from . import work as work
from .classes import CLASSES
from .evaluating import evaluate as evaluate
from .explainers import explain as explain
from .installing import install as install
from .mended import calculate_auc as calculate_auc
from .mended import correlation_spearman as correlation_spearman
from .mended import fro_norm as fro_norm
from .mended import l2_norm as l2_norm
from .mended import linf_norm as linf_norm
from .mended import normalise_by_negative as normalise_by_negative
from .mended import uniform_sampling as uniform_sampling
from .mstc import MSTC as MSTC
from .settings import Answered as Answered
from .settings import Unmapped as Unmapped
from .settings import clear_log as clear_log
from .settings import definitions as definitions
from .settings import engine as engine
from .settings import log as log

__version__ = _quantus.__version__

# First all that Quantus has, then what is ours.
globals().update({k: v for k, v in vars(_quantus).items() if k not in globals()})

AVAILABLE_METRICS = {
    category: {label: CLASSES.get(theirs.__name__, theirs) for label, theirs in metrics.items()}
    for category, metrics in _METRICS.items()
}
AVAILABLE_NORMALISATION_FUNCTIONS = {
    **_NORMALISATIONS,
    "normalise_by_negative": normalise_by_negative,
}
globals().update(CLASSES)


def __getattr__(name: str) -> Any:
    return getattr(_quantus, name)
