"""All metrics, one file each, by family; `METRICS` maps names to classes."""

from ..metric import Metric
from . import axiomatic, complexity, faithfulness, localisation, randomisation, robustness

FAMILIES = (faithfulness, robustness, localisation, complexity, randomisation, axiomatic)

METRICS: dict[str, type[Metric]] = {
    value.__name__: value
    for family in FAMILIES
    for value in vars(family).values()
    if isinstance(value, type) and issubclass(value, Metric)
}
