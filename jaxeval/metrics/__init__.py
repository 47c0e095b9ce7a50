"""All metrics, one file each, by family; `METRICS` maps names to classes."""

from ..metric import METRICS as METRICS
from ..metric import Metric
from ..registry import enter
from . import axiomatic, complexity, faithfulness, localisation, randomisation, robustness
from .qge import QGE as QGE

FAMILIES = (faithfulness, robustness, localisation, complexity, randomisation, axiomatic)

# What a family imports has a name.
for _family in FAMILIES:
    for _value in vars(_family).values():
        if isinstance(_value, type) and issubclass(_value, Metric):
            enter(_value)
