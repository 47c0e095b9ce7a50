"""Models as CPUs run them fast: some operations in other forms, channels-last."""

from .cores import available_cores as available_cores
from .programs import program as program
from .rewrite import Rewritten as Rewritten
from .rewrite import RewrittenOnCpus as RewrittenOnCpus
from .rewrite import suited as suited
