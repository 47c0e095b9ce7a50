"""jaxeval: how good is an explanation of a neural network?

Every established evaluation metric for attribution maps, batched in JAX; each distinct question
is put to the model once, for all metrics and explainers together.
"""

from . import data as data
from . import explain as explain
from . import functional as functional
from . import plot as plot
from . import report as report
from .api import attribute as attribute
from .api import evaluate as evaluate
from .api import score as score
from .content import Described as Described
from .engine import EvaluationError as EvaluationError
from .engine import Host as Host
from .engine import as_function as as_function
from .metric import Metric as Metric
from .metrics import METRICS as METRICS
from .metrics.axiomatic import *  # noqa: F403
from .metrics.complexity import *  # noqa: F403
from .metrics.faithfulness import *  # noqa: F403
from .metrics.localisation import *  # noqa: F403
from .metrics.randomisation import *  # noqa: F403
from .metrics.robustness import *  # noqa: F403
from .model import Model as Model
from .of_flax import from_flax as from_flax
from .ops import Background as Background
from .perturb import Noise as Noise
from .perturb import Perturbation as Perturbation
from .perturb import layer_names as layer_names
from .results import Results as Results
from .results import Store as Store
from .sweep import Grid as Grid
from .sweep import Sweep as Sweep
from .sweep import SweepError as SweepError
from .sweep import run as run
from .types import Answer as Answer
from .types import Outcome as Outcome
from .types import Query as Query
from .types import Sample as Sample
from .types import pytree as pytree
from .types import static as static
from .version import __version__ as __version__
