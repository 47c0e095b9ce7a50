"""Sweeps: one description, any number of processes, and nothing lost when they are killed."""

from .describe import Sweep as Sweep
from .grid import Grid as Grid
from .lines import SweepError as SweepError
from .place import Place as Place
from .plan import ChangedError as ChangedError
from .plan import Plan as Plan
from .run import Done as Done
from .run import Runner as Runner
from .run import run as run
