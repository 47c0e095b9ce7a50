"""A perturbation sees what it declares to read, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest

import jaxeval as je
from tests.contracts.runs import score


@je.pytree
class Peeking(je.Perturbation):
    reads = frozenset()
    at: str = je.static("a")

    def n_steps(self, sample: Any) -> int:
        return 2

    def apply(self, sample: Any, plan: Any, step: Any) -> Any:
        seen = {"a": sample.a, "features": sample.features, "mask": sample.mask}[self.at]
        extra = seen.sum() if self.at != "features" else len(seen)
        return je.Query(x=sample.x + extra, y=sample.y)


@je.pytree
class Peek(je.Metric):
    family, direction, reference = "axiomatic", "lower", "none"
    asks = frozenset({"output"})
    at: str = je.static("a")

    def questions(self) -> Any:
        return Peeking(at=self.at)

    def reduce(self, sample: Any, reference: Any, measured: Any, valid: Any) -> Any:
        return je.Outcome(score=measured.mean())


@pytest.mark.parametrize("at", ["a", "features", "mask"])
def test_a_perturbation_that_peeks_is_told(at):
    with pytest.raises(TypeError, match=f'looked at sample.{at}, .*does not declare: add "{at}"'):
        score(Peek(at=at))
