"""Model parameter randomisation test: does the explanation change as the layers are randomised?"""

from __future__ import annotations

from typing import Any

from jaxtyping import Array, Float

from ... import check, ops
from ...metric import Metric
from ...perturb.layers import ORDERS, WAYS, RandomiseLayers
from ...types import Answer, Outcome, Query, Sample, pytree, static

SCORES = ("mean", "last")


def mprt(similarities: Float[Array, "seeds L"], score: str = "mean") -> Float[Array, ""]:
    """The mean over seeds and layers, or over seeds at the last layer.

    >>> import jax.numpy as jnp
    >>> float(mprt(jnp.array([[1.0, 0.5]]))), float(mprt(jnp.array([[1.0, 0.5]]), "last"))
    (0.75, 0.5)
    """
    return similarities.mean() if score == "mean" else similarities[:, -1].mean()


@pytree
class MPRT(Metric):
    r"""Similarity of the explanation to those of models whose layers are randomised.

    .. math:: \frac{1}{L} \sum_{l=1}^{L}
              \operatorname{sim}\big(\phi(x; \theta), \phi(x; \theta^{(l)})\big)

    Layers are found in the traced model, in the order in which it calls them:
    `jaxeval.layer_names` lists them. Lower is better: an explanation that stays the same does not
    depend on the model. Magnitudes are compared by default. NaN where a similarity is (a constant
    map).

    Args:
      order: "top_down" (from the output) or "bottom_up" randomise one layer after the other and
        keep those before random; "independent" randomises one layer at a time, from the output.
      randomise: "normal" (same mean and standard deviation), "permute" (the same values in
        another order) or "reinit" (the model's own initialisation, where it has one).
      n_seeds: independent randomisations, which are averaged.
      similarity: "spearman", "pearson", "ssim" (of maps scaled to [0, 1]) or a function
        (a, a') -> scalar; padding is taken with the first two.
      score: "mean" over layers, or the "last" one of the order.
      layers: names of layers to randomise; None: all.
      draws: random parameters, a pytree as the model's with a leading axis [n_seeds].

    Outcome: score []; curve [L], the mean similarity over the seeds, layer by layer in the order
    of randomisation (`Results.points` names them); curve_std [L], their standard deviation over
    the seeds (ddof 0), with several.
    """

    family = "randomisation"
    direction = "lower"
    asks = frozenset({"attribution"})
    reference = "Adebayo et al. 2018, Sanity checks for saliency maps, NeurIPS"

    absolute: bool = static(True)
    order: str = static("top_down")
    randomise: str = static("normal")
    n_seeds: int = static(1)
    similarity: Any = static("spearman")
    score: str = static("mean")
    layers: tuple[str, ...] | None = static(None)
    draws: Any = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check.one_of(self, "order", ORDERS)
        check.one_of(self, "randomise", WAYS)
        check.integer(self, "n_seeds")
        if not callable(self.similarity):
            check.one_of(self, "similarity", ops.SIMILARITIES)
        check.one_of(self, "score", SCORES)

    @property
    def takes_padding(self) -> bool:
        return self.similarity in ops.MARKED

    def questions(self) -> RandomiseLayers:
        return RandomiseLayers(
            order=self.order,
            randomise=self.randomise,
            n_seeds=self.n_seeds,
            names=self.layers if self.layers is None else tuple(self.layers),
            draws=self.draws,
        )

    def points(self, asked: Any) -> tuple[str, ...]:
        return asked[0].stages

    def measure(self, sample: Sample, reference: Answer, query: Query, answer: Answer) -> Any:
        maps, axis = (sample.a, answer.attribution), sample.map_channel_axis
        return ops.similarity(*maps, self.similarity, channel_axis=axis, where=sample.where)

    def reduce(self, sample: Sample, reference: Answer, measured: Any, valid: Any) -> Outcome:
        by_seed = measured.reshape(self.n_seeds, -1)
        return Outcome(
            score=mprt(by_seed, self.score),
            curve=by_seed.mean(0),
            curve_std=by_seed.std(0) if self.n_seeds > 1 else None,
        )
