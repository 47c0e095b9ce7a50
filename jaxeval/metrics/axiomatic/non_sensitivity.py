"""Non-sensitivity: has a feature no attribution exactly where the model does not respond to it?"""

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
    """The share of features where |a_i| < eps and changes_i < eps disagree.

    >>> import jax.numpy as jnp
    >>> float(non_sensitivity(jnp.array([0.0, 1.0]), jnp.array([1.0, 1.0])))
    0.5
    """
    differ = (jnp.abs(a) < eps) != (changes < eps).reshape(a.shape)
    return differ.mean(where=where)


@pytree
class NonSensitivity(Metric):
    r"""Share of features on whose irrelevance the attribution and the model disagree.

    .. math:: \frac{1}{F} \big| \{ i : |a_i| < \epsilon \} \,\triangle\,
              \{ i : \max_s |f(x) - f(x_{i \to u_s})| < \epsilon \} \big|

    Every feature is replaced `n_samples` times, so it takes F n_samples forward passes a sample.
    Lower is better, within [0, 1]. Never NaN.

    Args:
      n_samples: replacements of each feature.
      eps: epsilon, for the map as prepared and for the output alike.
      baseline: what replaces a feature, see `jaxeval.ops.baseline`; a random one anew each time.
      draws: the replacing values, [F n_samples] or [N, F n_samples], feature by feature.

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
