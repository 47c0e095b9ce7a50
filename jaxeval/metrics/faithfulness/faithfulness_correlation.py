"""Faithfulness correlation: do random subsets with more attribution affect the output more?"""

from __future__ import annotations

from typing import Any

from jaxtyping import Array, Bool, Float

from ... import check, ops
from ...metric import By
from ...perturb import RandomSubsets
from ...types import Answer, Outcome, Query, Sample, pytree, static
from ..bases import Drawn


def faithfulness_correlation(
    sums: Float[Array, " R"],
    drops: Float[Array, " R"],
    where: Bool[Array, " R"] | None = None,
) -> Float[Array, ""]:
    """The Pearson correlation of the subsets' attributions with the drops of the output.

    >>> import jax.numpy as jnp
    >>> v = jnp.arange(4.0)
    >>> round(float(faithfulness_correlation(v, 2 * v)), 4)
    1.0
    """
    return ops.pearson(sums, drops, where)


@pytree
class FaithfulnessCorrelation(Drawn):
    r"""Correlation over random subsets: their attribution against the drop when they are removed.

    .. math:: \operatorname{corr}_{S} \Big( \sum_{i \in S} a_i, \; f(x) - f(x_{S \to b}) \Big)

    Higher is better, within [-1, 1]. NaN if either side is constant. corr is Pearson's, or
    `similarity`.

    f is the logit by default, or the model's own output if it has no logits. Drops of a probability
    are heavy-tailed (few subsets change it at all), which biases the Pearson correlation: on a
    LeNet, the mean for 100 subsets is .055 to .070 above the limit of many; for the logit, the
    bias is below .001.

    Args:
      n_runs: number of random subsets.
      subset_size: features in a subset; at most the number of features.
      baseline: b, see `jaxeval.ops.baseline`; random ones are drawn for each subset.
      similarity: "pearson", "spearman", "kendall", or a JAX function of the two
        arrays [R]. Only the first has an error.
      draws: the subsets, feature indices [n_runs, n] or [N, n_runs, n].
      tolerance: ask as many draws as the score needs to be this close to its limit, instead of
        `n_runs`; see `jaxeval.Tolerance`.

    Outcome: score []; error [], from the draws.
    """

    family = "faithfulness"
    direction = "higher"
    asks = frozenset({"output"})
    takes_padding = True
    reference = "Bhatt et al. 2020, Evaluating and aggregating feature-based explanations, IJCAI"

    first_draws = 64
    steps_are = By("similarity", "all", pearson="draws")

    output: Any = static("logit")
    n_runs: int = static(100)
    subset_size: Any = 224
    baseline: Any = "black"
    similarity: Any = static("pearson")
    draws: Any = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check.integer(self, "n_runs", least=2)
        check.integer(self, "subset_size")
        check.baseline(self, "baseline", ops.BASELINES)
        if not callable(self.similarity):
            check.one_of(self, "similarity", ops.CORRELATIONS)
        if self.similarity != "pearson" and self.tolerance is not None:
            raise ValueError("FaithfulnessCorrelation(tolerance=...) needs similarity='pearson'")

    def questions(self) -> RandomSubsets:
        return RandomSubsets(
            n_runs=self.at_most(self.n_runs),
            sizes=self.subset_size,
            baseline=self.baseline,
            draws=self.draws,
        )

    def measure(self, sample: Sample, reference: Answer, query: Query, answer: Answer) -> Any:
        return self.mass_and_drop(sample, reference, query, answer)

    def reduce(self, sample: Sample, reference: Answer, measured: Any, valid: Any) -> Outcome:
        (sums, drops), where = measured.T, self.among(sample, valid)
        if self.similarity != "pearson":
            return Outcome(score=ops.similarity(sums, drops, self.similarity, where=where))
        influence = ops.pearson_influence(sums, drops, where)
        return self.outcome(faithfulness_correlation(sums, drops, where), influence, where)
