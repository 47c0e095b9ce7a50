"""Continuity: how much does the attribution change when the input is shifted?"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from ... import check, ops
from ...perturb import Shift
from ...types import Answer, Outcome, Query, Sample, pytree, static
from ..bases import Limited


def continuity(ratios: Float[Array, " S"]) -> Float[Array, ""]:
    """The maximum of ||a - a'||_1 / ||x - x'||_2 over the shifts, ignoring NaN (x' = x).

    >>> import jax.numpy as jnp
    >>> float(continuity(jnp.array([0.5, jnp.nan, 2.0])))
    2.0
    """
    return jnp.nanmax(ratios)


@pytree
class Continuity(Limited):
    r"""Largest ratio of changes of attribution and input over horizontal shifts of the input.

    .. math:: \max_s \frac{\lVert |\phi(x)| - |\phi(x_s)| \rVert_1}{\lVert x - x_s \rVert_2}

    x_s is x shifted along its last spatial axis, of length W, by the s-th of `n_steps` evenly
    spaced integers on [-W, W], and filled with the baseline; duplicates, 0 and -W (equivalent to W)
    are omitted. Lower is better; 0 for an explainer that ignores the input. Shifts that do not
    change x are ignored; NaN if none does.

    Args:
      n_steps: number of shifts, before omissions.
      baseline: the values of vacated positions, see `jaxeval.ops.baseline`.
      tolerance: none is taken: no shift can be left out of a maximum.

    Outcome: score [].
    """

    family = "robustness"
    direction = "lower"
    asks = frozenset({"attribution"})
    steps_are = "shifts"
    reference = "Montavon et al. 2018, Methods for interpreting and understanding deep networks"

    absolute: bool = static(True)
    n_steps: int = static(28)
    baseline: Any = "black"

    def __post_init__(self) -> None:
        super().__post_init__()
        check.integer(self, "n_steps", least=2)
        check.baseline(self, "baseline", ops.BASELINES)

    def questions(self) -> Shift:
        return Shift(n_shifts=self.n_steps, baseline=self.baseline)

    def measure(self, sample: Sample, reference: Answer, query: Query, answer: Answer) -> Any:
        moved = ops.l2(sample.x, query.x)
        ratio = ops.l1(sample.a, answer.attribution) / jnp.where(moved > 0, moved, 1)
        return jnp.where(moved > 0, ratio, jnp.nan)

    def reduce(self, sample: Sample, reference: Answer, measured: Any, valid: Any) -> Outcome:
        return Outcome(score=continuity(measured))
