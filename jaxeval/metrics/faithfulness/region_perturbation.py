"""Region perturbation: how far does the output drop as patches are removed?"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ... import check, ops
from ...metric import DirectionBy
from ...perturb import RankedPatches
from ...perturb.base import REMOVAL_ORDERS
from ...types import Answer, Outcome, Query, Sample, pytree, static
from ..bases import Area, exact


def region_perturbation(
    drops: Float[Array, " L"], where: Bool[Array, " L"] | None = None
) -> Float[Array, ""]:
    """AOPC, the area over the perturbation curve: the sum of drops f(x) - f(x_k), over L + 1.

    >>> import jax.numpy as jnp
    >>> float(region_perturbation(jnp.array([1.0, 1.0, 1.0])))
    0.75
    """
    if where is None:
        return drops.sum() / (drops.size + 1)
    return jnp.where(where.any(), drops.sum(where=where) / (where.sum() + 1), jnp.nan)


@pytree
class RegionPerturbation(Area):
    r"""Mean drop of the output as patches are set to the baseline, the most relevant first.

    .. math:: \text{AOPC} = \frac{1}{L + 1} \sum_{k=1}^{L} f(x) - f(x_k)

    Patches tile the input from its first corner and are ranked by their summed attribution; if
    `patch_size` does not divide an axis, the last patches along it are smaller. Higher is better
    for order "morf" (most relevant first), lower for "lerf" (least relevant first); "random" is a
    control that ignores the attribution. Never NaN.

    Args:
      patch_size: side of a patch, in pixels, or one for each axis but the channels. None: 8, or
        all of a shorter axis.
      n_regions: L, at most the number of patches P; None: P.
      order: "morf", "lerf" or "random".
      draws: the random order: patch indices [P] or [N, P], row by row.
      baseline: see `jaxeval.ops.baseline`; random ones are drawn once per sample, "uniform_value"
        once per step.
      tolerance: ask only the steps that the area needs to be this close to that of all, see
        `jaxeval.evaluate`; None: all.

    Outcome: score []; curve [L], the drops.
    """

    family = "faithfulness"
    direction = DirectionBy("order", "higher", lerf="lower")
    asks = frozenset({"output"})
    takes_padding = True
    reference = "Samek et al. 2017, Evaluating the visualization of what a DNN has learned, TNNLS"

    patch_size: Any = static(None)
    n_regions: int | None = static(100)
    baseline: Any = "black"
    order: str = static("morf")
    draws: Any = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check.one_of(self, "order", REMOVAL_ORDERS)
        check.sides(self, "patch_size")
        check.integer(self, "n_regions", optional=True)
        check.baseline(self, "baseline", ops.BASELINES)

    def questions(self) -> RankedPatches:
        return RankedPatches(
            patch_size=self.patch_size,
            n_regions=self.n_regions,
            order=self.order,
            baseline=self.baseline,
            draws=self.draws,
        )

    def measure(self, sample: Sample, reference: Answer, query: Query, answer: Answer) -> Any:
        return self.drop(reference, answer, sample.y)

    def reduce(self, sample: Sample, reference: Answer, measured: Any, valid: Any) -> Outcome:
        score = region_perturbation(measured, sample.step_mask(valid))
        return exact(score, measured)
