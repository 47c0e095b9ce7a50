"""SRG: the gap between removing the least and the most relevant features first."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ... import ops
from ...perturb import RankedDeletion
from ...types import Answer, Outcome, Query, Sample, pytree
from ..bases import Area, Ranked


def srg(gap: Float[Array, " S"], where: Bool[Array, " S"] | None = None) -> Float[Array, ""]:
    """The area between the two curves, given their gap at each step (trapezoidal rule).

    >>> import jax.numpy as jnp
    >>> float(srg(jnp.array([0.5, 1.0])))
    0.75
    """
    return ops.area(gap, where)


@pytree
class SRG(Area, Ranked):
    r"""Symmetric relevance gain: area between the least- and the most-relevant-first curves.

    .. math:: \text{SRG} = A(c^{\text{lerf}}) - A(c^{\text{morf}})

    The curves are those of `PixelFlipping`, with which it shares its questions. Effects of the
    baseline alone appear in both curves and cancel. Also exported as `ABPC`. Higher is better.
    Never NaN.

    Args:
      n_steps: S, at most the number of features F; None: F. Ignored with `features_in_step`.
      features_in_step: m, features per step, instead of `n_steps`: k_s = min(m s, F).
      baseline: b, see `jaxeval.ops.baseline`; random ones are drawn once per sample,
        "uniform_value" once per step.
      tolerance: ask only the steps that the area needs to be this close to that of all, see
        `jaxeval.evaluate`; None: all.

    Outcome: score []; error [], from the features between steps; curve [S], the gap at each step.
    """

    family = "faithfulness"
    direction = "higher"
    asks = frozenset({"output"})
    takes_padding = True
    reference = "Blücher et al. 2024, Decoupling pixel flipping and occlusion strategy, TMLR"

    def questions(self) -> tuple[RankedDeletion, ...]:
        return tuple(self.ranked(order=order) for order in ("lerf", "morf"))

    def measure(self, sample: Sample, reference: Answer, query: Query, answer: Answer) -> Any:
        return self.drop(reference, answer, sample.y)

    def reduce(self, sample: Sample, reference: Answer, measured: Any, valid: Any) -> Outcome:
        lerf, morf = measured  # drops, so that the gap of confident outputs keeps its precision
        where = sample.step_mask(valid[0])  # the same for both
        gap = morf - lerf
        points = jnp.concatenate([jnp.zeros_like(gap[:1]), gap])
        return self.of_curve(sample, srg(gap, where), gap, points, valid[0])


ABPC = SRG
"""Area between perturbation curves: another name of `SRG`."""
