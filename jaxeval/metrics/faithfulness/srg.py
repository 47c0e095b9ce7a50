"""SRG: the gap between removing the least and the most relevant features first."""

from __future__ import annotations

from typing import Any

from jaxtyping import Array, Bool, Float

from ... import ops
from ...perturb import RankedDeletion
from ...types import Answer, Outcome, Query, Sample, pytree
from ..bases import Ranked


def srg(gap: Float[Array, " S"], where: Bool[Array, " S"] | None = None) -> Float[Array, ""]:
    """The area between the two curves, of their gap at each step, spread evenly on [0, 1].

    >>> import jax.numpy as jnp
    >>> float(srg(jnp.array([0.5, 1.0])))
    0.75
    """
    return ops.area(gap, where)


@pytree
class SRG(Ranked):
    r"""Symmetric relevance gain: area of the least-relevant-first minus most-relevant-first curve.

    .. math:: \text{SRG} = A(c^{\text{lerf}}) - A(c^{\text{morf}})

    Both curves are `PixelFlipping`'s, with which it shares its questions. What the baseline does
    on its own, it does to both. Also exported as `ABPC`. Higher is better. Never NaN.

    Args:
      n_steps: S, cut to the number of features F. Ignored with `features_in_step`.
      features_in_step: m instead of n_steps: k_s = min(m s, F).
      baseline: b, see `jaxeval.ops.baseline`; a random one is drawn once per sample, but
        "uniform_value" for each step.

    Outcome: score []; curve [S], the gap at each step.
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
        lerf, morf = measured  # drops: the gap between confident outputs is not lost in rounding
        where = sample.asked(valid[0])  # both go as many steps
        return Outcome(score=srg(morf - lerf, where), curve=morf - lerf)


ABPC = SRG
"""The name for it as the area between perturbation curves."""
