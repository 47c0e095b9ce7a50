"""Relative output stability: the change of the attribution relative to that of the logits."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from ... import ops
from ...types import Answer, Outcome, Query, Sample, pytree
from ..bases import RelativeStability


def ros(ratios: Float[Array, " S"]) -> Float[Array, ""]:
    """The maximum ratio over the draws, ignoring NaN (the prediction changed).

    >>> import jax.numpy as jnp
    >>> float(ros(jnp.array([1.0, jnp.nan, 2.0])))
    2.0
    """
    return jnp.nanmax(ratios)


@pytree
class ROS(RelativeStability):
    r"""Largest relative change of the attribution over the change of the logits, under noise.

    .. math:: \max_s
              \frac{\lVert (a - a_s) / a \rVert_2}{\max(\lVert z(x) - z(x_s) \rVert_2, \epsilon)}

    Zeros in a denominator are replaced by epsilon. Draws that change the predicted class are
    ignored; NaN if none remains. Lower is better. For a model of plain values, z are the values
    and all draws count, as no class is predicted; a model of probabilities is refused.

    Args:
      radius: r, the noise is uniform on [-r, r], in units of the input.
      n_samples: number of draws.
      eps: epsilon.
      draws: the noise, [S, *x] or [N, S, *x].
      noise: a `jaxeval.Noise` that replaces `radius`, `n_samples` and `draws`.
      quantile: in (0, 1]: score this quantile of the draws instead of their maximum; None: the
        maximum, which grows with the number of draws.
      tolerance: of a quantile: ask as many draws as it needs to be this close to its limit; see
        `jaxeval.Tolerance`.

    Outcome: score []; error [], of a quantile.
    """

    family = "robustness"
    direction = "lower"
    asks = frozenset({"attribution", "output"})
    takes_padding = True
    reference = "Agarwal et al. 2022, Rethinking stability for attribution-based explanations"

    def fit(self, model: Any, sample: Sample) -> None:
        if model.outputs == "probabilities":
            raise ValueError(
                "it measures the change of the logits, and this model gives probabilities: give a "
                "model without its softmax, or take RIS or RRS"
            )

    def distance(self, sample: Sample, reference: Answer, query: Query, answer: Answer) -> Any:
        return ops.l2(reference.logits, answer.logits)

    def reduce(self, sample: Sample, reference: Answer, measured: Any, valid: Any) -> Outcome:
        return self.of_values(ros, sample, measured, valid)


RelativeOutputStability = ROS
