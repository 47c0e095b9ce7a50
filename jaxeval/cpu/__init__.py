"""Models as CPUs run them fast: some operations in other forms, channels-last.

`suited` gives a model in that form, `program` compiles a function that calls one. Other rooms use
these names alone.
"""

from .cores import available_cores as available_cores
from .programs import program as program
from .rewrite import Rewritten as Rewritten
from .rewrite import RewrittenOnCpus as RewrittenOnCpus
from .rewrite import suited as suited
