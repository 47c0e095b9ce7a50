"""Local Lipschitz estimate: how fast does the attribution change with the input?"""

from __future__ import annotations

import dataclasses
from typing import Any

from jaxtyping import Array, Float

from ... import check, ops
from ...perturb import Noise
from ...types import Answer, Outcome, Query, Sample, pytree, static
from ..bases import Largest


def local_lipschitz(ratios: Float[Array, " S"]) -> Float[Array, ""]:
    """The maximum of ||a - a'|| / ||x - x'|| over the draws.

    >>> import jax.numpy as jnp
    >>> float(local_lipschitz(jnp.array([0.5, 2.0])))
    2.0
    """
    return ratios.max()


@pytree
class LocalLipschitz(Largest):
    r"""Largest ratio of changes of attribution and input under Gaussian noise.

    .. math:: \max_s \frac{\lVert \phi(x) - \phi(x_s) \rVert_2}{\lVert x - x_s \rVert_2},
              \quad x_s \sim N(x, \sigma^2)

    Lower is better; 0 for an explainer that ignores the input. Never NaN.

    Args:
      std: sigma, in units of the input.
      n_samples: number of draws.
      draws: the noise x_s - x, [S, *x] or [N, S, *x].
      noise: a `jaxeval.Noise` that replaces `std`, `n_samples` and `draws`.
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
    reference = "Alvarez-Melis and Jaakkola 2018, On the robustness of interpretability methods"

    std: Any = 0.1
    n_samples: int = static(200)
    draws: Any = None
    noise: Noise | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check.real(self, "std", above=0)
        check.integer(self, "n_samples")
        check.instance(self, "noise", Noise)

    def questions(self) -> Noise:
        noise = self.noise or Noise(
            kind="gaussian", scale=self.std, n_samples=self.n_samples, draws=self.draws
        )
        return dataclasses.replace(noise, n_samples=self.at_most(noise.n_samples))

    def measure(self, sample: Sample, reference: Answer, query: Query, answer: Answer) -> Any:
        return ops.l2(sample.a, answer.attribution) / ops.l2(sample.x, query.x)

    def reduce(self, sample: Sample, reference: Answer, measured: Any, valid: Any) -> Outcome:
        return self.of_values(local_lipschitz, sample, measured, valid)


LocalLipschitzEstimate = LocalLipschitz
