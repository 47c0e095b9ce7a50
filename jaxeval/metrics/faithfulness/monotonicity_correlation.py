"""Monotonicity correlation: does replacing features with more attribution change f more?"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ... import check, ops
from ...perturb import RankedGroups, SingleFeature
from ...types import Answer, Outcome, Sample, pytree, static
from ..bases import Grouped, exact, of_draws


def monotonicity_correlation(
    sums: Float[Array, " S"],
    effects: Float[Array, " S"],
    where: Bool[Array, " S"] | None = None,
) -> Float[Array, ""]:
    """The Spearman correlation of the groups' attributions with the effects of replacing them.

    >>> import jax
    >>> v = jax.numpy.arange(1.0, 5.0)
    >>> round(float(monotonicity_correlation(v, v**3)), 4)
    1.0
    """
    return ops.spearman(sums, effects, where)


@pytree
class MonotonicityCorrelation(Grouped):
    r"""Rank correlation of groups' attributions with the mean squared change of the output.

    .. math:: \rho_s \Big( \sum_{i \in G_s} |a_i|, \;
              \frac{1}{n} \sum_{u=1}^{n} (f(x) - f(x_{G_s \to u}))^2 \Big)

    The groups G_s hold m features each, in ascending order of |a|; each group is replaced alone, n
    times. The paper divides the changes by f(x)^2, which does not affect the ranks. Higher is
    better, within [-1, 1]. NaN if either side is constant.

    Args:
      features_in_step: m; the last group may be smaller.
      n_samples: n, number of replacements per group.
      baseline: the replacement values, see `jaxeval.ops.baseline`; random ones are drawn for each
        replacement, the same for all explainers if m = 1.
      draws: the replacement values, as whole inputs [S n, *x] or [N, S n, *x], group by group.

    Outcome: score []; error [], from the draws.
    """

    family = "faithfulness"
    direction = "higher"
    asks = frozenset({"output"})
    takes_padding = True
    steps_are = "replacements"
    reference = "Nguyen and Martinez 2020, On quantitative aspects of model interpretability"

    absolute: bool = static(True)
    n_samples: int = static(10)
    baseline: Any = "uniform"
    draws: Any = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check.integer(self, "n_samples")

    def questions(self) -> RankedGroups | SingleFeature:
        return self.groups("lerf", self.n_samples, self.draws)

    def reduce(self, sample: Sample, reference: Answer, measured: Any, valid: Any) -> Outcome:
        sums, drops = self.by_group(sample, measured, "lerf", self.n_samples)
        # The norm has the same ranks as the mean square, and does not underflow.
        effects = jax.vmap(ops.norm)(drops)
        where = sample.step_mask(valid[:: self.n_samples])
        score = monotonicity_correlation(sums, effects, where)
        if self.draws is None and not ops.is_random(self.baseline):
            return exact(score)
        if self.n_samples == 1:  # nothing to estimate it from
            return Outcome(score=score)

        def without(k: Any) -> Any:
            others = jnp.where(jnp.arange(self.n_samples) == k, 0, drops)
            return monotonicity_correlation(sums, jax.vmap(ops.norm)(others), where)

        # The jackknife over replacements: their effects are in all groups at once.
        n = self.n_samples
        parts = jax.lax.map(without, jnp.arange(n))
        influence = (n - 1) * (parts.mean() - parts)
        return of_draws(score, influence)
