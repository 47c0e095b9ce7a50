"""Models rewritten for CPUs: slow operations in equivalent faster forms, channels-last.

`suited` rewrites a model, `program` compiles a function that calls one. Other packages use only
these names.
"""

from .cores import available_cores as available_cores
from .programs import program as program
from .rewrite import Rewritten as Rewritten
from .rewrite import RewrittenOnCpus as RewrittenOnCpus
from .rewrite import suited as suited
