"""Models as CPUs run them fast: some operations in other forms, channels-last."""

from .rewrite import Rewritten as Rewritten
from .rewrite import suited as suited
