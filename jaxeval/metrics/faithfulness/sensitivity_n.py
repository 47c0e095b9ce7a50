"""Sensitivity-n: for subsets of each size, does the attribution predict the drop of the output?"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from ... import check, ops
from ...metric import Metric
from ...perturb import RandomSubsets
from ...types import Answer, Outcome, Query, Sample, pytree, static
from ..bases import of_draws


def sensitivity_n(
    sums: Float[Array, "K R"],
    drops: Float[Array, "K R"],
    where: Bool[Array, "K R"] | None = None,
) -> tuple[Float[Array, ""], Float[Array, " K"]]:
    """(mean over sizes, Pearson correlation per size [K]); the mean ignores NaN.

    >>> import jax.numpy as jnp
    >>> v = jnp.arange(4.0)
    >>> sensitivity_n(jnp.stack([v, v]), jnp.stack([v, -v]))[1].round(4).tolist()
    [1.0, -1.0]
    """
    curve = jax.vmap(ops.pearson)(sums, drops, where)
    return jnp.nanmean(curve), curve


@pytree
class SensitivityN(Metric):
    r"""Correlation of attribution and drop over random subsets of n features; mean over n.

    .. math:: \frac{1}{K} \sum_{n} \operatorname{corr}_{|S| = n}
              \Big( \sum_{i \in S} a_i, \; f(x) - f(x_{S \to b}) \Big)

    Higher is better, within [-1, 1]. Sizes for which either side is constant are excluded from the
    mean; NaN if all are.

    f is the logit by default, or the model's own output if it has no logits. Drops of a probability
    are heavy-tailed, which biases the correlation: .034 to .041 for 50 subsets per size (LeNet).

    Args:
      n_runs: random subsets per size.
      sizes: the sizes n [K]; None: `n_sizes` sizes, evenly spaced on a log scale from 1 to
        floor(`n_max_percentage` F), without duplicates.
      n_sizes: how many sizes, unless `sizes` says which.
      n_max_percentage: the largest size as a fraction of the features, in (0, 1].
      baseline: b, see `jaxeval.ops.baseline`; random ones are drawn for each subset.
      draws: the subsets, feature indices [K n_runs, n] or [N, K n_runs, n], size by size; -1 for
        none, so that one array holds subsets of all sizes.

    Outcome: score []; error [], from the draws; curve [K], the correlation per size.
    """

    family = "faithfulness"
    direction = "higher"
    asks = frozenset({"output"})
    takes_padding = True
    steps_are = "sizes"
    reference = "Ancona et al. 2018, Towards better understanding of gradient-based methods, ICLR"

    output: Any = static("logit")
    n_runs: int = static(100)
    sizes: Any = None
    n_sizes: int = static(6)
    n_max_percentage: Any = 0.8
    baseline: Any = "black"
    draws: Any = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check.integer(self, "n_runs", least=2)
        check.integer(self, "n_sizes")
        check.real(self, "n_max_percentage", above=0, most=1)
        check.integers(self, "sizes", optional=True)
        check.baseline(self, "baseline", ops.BASELINES)
        n_subsets = np.shape(self.draws)[-2] if np.ndim(self.draws) > 1 else 0
        if n_subsets % self.n_runs:
            raise ValueError(
                f"SensitivityN(draws=...): {n_subsets} in all, no multiple of n_runs={self.n_runs}"
            )

    def questions(self) -> RandomSubsets:
        return RandomSubsets(
            n_runs=self.n_runs,
            sizes=None if self.sizes is None else jnp.asarray(self.sizes),
            n_sizes=self.n_sizes,
            largest=self.n_max_percentage,
            baseline=self.baseline,
            draws=self.draws,
        )

    def measure(self, sample: Sample, reference: Answer, query: Query, answer: Answer) -> Any:
        return self.mass_and_drop(sample, reference, query, answer)

    def reduce(self, sample: Sample, reference: Answer, measured: Any, valid: Any) -> Outcome:
        sums, drops = jnp.moveaxis(measured.reshape(-1, self.n_runs, 2), -1, 0)
        where = sample.step_mask(valid.reshape(-1, self.n_runs))
        score, curve = sensitivity_n(sums, drops, where)
        influence = jax.vmap(ops.pearson_influence)(sums, drops, where)
        # The draws of all sizes that are defined are those of their mean.
        used = ~jnp.isnan(curve)[:, None] & (True if where is None else where)
        return of_draws(score, influence, used, curve)
