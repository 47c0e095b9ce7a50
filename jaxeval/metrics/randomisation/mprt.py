"""Model parameter randomisation test: does the explanation change when layers are randomised?"""

from __future__ import annotations

from typing import Any

from jaxtyping import Array, Float

from ... import ops
from ...types import pytree
from ..bases import LayerRandomisation


def mprt(similarities: Float[Array, "seeds L"], score: str = "mean") -> Float[Array, ""]:
    """The mean over seeds and layers, or (score="last") over seeds at the last layer.

    >>> import jax.numpy as jnp
    >>> float(mprt(jnp.array([[1.0, 0.5]]))), float(mprt(jnp.array([[1.0, 0.5]]), "last"))
    (0.75, 0.5)
    """
    return similarities.mean() if score == "mean" else similarities[:, -1].mean()


@pytree
class MPRT(LayerRandomisation):
    r"""Similarity of the explanation to those of models with randomised layers.

    .. math:: \frac{1}{L} \sum_{l=1}^{L}
              \operatorname{sim}\big(\phi(x; \theta), \phi(x; \theta^{(l)})\big)

    Layers are found by tracing the model, in the order of the forward pass; `jaxeval.layer_names`
    lists them. Lower is better: an explanation that stays the same does not depend on the model's
    parameters. Magnitudes are compared by default. NaN where a similarity is undefined (a constant
    map).

    Args:
      order: "top_down" (from the output) or "bottom_up" (from the input): cumulative, one more
        layer per step; "independent": one layer at a time, from the output.
      randomise: "normal" (normal values with each parameter's mean and standard deviation),
        "permute" (the same values in random order) or "reinit" (the model's own initialisation, if
        it has one).
      n_seeds: number of independent randomisations, which are averaged.
      similarity: "spearman", "pearson", "ssim" (for maps rescaled to [0, 1]) or a function
        (a, a') -> scalar; padding is supported with "spearman" and "pearson".
      score: "mean" over layers, or "last": the last layer of the order.
      layers: names of the layers to randomise; None: all.
      draws: random parameters, a pytree like the model's with a leading axis [n_seeds].

    Outcome: score []; curve [L], the mean similarity over seeds for each layer, in the order of
    randomisation (`Results.points` holds the names); curve_std [L], the standard deviation over
    seeds (ddof 0), if n_seeds > 1.
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
