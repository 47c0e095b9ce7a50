"""Class sensitivity: do the explanations of the two most likely classes differ?"""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Array, Bool, Float

from ... import check, ops
from ...metric import Metric
from ...perturb import OtherClass
from ...types import Answer, Outcome, Query, Sample, pytree, static


def class_sensitivity(
    a: Float[Array, "*features"],
    other: Float[Array, "*features"],
    similarity: Any = "ssim",
    channel_axis: int | None = 0,
    where: Bool[Array, "*features"] | None = None,
) -> Float[Array, ""]:
    """The similarity of two maps, each rescaled to [0, 1].

    >>> import jax.numpy as jnp
    >>> a = jnp.arange(64.0).reshape(8, 8)
    >>> round(float(class_sensitivity(a, 3 * a - 1)), 4)
    1.0
    """
    a, other = ops.unit_range(a, where), ops.unit_range(other, where)
    return ops.similarity(a, other, similarity, channel_axis=channel_axis, where=where)


@pytree
class ClassSensitivity(Metric):
    r"""Similarity of the explanations for y and for the most likely other class.

    .. math:: \operatorname{sim}(\phi(x, y), \phi(x, y')), \quad
              y' = \arg\max_{c \ne y} f_c(x)

    for maps rescaled to [0, 1]. If y is the predicted class, these are the model's two top
    classes; other pairs can be compared by setting y and `draws`. Lower is better, at most 1. NaN
    where the similarity is undefined (a constant map; for "ssim", two constant maps).

    Args:
      similarity: "ssim", "pearson", "spearman" or a function (a, a') -> scalar; padding is
        supported with "pearson" and "spearman".
      draws: the other class, [N] or [] (one for all samples), instead of the most likely one.

    Outcome: score [].
    """

    family = "randomisation"
    direction = "lower"
    asks = frozenset({"attribution"})
    of_classes = True
    reference = (
        "Nie et al. 2018, A theoretical explanation for perplexing behaviors of "
        "backpropagation-based visualizations, ICML"
    )

    similarity: Any = static("ssim")
    draws: Any = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not callable(self.similarity):
            check.one_of(self, "similarity", ops.SIMILARITIES)
        if self.draws is not None and np.ndim(self.draws) > 1:
            raise ValueError(
                f"ClassSensitivity(draws=...): must be classes [N] or one for all, got the shape "
                f"{np.shape(self.draws)}"
            )

    @property
    def takes_padding(self) -> bool:
        return self.similarity in ops.MASKABLE

    def questions(self) -> OtherClass:
        return OtherClass(choose="top", draws=self.draws)

    def measure(self, sample: Sample, reference: Answer, query: Query, answer: Answer) -> Any:
        maps, axis = (sample.a, answer.attribution), sample.map_channel_axis
        return class_sensitivity(*maps, self.similarity, axis, sample.where)

    def reduce(self, sample: Sample, reference: Answer, measured: Any, valid: Any) -> Outcome:
        return Outcome(score=measured[0])
