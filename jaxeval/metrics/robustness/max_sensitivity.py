"""Max sensitivity: how much can small input noise change the attribution?"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from ... import check, ops
from ...metric import Metric
from ...perturb import Noise
from ...types import Answer, Outcome, Query, Sample, pytree, static


def max_sensitivity(changes: Float[Array, " S"]) -> Float[Array, ""]:
    """The largest of the relative changes ||a - a'|| / ||a|| over the draws.

    >>> import jax.numpy as jnp
    >>> float(max_sensitivity(jnp.array([0.0, 1.0])))
    1.0
    """
    return changes.max()


@pytree
class MaxSensitivity(Metric):
    r"""Largest relative change of the attribution under uniform noise on the input.

    .. math:: \max_s
              \frac{\lVert \phi(x) - \phi(x + u_s) \rVert_2}{\lVert \phi(x) \rVert_2},
              \quad u_s \sim U[-r, r]^d

    Lower is better, 0 for an explainer that does not look at the input. NaN for a map of zeros.
    Maps are not normalised by default.

    Args:
      radius: r, in units of the input.
      n_samples: number of draws.
      draws: the noise, [S, *x] or [N, S, *x].
      noise: a `jaxeval.Noise` to use in place of the three above.

    Outcome: score [].
    """

    family = "robustness"
    direction = "lower"
    asks = frozenset({"attribution"})
    takes_padding = True
    reference = "Yeh et al. 2019, On the (in)fidelity and sensitivity of explanations, NeurIPS"

    normalise: str | None = static(None)
    radius: Any = 0.2
    n_samples: int = static(200)
    draws: Any = None
    noise: Noise | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check.real(self, "radius", above=0)
        check.integer(self, "n_samples")
        check.instance(self, "noise", Noise)

    def questions(self) -> Noise:
        own = Noise(scale=self.radius, n_samples=self.n_samples, draws=self.draws)
        return self.noise or own

    def measure(self, sample: Sample, reference: Answer, query: Query, answer: Answer) -> Any:
        size = ops.norm(sample.a)
        change = ops.l2(sample.a, answer.attribution) / jnp.where(size > 0, size, 1)
        return jnp.where(size > 0, change, jnp.nan)

    def reduce(self, sample: Sample, reference: Answer, measured: Any, valid: Any) -> Outcome:
        return Outcome(score=max_sensitivity(measured))
