"""Infidelity: how well does the attribution predict the effect of perturbations on the output?"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ... import check, ops
from ...metric import By
from ...perturb import EachPatch, Noise, Perturbation, RandomSquares
from ...types import Answer, Outcome, Query, Sample, pytree, static
from ..bases import Drawn, exact


def infidelity(
    products: Float[Array, " S"],
    drops: Float[Array, " S"],
    normalised: bool = False,
    where: Bool[Array, " S"] | None = None,
) -> Float[Array, ""]:
    """The mean of (I . a - drop)^2; `normalised` first scales I . a by the least-squares factor.

    >>> import jax.numpy as jnp
    >>> v = jnp.arange(4.0)
    >>> float(infidelity(v, v)), float(infidelity(2 * v, v, normalised=True))
    (0.0, 0.0)
    """
    if normalised:
        products = ops.scaled_to(products, drops, where)
    return ((products - drops) ** 2).mean(where=where)


@pytree
class Infidelity(Drawn):
    r"""Expected squared difference between I . a and the drop caused by the perturbation I.

    .. math:: \mathbb{E}_I \big[ (I^\top a - (f(x) - f(x - I)))^2 \big]

    Lower is better, 0 is optimal (e.g. for a linear model explained by its weights). I is summed
    over the entries of a feature, such as the channels of a pixel. Maps are not normalised by
    default. f is the logit by default, or the model's own output if it has no logits. Never NaN.

    Args:
      perturbation: "gaussian" (I normal with standard deviation `std`), "square" (a square with
        sides of `patch_size` at a random position is set to the baseline: I = x - x') or "patches"
        (each patch of a tiling in turn is set to the baseline; the last ones are smaller if
        `patch_size` does not divide an axis).
      std, patch_size, baseline: see `perturbation`; the baseline as in `jaxeval.ops.baseline`.
      n_samples: number of draws ("patches" has one step per patch).
      normalised: scale I . a by the least-squares factor: the map's own scale does not matter.
      draws: I itself, [S, *x] or [N, S, *x] for "gaussian"; first corners, int [S, axes] or
        [N, S, axes] for "square".
      tolerance: as many draws as that takes, instead of `n_samples`; see `jaxeval.Tolerance`.

    Outcome: score [], in squared units of the output; error [], from the draws.
    """

    family = "faithfulness"
    direction = "lower"
    asks = frozenset({"output"})
    takes_padding = True
    positive = True
    steps_are = By("perturbation", "draws", patches="all")
    reference = "Yeh et al. 2019, On the (in)fidelity and sensitivity of explanations, NeurIPS"

    normalise: str | None = static(None)
    output: Any = static("logit")
    perturbation: str = static("gaussian")
    n_samples: int = static(50)
    std: Any = 0.2
    patch_size: Any = static(4)
    baseline: Any = "black"
    normalised: bool = static(False)
    draws: Any = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check.one_of(self, "perturbation", ("gaussian", "square", "patches"))
        check.integer(self, "n_samples")
        check.sides(self, "patch_size")
        check.real(self, "std", above=0)
        check.one_of(self, "normalised", (True, False))
        check.baseline(self, "baseline", ops.BASELINES)
        if self.draws is not None and self.perturbation == "patches":
            raise ValueError('Infidelity(draws=...): "patches" draws nothing')

    def questions(self) -> Perturbation:
        drawn: dict[str, Any] = {"n_samples": self.at_most(self.n_samples), "draws": self.draws}
        if self.perturbation == "gaussian":
            return Noise(kind="gaussian", scale=self.std, subtract=True, **drawn)
        placed: dict[str, Any] = {"patch_size": self.patch_size, "baseline": self.baseline}
        if self.perturbation == "patches":
            return EachPatch(**placed)
        return RandomSquares(**placed, **drawn)

    def measure(self, sample: Sample, reference: Answer, query: Query, answer: Answer) -> Any:
        product = ((sample.x - query.x) * sample.to_input(sample.a)).sum()
        return jnp.stack([product, self.drop(reference, answer, sample.y)])

    def reduce(self, sample: Sample, reference: Answer, measured: Any, valid: Any) -> Outcome:
        (products, drops), where = measured.T, self.among(sample, valid)
        if self.normalised:  # the factor is optimal: its own error has no influence
            products = ops.scaled_to(products, drops, where)
        score, squares = infidelity(products, drops, where=where), (products - drops) ** 2
        influence, all_ = ops.mean_influence(squares, where), self.perturbation == "patches"
        return exact(score) if all_ else self.outcome(score, influence, where)
