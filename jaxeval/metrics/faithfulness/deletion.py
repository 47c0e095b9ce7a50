"""Deletion: the area under the output as features are removed, most relevant first."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ... import ops
from ...perturb import RankedDeletion
from ...types import Answer, Outcome, Sample, pytree
from ..bases import Area, Ranked


def deletion(
    curve: Float[Array, " S+1"], where: Bool[Array, " S+1"] | None = None
) -> Float[Array, ""]:
    """The area under f(x), f(x_1), ..., f(x_S), evenly spaced on [0, 1] (trapezoidal rule).

    >>> import jax.numpy as jnp
    >>> float(deletion(jnp.array([1.0, 0.0, 0.0])))
    0.25
    """
    return ops.area(curve, where)


@pytree
class Deletion(Area, Ranked):
    r"""Area under the output as features are set to the baseline, the most relevant first.

    .. math:: c_s = f(x_{\text{top } k_s \to b}), \quad k_s = \lfloor F s / S \rfloor,
              \quad s = 0 \dots S

    Lower is better. Never NaN. Shares its questions with `PixelFlipping`.

    Args:
      n_steps: S, at most the number of features F; None: F. Ignored with `features_in_step`.
      features_in_step: m, features per step, instead of `n_steps`: k_s = min(m s, F).
      baseline: b, see `jaxeval.ops.baseline`.
      tolerance: ask only the steps that the area needs to be this close to that of all, see
        `jaxeval.evaluate`; None: all.

    Outcome: score []; error [], from the features between steps; curve [S + 1].
    """

    family = "faithfulness"
    direction = "lower"
    asks = frozenset({"output"})
    takes_padding = True
    reference = "Petsiuk et al. 2018, RISE: Randomized input sampling for explanation, BMVC"

    def questions(self) -> RankedDeletion:
        return self.ranked()

    def reduce(self, sample: Sample, reference: Answer, measured: Any, valid: Any) -> Outcome:
        curve = jnp.concatenate([self.value(reference, sample.y)[None], measured])
        where = sample.step_mask(valid)
        where = None if where is None else jnp.append(True, where)
        return self.of_curve(sample, deletion(curve, where), curve, curve, valid)
