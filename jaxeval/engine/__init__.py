"""The engine: works with any metric and perturbation, and depends on no particular one."""

from .errors import EvaluationError as EvaluationError
from .explainers import Host as Host
from .kernels import TRACES as TRACES
from .single import as_function as as_function
