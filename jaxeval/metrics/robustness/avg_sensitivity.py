"""Average sensitivity: how much does small input noise change the attribution?"""

from __future__ import annotations

from typing import Any

from jaxtyping import Array, Bool, Float

from ... import ops
from ...types import Answer, Outcome, Sample, pytree
from ..bases import Sensitivity


def avg_sensitivity(
    changes: Float[Array, " S"], where: Bool[Array, " S"] | None = None
) -> Float[Array, ""]:
    """The mean relative change ||a - a'|| / ||a|| over the draws.

    >>> import jax.numpy as jnp
    >>> float(avg_sensitivity(jnp.array([0.0, 1.0])))
    0.5
    """
    return changes.mean(where=where)


@pytree
class AvgSensitivity(Sensitivity):
    r"""Mean relative change of the attribution under uniform noise on the input.

    .. math:: \frac{1}{S} \sum_s
              \frac{\lVert \phi(x) - \phi(x + u_s) \rVert_2}{\lVert \phi(x) \rVert_2},
              \quad u_s \sim U[-r, r]^d

    Lower is better; 0 for an explainer that ignores the input. NaN for a map of zeros.
    Maps are not normalised by default.

    Args:
      radius: r, in units of the input.
      n_samples: number of draws.
      draws: the noise, [S, *x] or [N, S, *x].
      noise: a `jaxeval.Noise` that replaces `radius`, `n_samples` and `draws`.
      norm_numerator, norm_denominator: "l2", "l1", "linf", or a JAX function of an array; of the
        change, and of the map.
      similarity: "difference", or a JAX function ``(a, a') -> array``, in place of a - a'.
      tolerance: ask as many draws as the score needs to be this close to its limit, instead of
        `n_samples`; see `jaxeval.Tolerance`.

    Outcome: score []; error [], from the draws.
    """

    family = "robustness"
    direction = "lower"
    asks = frozenset({"attribution"})
    takes_padding = True
    reference = "Yeh et al. 2019, On the (in)fidelity and sensitivity of explanations, NeurIPS"

    def reduce(self, sample: Sample, reference: Answer, measured: Any, valid: Any) -> Outcome:
        where = self.among(sample, valid)
        influence = ops.mean_influence(measured, where)
        return self.outcome(avg_sensitivity(measured, where), influence, where)
