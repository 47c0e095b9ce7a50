"""Continuity: how much does the attribution change when the input is shifted?"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from ... import check, ops
from ...metric import Metric
from ...perturb import Shift
from ...types import Answer, Outcome, Query, Sample, pytree, static


def continuity(ratios: Float[Array, " S"]) -> Float[Array, ""]:
    """The largest ||a - a'||_1 / ||x - x'||_2 over the shifts; NaN ones (x' = x) do not count.

    >>> import jax.numpy as jnp
    >>> float(continuity(jnp.array([0.5, jnp.nan, 2.0])))
    2.0
    """
    return jnp.nanmax(ratios)


@pytree
class Continuity(Metric):
    r"""Largest change of the attribution per change of the input, over horizontal shifts.

    .. math:: \max_s \frac{\lVert |\phi(x)| - |\phi(x_s)| \rVert_1}{\lVert x - x_s \rVert_2}

    x_s is x moved along its last spatial axis, of length W, by the s-th of `n_steps` whole
    numbers spread evenly over [-W, W], and filled with the baseline; 0, repeats, and -W (which
    leaves what W does) are left out. Lower is better, 0 for an explainer that does not look at
    the input. A shift that leaves x as it is does not count; NaN where all do.

    Args:
      n_steps: number of shifts, before some are left out.
      baseline: what fills the gap, see `jaxeval.ops.baseline`.

    Outcome: score [].
    """

    family = "robustness"
    direction = "lower"
    asks = frozenset({"attribution"})
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
