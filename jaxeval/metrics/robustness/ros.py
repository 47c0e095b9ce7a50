"""Relative output stability: the change of the attribution against that of the logits."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from ... import check, ops
from ...metric import Metric
from ...perturb import Noise
from ...types import Answer, Outcome, Query, Sample, pytree, static


def ros(ratios: Float[Array, " S"]) -> Float[Array, ""]:
    """The largest ratio over the draws; NaN ones (the prediction changed) do not count.

    >>> import jax.numpy as jnp
    >>> float(ros(jnp.array([1.0, jnp.nan, 2.0])))
    2.0
    """
    return jnp.nanmax(ratios)


@pytree
class ROS(Metric):
    r"""Largest change of the attribution, relative to that of the logits, under uniform noise.

    .. math:: \max_s
              \frac{\lVert (a - a_s) / a \rVert_2}{\max(\lVert z(x) - z(x_s) \rVert_2, \epsilon)}

    Zeros in a denominator become epsilon. Draws that change the predicted class do not count;
    NaN where none is left. Lower is better.

    Args:
      radius: r, the noise is uniform in [-r, r], in units of the input.
      n_samples: number of draws.
      eps: epsilon.
      draws: the noise, [S, *x] or [N, S, *x].
      noise: a `jaxeval.Noise` to use in place of radius, n_samples and draws.

    Outcome: score [].
    """

    family = "robustness"
    direction = "lower"
    asks = frozenset({"attribution", "output"})
    takes_padding = True
    reference = "Agarwal et al. 2022, Rethinking stability for attribution-based explanations"

    radius: Any = 0.05
    n_samples: int = static(200)
    eps: Any = 1e-6
    draws: Any = None
    noise: Noise | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check.real(self, "radius", above=0)
        check.real(self, "eps", above=0)
        check.integer(self, "n_samples")
        check.instance(self, "noise", Noise)

    def questions(self) -> Noise:
        own = Noise(scale=self.radius, n_samples=self.n_samples, draws=self.draws)
        return self.noise or own

    def measure(self, sample: Sample, reference: Answer, query: Query, answer: Answer) -> Any:
        distance = ops.l2(reference.logits, answer.logits)
        change = ops.relative_change(sample.a, answer.attribution, self.eps)
        same = answer.logits.argmax() == reference.logits.argmax()
        return jnp.where(same, change / jnp.maximum(distance, self.eps), jnp.nan)

    def reduce(self, sample: Sample, reference: Answer, measured: Any, valid: Any) -> Outcome:
        return Outcome(score=ros(measured))


RelativeOutputStability = ROS
