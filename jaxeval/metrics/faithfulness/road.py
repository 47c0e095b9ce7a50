"""ROAD: how long is the prediction retained as pixels are replaced by imputation?"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from ... import check
from ...metric import DirectionBy
from ...perturb import RankedImputation
from ...types import Answer, Outcome, Query, Sample, pytree, static
from ..bases import Limited

ORDERS = ("morf", "lerf")


def road(held: Float[Array, " S"]) -> Float[Array, ""]:
    """The fraction of percentages at which the prediction is still y (1) and not another class (0).

    >>> import jax.numpy as jnp
    >>> float(road(jnp.array([1.0, 1.0, 1.0, 0.0])))
    0.75
    """
    return held.mean()


@pytree
class ROAD(Limited):
    r"""Remove and debias: fraction of removal percentages at which the prediction is still y.

    .. math:: \frac{1}{S} \sum_{p} 1[\operatorname{argmax} z(x_p) = y]

    x_p is x with the first floor(P p / 100) of P pixels replaced by noisy linear imputation: the
    weighted mean of the eight neighbours, including imputed ones (weights 1/6 for direct and 1/12
    for diagonal neighbours), plus Gaussian noise. So the shape of the removed region reveals little
    about the class. Maps with channels are summed over them. Lower is better for order "morf"
    (most relevant first), higher for "lerf". Never NaN.

    The mean curve over a data set is the paper's curve: the accuracy at each percentage.

    Args:
      percentages: p [S], each above 0 and below 100.
      order: "morf" or "lerf".
      noise: standard deviation of the noise, in units of the input.
      draws: the noise itself, [S, *x] or [N, S, *x].
      tolerance: ask at as few percentages as the mean over the samples needs, drawn at random; only
        ``Tolerance(per="mean")``.

    Outcome: score []; curve [S], 1 where the prediction is y, else 0.
    """

    family = "faithfulness"
    direction = DirectionBy("order", "lower", lerf="higher")
    asks = frozenset({"output"})
    of_classes = True
    steps_are = "binary"
    reference = "Rong et al. 2022, A consistent and efficient evaluation strategy, ICML"

    percentages: Any = tuple(range(1, 100, 2))
    order: str = static("morf")
    noise: Any = 0.01
    draws: Any = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check.reals(self, "percentages", above=0, most=100)
        check.one_of(self, "order", ORDERS)
        check.real(self, "noise", least=0)

    def questions(self) -> RankedImputation:
        return RankedImputation(
            order=self.order,
            percentages=self.percentages,
            scale=self.noise,
            draws=self.draws,
        )

    def measure(self, sample: Sample, reference: Answer, query: Query, answer: Answer) -> Any:
        return (answer.predicted == sample.y).astype(jnp.float32)

    def reduce(self, sample: Sample, reference: Answer, measured: Any, valid: Any) -> Outcome:
        return Outcome(score=road(measured), curve=measured)
