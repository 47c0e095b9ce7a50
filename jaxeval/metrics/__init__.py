"""Every metric, one a file, by family; `METRICS` lists their classes by name."""

from ..metric import METRICS as METRICS
from ..metric import Metric
from ..registry import enter
from . import axiomatic, complexity, faithfulness, localisation, randomisation, robustness

FAMILIES = (faithfulness, robustness, localisation, complexity, randomisation, axiomatic)

# What a family imports has a name.
for _family in FAMILIES:
    for _value in vars(_family).values():
        if isinstance(_value, type) and issubclass(_value, Metric):
            enter(_value)
