"""Names for classes of a user's own."""

from __future__ import annotations

from typing import TypeVar

from . import explain, metrics, perturb  # noqa: F401  (whose classes have their names first)
from .registry import enter

C = TypeVar("C", bound=type)


def register(cls: C) -> C:
    """Makes a metric, explainer, perturbation or LRP rule known by its class's name. A decorator.

    The name is then one of `jaxeval.METRICS` or `jaxeval.explain.EXPLAINERS`, and may be used by
    `jaxeval.explain.get`, in the files of sweeps, and in `jaxeval list`. It goes above
    `jaxeval.pytree`, which makes the class complete. A class that is defined again, as when a cell
    of a notebook is run twice, takes the place of its former self.

    Raises:
      TypeError: it is no such class, or it lacks something, with what.
      ValueError: another class has the name.

    >>> import jaxeval as je
    >>> @je.register
    ... @je.pytree
    ... class Largest(je.Metric):
    ...     family, direction = "complexity", "higher"
    ...
    ...     def reduce(self, sample, reference, measured, valid):
    ...         return je.Outcome(score=abs(sample.a).max())
    >>> je.METRICS["Largest"](normalise=None)
    Largest(normalise=None, absolute=False, output=None)
    """
    return enter(cls)
