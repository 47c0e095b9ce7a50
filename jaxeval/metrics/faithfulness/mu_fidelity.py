"""MuFidelity: do random sets of grid cells with more attribution affect the output more?"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ... import check, ops
from ...perturb import RandomCells
from ...perturb.base import check_positions
from ...types import Answer, Outcome, Query, Sample, pytree, static
from ..bases import Drawn


def mu_fidelity(
    sums: Float[Array, " R"],
    drops: Float[Array, " R"],
    where: Bool[Array, " R"] | None = None,
) -> Float[Array, ""]:
    """The Spearman correlation of the sets' attributions with the drops of the output.

    >>> import jax.numpy as jnp
    >>> v = jnp.arange(4.0)
    >>> round(float(mu_fidelity(v, jnp.exp(v))), 4)
    1.0
    """
    return ops.spearman(sums, drops, where)


@pytree
class MuFidelity(Drawn):
    r"""Rank correlation over random sets of grid cells: their attribution against the drop.

    .. math:: \rho_S \Big( \sum_{i \in S} a_i, \; f(x) - f(x_{S \to b}) \Big)

    The input is divided into a grid of cells of about equal size, and each S is a uniformly random
    subset of them. Higher is better, within [-1, 1]. NaN if either side is constant.

    f is the logit by default, or the model's own output if it has no logits. For confident models,
    most drops of the probability are too small to be ranked.

    Args:
      n_runs: number of sets.
      grid_size: cells along each spatial axis (at most its length).
      subset_percent: fraction of the cells in a set, in (0, 1], rounded; at least one cell.
      baseline: b, see `jaxeval.ops.baseline`; random ones are drawn for each set.
      draws: the cells of each set, row-major indices [n_runs, n] or [N, n_runs, n], -1 for none.
      tolerance: ask as many draws as the score needs to be this close to its limit, instead of
        `n_runs`; see `jaxeval.Tolerance`.

    Outcome: score []; error [], from the draws.
    """

    family = "faithfulness"
    direction = "higher"
    asks = frozenset({"output"})
    takes_padding = True
    reference = "Fel et al. 2021, Look at the variance!, NeurIPS"

    first_draws = 64

    output: Any = static("logit")
    n_runs: int = static(200)
    grid_size: int = static(9)
    subset_percent: Any = 0.2
    baseline: Any = "black"
    draws: Any = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check.integer(self, "n_runs", least=2)
        check.integer(self, "grid_size", least=2)
        check.real(self, "subset_percent", above=0, most=1)
        check.baseline(self, "baseline", ops.BASELINES)

    def fit(self, model: Any, sample: Sample) -> None:
        check_positions(sample, "sets of grid cells have the attribution of their positions")

    def questions(self) -> RandomCells:
        return RandomCells(
            n_runs=self.at_most(self.n_runs),
            grid_size=self.grid_size,
            share=self.subset_percent,
            baseline=self.baseline,
            draws=self.draws,
        )

    def measure(self, sample: Sample, reference: Answer, query: Query, answer: Answer) -> Any:
        mass = jnp.where(query.aux, sample.to_input(sample.a), 0).sum()
        return jnp.stack([mass, self.drop(reference, answer, sample.y)])

    def reduce(self, sample: Sample, reference: Answer, measured: Any, valid: Any) -> Outcome:
        (sums, drops), where = measured.T, self.among(sample, valid)
        # Ranks are taken as given: that they depend on all draws hardly matters.
        ranks = ops.average_ranks(sums, where), ops.average_ranks(drops, where)
        influence = ops.pearson_influence(*ranks, where)
        return self.outcome(mu_fidelity(sums, drops, where), influence, where)
