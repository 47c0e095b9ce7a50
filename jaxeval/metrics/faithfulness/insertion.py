"""Insertion: the area under the output as features are inserted, most relevant first."""

from __future__ import annotations

from typing import Any

from jaxtyping import Array, Bool, Float

from ... import ops
from ...perturb import RankedDeletion
from ...types import Answer, Outcome, Sample, pytree
from ..bases import Area, Ranked


def insertion(
    curve: Float[Array, " S+1"], where: Bool[Array, " S+1"] | None = None
) -> Float[Array, ""]:
    """The area under f(b), f(x_1), ..., f(x), evenly spaced on [0, 1] (trapezoidal rule).

    >>> import jax.numpy as jnp
    >>> float(insertion(jnp.array([0.0, 1.0, 1.0])))
    0.75
    """
    return ops.area(curve, where)


@pytree
class Insertion(Area, Ranked):
    r"""Area under the output as features are inserted into the baseline, the most relevant first.

    .. math:: c_s = f(b_{\text{top } k_s \to x}), \quad k_s = \lfloor F s / S \rfloor,
              \quad s = 0 \dots S

    Higher is better. Never NaN.

    Args:
      n_steps: S, at most the number of features F; None: F. Ignored with `features_in_step`.
      features_in_step: m, features per step, instead of `n_steps`: k_s = min(m s, F).
      baseline: b, see `jaxeval.ops.baseline`; by default blurred x, as in the paper.
      tolerance: ask only the steps that the area needs to be this close to that of all, see
        `jaxeval.evaluate`; None: all.

    Outcome: score []; error [], from the features between steps; curve [S + 1].
    """

    family = "faithfulness"
    direction = "higher"
    asks = frozenset({"output"})
    takes_padding = True
    reference = "Petsiuk et al. 2018, RISE: Randomized input sampling for explanation, BMVC"

    baseline: Any = "blur"

    def questions(self) -> RankedDeletion:
        return self.ranked(insert=True)

    def reduce(self, sample: Sample, reference: Answer, measured: Any, valid: Any) -> Outcome:
        whole = self.value(reference, sample.y)
        curve, where = ops.append(measured, whole, sample.step_mask(valid))
        return self.of_curve(sample, insertion(curve, where), curve, curve, valid)
