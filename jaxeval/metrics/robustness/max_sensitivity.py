"""Max sensitivity: how much can small input noise change the attribution?"""

from __future__ import annotations

from typing import Any

from jaxtyping import Array, Float

from ...types import Answer, Outcome, Sample, pytree, static
from ..bases import Largest, Sensitivity


def max_sensitivity(changes: Float[Array, " S"]) -> Float[Array, ""]:
    """The maximum relative change ||a - a'|| / ||a|| over the draws.

    >>> import jax.numpy as jnp
    >>> float(max_sensitivity(jnp.array([0.0, 1.0])))
    1.0
    """
    return changes.max()


@pytree
class MaxSensitivity(Largest, Sensitivity):
    r"""Largest relative change of the attribution under uniform noise on the input.

    .. math:: \max_s
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
      quantile: in (0, 1]: score this quantile of the draws instead of their maximum; None: the
        maximum, which grows with the number of draws.
      tolerance: of a quantile: ask as many draws as it needs to be this close to its limit; see
        `jaxeval.Tolerance`.

    Outcome: score []; error [], of a quantile.
    """

    family = "robustness"
    direction = "lower"
    asks = frozenset({"attribution"})
    takes_padding = True
    reference = "Yeh et al. 2019, On the (in)fidelity and sensitivity of explanations, NeurIPS"

    normalise: str | None = static(None)  # `Largest` would bring that of all metrics

    def reduce(self, sample: Sample, reference: Answer, measured: Any, valid: Any) -> Outcome:
        return self.of_values(max_sensitivity, sample, measured, valid)
