"""Selectivity: how fast does the output fall as all patches go, the top-ranked first?"""

from __future__ import annotations

from typing import Any

from jaxtyping import Array, Bool, Float

from ... import check, ops
from ...metric import Metric
from ...perturb import RankedPatches
from ...types import Answer, Outcome, Sample, pytree, static


def selectivity(
    curve: Float[Array, " L"], where: Bool[Array, " L"] | None = None
) -> Float[Array, ""]:
    """The trapezoid area under f(x_1), ..., f(x_L), spread evenly on [0, 1].

    >>> import jax.numpy as jnp
    >>> float(selectivity(jnp.array([1.0, 0.5, 0.0])))
    0.5
    """
    return ops.area(curve, where)


@pytree
class Selectivity(Metric):
    r"""Area under the output as patches are set to the baseline, the most relevant first.

    .. math:: c_k = f(x_{\text{top } k \text{ patches} \to b}), \quad k = 1 \dots L

    All L patches go; they tile the input from its first corner and are ranked by their summed
    attribution; where `patch_size` does not divide an axis, the last ones along it are smaller.
    Lower is better. Never NaN. Shares its questions with `RegionPerturbation` where that takes all
    patches.

    Args:
      patch_size: side of a patch, in pixels.
      baseline: b, see `jaxeval.ops.baseline`; a random one is drawn once per sample, but
        "uniform_value" for each step.

    Outcome: score []; curve [L].
    """

    family = "faithfulness"
    direction = "lower"
    asks = frozenset({"output"})
    takes_padding = True
    reference = "Montavon et al. 2018, Methods for interpreting and understanding deep networks"

    patch_size: int = static(8)
    baseline: Any = "black"

    def __post_init__(self) -> None:
        super().__post_init__()
        check.integer(self, "patch_size")
        check.baseline(self, "baseline", ops.BASELINES)

    def questions(self) -> RankedPatches:
        return RankedPatches(patch_size=self.patch_size, n_regions=None, baseline=self.baseline)

    def reduce(self, sample: Sample, reference: Answer, measured: Any, valid: Any) -> Outcome:
        score = selectivity(measured, sample.asked(valid))
        return Outcome(score=score, curve=measured)
