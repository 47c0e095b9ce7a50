"""The input multiplied by its attribution map."""

from __future__ import annotations

from typing import Any, ClassVar

from .. import ops
from ..types import Query, Sample, pytree
from .base import Perturbation


@pytree
class SoftMask(Perturbation):
    """One step: query x times its map, the map rescaled per sample to [0, 1] (min-max)."""

    reads: ClassVar[Any] = frozenset({"a"})
    takes_padding: ClassVar[bool] = True

    def n_steps(self, sample: Sample) -> int:
        return 1

    def apply(self, sample: Sample, plan: Any, step: Any) -> Query:
        shown = sample.to_input(ops.unit_range(sample.a, sample.where)).astype(sample.x.dtype)
        return Query(x=sample.x * shown, y=sample.y)
