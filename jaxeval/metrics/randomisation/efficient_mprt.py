"""Efficient MPRT: does the explanation become more complex when the whole model is randomised?"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from ... import check, ops
from ...metric import Metric
from ...perturb.layers import ALL, RANDOMISATIONS, RandomiseLayers
from ...types import Answer, Outcome, Query, Sample, pytree, static


def efficient_mprt(entropy: Float[Array, ""], random_entropy: Float[Array, ""]) -> Float[Array, ""]:
    """(random_entropy - entropy) / entropy; NaN if entropy is 0.

    >>> import jax.numpy as jnp
    >>> float(efficient_mprt(jnp.array(2.0), jnp.array(3.0)))
    0.5
    """
    defined = entropy > 0
    return jnp.where(defined, (random_entropy - entropy) / jnp.where(defined, entropy, 1), jnp.nan)


@pytree
class EfficientMPRT(Metric):
    r"""Relative increase of the map's entropy when all layers are randomised.

    .. math:: \frac{H(\phi(x; \tilde\theta)) - H(\phi(x; \theta))}{H(\phi(x; \theta))}, \quad
              H(a) = -\sum_b p_b \log p_b

    with p_b the fraction of the map's values in bin b of a histogram with `n_bins` bins of equal
    width between its minimum and maximum. Higher is better: noise is more complex than an
    explanation. NaN if all values of the map lie in one bin (a constant map).

    Args:
      n_bins: the number of bins, or a rule that computes it from each sample's clean map (clipped
        to 10..200), for both maps: "freedman_diaconis", "scott", "sqrt", "sturges" or "rice", see
        `jaxeval.ops.n_bins`.
      randomise: as for `MPRT`.
      n_seeds: number of independent randomisations, whose entropies are averaged.
      draws: random parameters, a pytree like the model's with a leading axis [n_seeds].

    Outcome: score [].
    """

    family = "randomisation"
    direction = "higher"
    asks = frozenset({"attribution"})
    takes_padding = True
    reference = "Hedström et al. 2023, Sanity checks revisited, XAI in Action (NeurIPS workshop)"

    absolute: bool = static(True)
    n_bins: int | str = static(100)
    randomise: str = static("normal")
    n_seeds: int = static(1)
    draws: Any = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.n_bins, str):
            check.one_of(self, "n_bins", ops.BIN_RULES)
        else:
            check.integer(self, "n_bins", least=2)
        check.one_of(self, "randomise", RANDOMISATIONS)
        check.integer(self, "n_seeds")

    def questions(self) -> RandomiseLayers:
        ways = {"randomise": self.randomise, "n_seeds": self.n_seeds}
        return RandomiseLayers(order=ALL, draws=self.draws, **ways)

    def entropy(self, a: Float[Array, "*features"], sample: Sample) -> Float[Array, ""]:
        """H of a map, with the number of bins of the sample's clean map."""
        if isinstance(self.n_bins, str):
            bins, most = ops.n_bins(sample.a, self.n_bins, sample.where), ops.MAX_BINS
        else:
            bins, most = jnp.asarray(self.n_bins), self.n_bins
        return ops.entropy(ops.histogram(a, bins, most, sample.where))

    def measure(self, sample: Sample, reference: Answer, query: Query, answer: Answer) -> Any:
        return self.entropy(answer.attribution, sample)

    def reduce(self, sample: Sample, reference: Answer, measured: Any, valid: Any) -> Outcome:
        clean = self.entropy(sample.a, sample)
        return Outcome(score=efficient_mprt(clean, measured.mean()))
