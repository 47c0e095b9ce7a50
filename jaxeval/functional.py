"""Every metric's pure function, array -> array, of ONE sample; for anyone's jit, vmap and grad."""

from inspect import isfunction as _isfunction

from .metrics.axiomatic import *  # noqa: F403
from .metrics.complexity import *  # noqa: F403
from .metrics.faithfulness import *  # noqa: F403
from .metrics.localisation import *  # noqa: F403
from .metrics.randomisation import *  # noqa: F403
from .metrics.robustness import *  # noqa: F403

__all__ = sorted(name for name, value in globals().items() if _isfunction(value) and name[0] != "_")
