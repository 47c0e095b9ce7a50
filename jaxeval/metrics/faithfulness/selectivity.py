"""Selectivity: how fast does the output drop as all patches are removed, most relevant first?"""

from __future__ import annotations

from typing import Any

from jaxtyping import Array, Bool, Float

from ... import check, ops
from ...perturb import RankedPatches
from ...types import Answer, Outcome, Sample, pytree, static
from ..bases import Area, exact


def selectivity(
    curve: Float[Array, " L"], where: Bool[Array, " L"] | None = None
) -> Float[Array, ""]:
    """The area under f(x_1), ..., f(x_L), evenly spaced on [0, 1] (trapezoidal rule).

    >>> import jax.numpy as jnp
    >>> float(selectivity(jnp.array([1.0, 0.5, 0.0])))
    0.5
    """
    return ops.area(curve, where)


@pytree
class Selectivity(Area):
    r"""Area under the output as patches are set to the baseline, the most relevant first.

    .. math:: c_k = f(x_{\text{top } k \text{ patches} \to b}), \quad k = 1 \dots L

    All L patches are removed. They tile the input from its first corner and are ranked by their
    summed attribution; if `patch_size` does not divide an axis, the last patches along it are
    smaller. Lower is better. Never NaN. Shares its questions with `RegionPerturbation` if that
    removes all patches.

    Args:
      patch_size: side of a patch, in pixels, or one for each axis but the channels. None: 8, or
        all of a shorter axis.
      baseline: b, see `jaxeval.ops.baseline`; random ones are drawn once per sample,
        "uniform_value" once per step.
      tolerance: ask only the steps that the area needs to be this close to that of all, see
        `jaxeval.evaluate`; None: all.

    Outcome: score []; curve [L].
    """

    family = "faithfulness"
    direction = "lower"
    asks = frozenset({"output"})
    takes_padding = True
    reference = "Montavon et al. 2018, Methods for interpreting and understanding deep networks"

    patch_size: Any = static(None)
    baseline: Any = "black"

    def __post_init__(self) -> None:
        super().__post_init__()
        check.sides(self, "patch_size")
        check.baseline(self, "baseline", ops.BASELINES)

    def questions(self) -> RankedPatches:
        return RankedPatches(patch_size=self.patch_size, n_regions=None, baseline=self.baseline)

    def reduce(self, sample: Sample, reference: Answer, measured: Any, valid: Any) -> Outcome:
        score = selectivity(measured, sample.step_mask(valid))
        return exact(score, measured)
