"""SRG: the gap between removing the least and the most relevant features first."""

from __future__ import annotations

from typing import Any

from jaxtyping import Array, Bool, Float

from ... import check, ops
from ...metric import Metric
from ...perturb import RankedDeletion
from ...perturb.deletion import check_steps
from ...types import Answer, Outcome, Query, Sample, pytree, static


def srg(gap: Float[Array, " S"], where: Bool[Array, " S"] | None = None) -> Float[Array, ""]:
    """The area between the two curves, of their gap at each step, spread evenly on [0, 1].

    >>> import jax.numpy as jnp
    >>> float(srg(jnp.array([0.5, 1.0])))
    0.75
    """
    return ops.area(gap, where)


@pytree
class SRG(Metric):
    r"""Symmetric relevance gain: area of the least-relevant-first minus most-relevant-first curve.

    .. math:: \text{SRG} = A(c^{\text{lerf}}) - A(c^{\text{morf}})

    Both curves are `PixelFlipping`'s, with which it shares its questions. What the baseline does
    on its own, it does to both. Also exported as `ABPC`. Higher is better. Never NaN.

    Args:
      n_steps: S, cut to the number of features F. Ignored with `features_in_step`.
      features_in_step: m instead of n_steps: k_s = min(m s, F).
      baseline: b, see `jaxeval.ops.baseline`; a random one is drawn once per sample.

    Outcome: score []; curve [S], the gap at each step.
    """

    family = "faithfulness"
    direction = "higher"
    asks = frozenset({"output"})
    takes_padding = True
    reference = "Blücher et al. 2024, Decoupling pixel flipping and occlusion strategy, TMLR"

    n_steps: int | None = static(32)
    features_in_step: int | None = static(None)
    baseline: Any = "black"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_steps(self)
        check.baseline(self, "baseline", ops.BASELINES)

    def questions(self) -> tuple[RankedDeletion, ...]:
        return tuple(
            RankedDeletion(
                order=order,
                steps=self.n_steps,
                features_in_step=self.features_in_step,
                baseline=self.baseline,
            )
            for order in ("lerf", "morf")
        )

    def measure(self, sample: Sample, reference: Answer, query: Query, answer: Answer) -> Any:
        return self.drop(reference, answer, sample.y)

    def reduce(self, sample: Sample, reference: Answer, measured: Any, valid: Any) -> Outcome:
        lerf, morf = measured  # drops: the gap between confident outputs is not lost in rounding
        where = sample.asked(valid[0])  # both go as many steps
        return Outcome(score=srg(morf - lerf, where), curve=morf - lerf)


ABPC = SRG
"""The name for it as the area between perturbation curves."""
