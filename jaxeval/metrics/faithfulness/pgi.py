"""PGI: does noise on the important features change the output?"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ... import ops
from ...types import Answer, Outcome, Sample, pytree
from ..bases import PredictionGap


def pgi(drops: Float[Array, " S"], where: Bool[Array, " S"] | None = None) -> Float[Array, ""]:
    """The mean of |f(x) - f(x')| over the draws.

    >>> import jax.numpy as jnp
    >>> float(pgi(jnp.array([1.0, -2.0])))
    1.5
    """
    return jnp.abs(drops).mean(where=where)


@pytree
class PGI(PredictionGap):
    r"""Prediction gap on important features: mean change under noise on the most relevant ones.

    .. math:: \mathbb{E}_u \, \big| f(x) - f(x + u \odot 1[i \in T]) \big|,
              \quad u \sim N(0, \sigma^2)

    T holds the top features by |a|; `PGU` perturbs the others, with the same noise. Higher is
    better. Never NaN.

    Args:
      top_fraction: fraction of the features in T, rounded up, in (0, 1].
      std: sigma, in units of the input.
      n_samples: number of draws.
      draws: the noise u on all features, [S, *x] or [N, S, *x].
      tolerance: ask as many draws as the score needs to be this close to its limit, instead of
        `n_samples`; see `jaxeval.Tolerance`.

    Outcome: score []; error [], from the draws.
    """

    family = "faithfulness"
    direction = "higher"
    asks = frozenset({"output"})
    takes_padding = True
    reference = "Agarwal et al. 2022, OpenXAI: Towards a transparent evaluation, NeurIPS"
    top = True

    def reduce(self, sample: Sample, reference: Answer, measured: Any, valid: Any) -> Outcome:
        where = self.among(sample, valid)
        influence = ops.mean_influence(jnp.abs(measured), where)
        return self.outcome(pgi(measured, where), influence, where)
