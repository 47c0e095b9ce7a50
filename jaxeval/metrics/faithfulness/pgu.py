"""PGU: does noise on the unimportant features leave the output unchanged?"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ... import ops
from ...types import Answer, Outcome, Sample, pytree
from ..bases import PredictionGap


def pgu(drops: Float[Array, " S"], where: Bool[Array, " S"] | None = None) -> Float[Array, ""]:
    """The mean of |f(x) - f(x')| over the draws.

    >>> import jax.numpy as jnp
    >>> float(pgu(jnp.array([1.0, -2.0])))
    1.5
    """
    return jnp.abs(drops).mean(where=where)


@pytree
class PGU(PredictionGap):
    r"""Prediction gap on unimportant features: mean change under noise on all but the top ones.

    .. math:: \mathbb{E}_u \, \big| f(x) - f(x + u \odot 1[i \notin T]) \big|,
              \quad u \sim N(0, \sigma^2)

    T holds the top features by |a|; `PGI` perturbs these, with the same noise. Lower is better.
    Never NaN.

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
    direction = "lower"
    asks = frozenset({"output"})
    takes_padding = True
    reference = "Agarwal et al. 2022, OpenXAI: Towards a transparent evaluation, NeurIPS"
    top = False

    def reduce(self, sample: Sample, reference: Answer, measured: Any, valid: Any) -> Outcome:
        where = self.among(sample, valid)
        influence = ops.mean_influence(jnp.abs(measured), where)
        return self.outcome(pgu(measured, where), influence, where)
