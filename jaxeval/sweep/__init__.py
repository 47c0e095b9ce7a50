"""Sweeps: one configuration, any number of processes, resumable after being killed."""

from .describe import Sweep as Sweep
from .grid import Grid as Grid
from .lines import SweepError as SweepError
from .meta import MetaPlan as MetaPlan
from .meta import meta_results as meta_results
from .place import Place as Place
from .plan import ChangedError as ChangedError
from .plan import Plan as Plan
from .runner import Done as Done
from .runner import Runner as Runner
from .runner import run as run
