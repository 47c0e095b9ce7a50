"""Model parameter randomisation test: does the explanation change as the layers are randomised?"""

from __future__ import annotations

from typing import Any

from jaxtyping import Array, Float

from ... import ops
from ...types import pytree
from ..bases import LayerRandomisation


def mprt(similarities: Float[Array, "seeds L"], score: str = "mean") -> Float[Array, ""]:
    """The mean over seeds and layers, or over seeds at the last layer.

    >>> import jax.numpy as jnp
    >>> float(mprt(jnp.array([[1.0, 0.5]]))), float(mprt(jnp.array([[1.0, 0.5]]), "last"))
    (0.75, 0.5)
    """
    return similarities.mean() if score == "mean" else similarities[:, -1].mean()


@pytree
class MPRT(LayerRandomisation):
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

    @property
    def takes_padding(self) -> bool:
        return self.similarity in ops.MASKABLE

    def summary(self, similarities: Any) -> Any:
        return mprt(similarities, self.score)
