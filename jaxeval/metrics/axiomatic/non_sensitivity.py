"""Non-sensitivity: is the attribution zero exactly for features that do not affect the output?"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ... import check, ops
from ...metric import Metric
from ...perturb import SingleFeature
from ...types import Answer, Outcome, Query, Sample, pytree, static


def non_sensitivity(
    a: Float[Array, "*features"],
    changes: Float[Array, " F"],
    eps: Any = 1e-5,
    where: Bool[Array, "*features"] | None = None,
) -> Float[Array, ""]:
    """The fraction of features for which |a_i| < eps and changes_i < eps disagree.

    >>> import jax.numpy as jnp
    >>> float(non_sensitivity(jnp.array([0.0, 1.0]), jnp.array([1.0, 1.0])))
    0.5
    """
    differ = (jnp.abs(a) < eps) != (changes < eps).reshape(a.shape)
    return differ.mean(where=where)


@pytree
class NonSensitivity(Metric):
    r"""Fraction of features that are irrelevant by only one of attribution and model.

    .. math:: \frac{1}{F} \big| \{ i : |a_i| < \epsilon \} \,\triangle\,
              \{ i : \max_s |f(x) - f(x_{i \to u_s})| < \epsilon \} \big|

    Each feature is replaced `n_samples` times, which costs F n_samples forward passes per sample.
    Lower is better, within [0, 1]. Never NaN.

    Args:
      n_samples: number of replacements per feature.
      eps: epsilon, for both the normalised map and the output.
      baseline: the replacement values, see `jaxeval.ops.baseline`; random ones are drawn for each
        replacement.
      draws: the replacement values, [F n_samples] or [N, F n_samples], feature by feature.

    Outcome: score [].
    """

    family = "axiomatic"
    direction = "lower"
    asks = frozenset({"output"})
    takes_padding = True
    reference = "Nguyen and Martinez 2020, On quantitative aspects of model interpretability"

    absolute: bool = static(True)
    n_samples: int = static(10)
    eps: Any = 1e-5
    baseline: Any = "uniform"
    draws: Any = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check.integer(self, "n_samples")
        check.real(self, "eps", above=0)
        check.baseline(self, "baseline", ops.BASELINES)

    def questions(self) -> SingleFeature:
        return SingleFeature(n_samples=self.n_samples, baseline=self.baseline, draws=self.draws)

    def measure(self, sample: Sample, reference: Answer, query: Query, answer: Answer) -> Any:
        return jnp.abs(self.drop(reference, answer, sample.y))

    def reduce(self, sample: Sample, reference: Answer, measured: Any, valid: Any) -> Outcome:
        changes = sample.at_features(measured.reshape(-1, self.n_samples).max(1))
        return Outcome(score=non_sensitivity(sample.a, changes, self.eps, sample.where))
