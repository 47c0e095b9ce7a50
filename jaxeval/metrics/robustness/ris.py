"""Relative input stability: the change of the attribution relative to that of the input."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from ... import ops
from ...types import Answer, Outcome, Query, Sample, pytree
from ..bases import RelativeStability


def ris(ratios: Float[Array, " S"]) -> Float[Array, ""]:
    """The maximum ratio over the draws, ignoring NaN (the prediction changed).

    >>> import jax.numpy as jnp
    >>> float(ris(jnp.array([1.0, jnp.nan, 2.0])))
    2.0
    """
    return jnp.nanmax(ratios)


@pytree
class RIS(RelativeStability):
    r"""Largest relative change of the attribution over that of the input, under uniform noise.

    .. math:: \max_s
              \frac{\lVert (a - a_s) / a \rVert_2}{\max(\lVert (x - x_s) / x \rVert_2, \epsilon)}

    Zeros in a denominator are replaced by epsilon. Draws that change the predicted class are
    ignored; NaN if none remains. Lower is better.

    If x contains zeros, epsilon dominates the score: each zero contributes a change of r / epsilon,
    so that the score is proportional to epsilon. Zeros only of a make it proportional to
    1 / epsilon; zeros at the same positions of x and a cancel. On digits with half of the pixels 0,
    the median score of saliency maps is 0.0003, 0.03 and 3.2 for epsilon 1e-6, 1e-4 and 1e-2, and
    that of input x gradient, which is 0 where x is, 0.62, 0.62 and 1.5; with 0.1 added to every
    pixel they are 23 and 26, for every epsilon. Compare such scores only between maps with the same
    zeros, or use inputs without zeros.

    >>> import jax.numpy as jnp, numpy as np, jaxeval as je
    >>> model = je.Model(lambda w, x: x @ w, jnp.eye(2), channel_axis=None)
    >>> shifted = lambda model, x, y, keys: x + 1  # a map without zeros
    >>> for x, eps in (([1, 2], 1e-6), ([1, 2], 1e-3), ([0, 2], 1e-6), ([0, 2], 1e-3)):
    ...     ris = je.RIS(eps=eps, draws=np.full((1, 2), 0.01, np.float32))
    ...     print(f"{ris(model, np.float32([x]), [1], explainer=shifted)[0]:.2g}")
    0.15
    0.15
    6.6e-07
    0.00066

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

    def distance(self, sample: Sample, reference: Answer, query: Query, answer: Answer) -> Any:
        return ops.relative_change(sample.x, query.x, self.eps)

    def reduce(self, sample: Sample, reference: Answer, measured: Any, valid: Any) -> Outcome:
        return self.of_values(ris, sample, measured, valid)


RelativeInputStability = RIS
