"""jaxeval: how good is an explanation of a neural network?

Every established evaluation metric for attribution maps, batched in JAX; each distinct question
is put to the model once, for all metrics and explainers together.
"""

from importlib import import_module as _import_module
from types import ModuleType as _ModuleType
from typing import TYPE_CHECKING as _TYPE_CHECKING
from typing import Any as _Any

from .api import attribute as attribute
from .api import evaluate as evaluate
from .api import score as score
from .check import did_you_mean as _did_you_mean
from .content import Described as Described
from .engine import EvaluationError as EvaluationError
from .engine import Host as Host
from .engine import as_function as as_function
from .metric import Metric as Metric
from .model import Model as Model
from .of_equinox import from_equinox as from_equinox
from .of_flax import from_flax as from_flax
from .of_keras import from_keras as from_keras
from .of_sklearn import from_sklearn as from_sklearn
from .ops import Background as Background
from .perturb import Noise as Noise
from .perturb import Perturbation as Perturbation
from .perturb import layer_names as layer_names
from .several import join_inputs as join_inputs
from .tokens import Tokens as Tokens
from .tolerance import Tolerance as Tolerance
from .trace.embedding import embedded as embedded
from .types import Answer as Answer
from .types import Outcome as Outcome
from .types import Query as Query
from .types import Sample as Sample
from .types import pytree as pytree
from .types import static as static
from .version import __version__ as __version__
from .words import words as words

if _TYPE_CHECKING:
    from . import data as data
    from . import explain as explain
    from . import functional as functional
    from . import meta as meta
    from . import metrics as metrics
    from . import ops as ops
    from . import perturb as perturb
    from . import plot as plot
    from . import report as report
    from . import results as results
    from . import sweep as sweep
    from .cache import use_compilation_cache as use_compilation_cache
    from .meta import InputNoise as InputNoise
    from .meta import MapNoise as MapNoise
    from .meta import MetaResults as MetaResults
    from .meta import ModelNoise as ModelNoise
    from .meta import meta_evaluate as meta_evaluate
    from .metrics import METRICS as METRICS
    from .metrics import QGE as QGE
    from .metrics.axiomatic import *  # noqa: F403
    from .metrics.complexity import *  # noqa: F403
    from .metrics.faithfulness import *  # noqa: F403
    from .metrics.localisation import *  # noqa: F403
    from .metrics.randomisation import *  # noqa: F403
    from .metrics.robustness import *  # noqa: F403
    from .names import register as register
    from .results import Results as Results
    from .results import Store as Store
    from .sweep import Grid as Grid
    from .sweep import Sweep as Sweep
    from .sweep import SweepError as SweepError
    from .sweep import run as run

# Imported when they are first used, so that `import jaxeval` costs little more than JAX does.
_ROOMS = (
    *("data", "explain", "functional", "meta", "metrics", "ops"),
    *("perturb", "plot", "report", "results", "sweep"),
)
_ELSEWHERE = {
    **dict.fromkeys(("Grid", "Sweep", "SweepError", "run"), "sweep"),
    **dict.fromkeys(("InputNoise", "MapNoise", "MetaResults", "ModelNoise"), "meta"),
    **dict.fromkeys(("Results", "Store"), "results"),
    "meta_evaluate": "meta",
    "QGE": "metrics",
    "register": "names",
    "use_compilation_cache": "cache",
}


def _of_metrics() -> dict[str, _Any]:
    """The metrics' classes, under all their names, and the table of them."""
    metrics = _import_module(".metrics", __name__)
    found = {n: v for f in metrics.FAMILIES for n, v in vars(f).items() if isinstance(v, type)}
    return {**found, "METRICS": metrics.METRICS}


def __getattr__(name: str) -> _Any:
    if name in _ROOMS:
        return _import_module(f".{name}", __name__)
    if name == "__all__":
        return __dir__()
    if name in _ELSEWHERE:
        value = getattr(_import_module(f".{_ELSEWHERE[name]}", __name__), name)
    elif name.startswith("_"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    elif name in (found := _of_metrics()):
        value = found[name]
    else:
        near = _did_you_mean(name, __dir__())
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}{near}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """The public names."""
    here = {n for n, v in globals().items() if n[0] != "_" and not isinstance(v, _ModuleType)}
    return sorted({*here, *_ROOMS, *_ELSEWHERE, *_of_metrics(), "__version__"})
