"""Relative representation stability: changes of the attribution relative to hidden layers."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ... import check, ops
from ...types import Answer, Outcome, Query, Sample, pytree, static
from ..bases import RelativeStability


def rrs(ratios: Float[Array, " S"]) -> Float[Array, ""]:
    """The maximum ratio over the draws, ignoring NaN (the prediction changed).

    >>> import jax.numpy as jnp
    >>> float(rrs(jnp.array([1.0, jnp.nan, 2.0])))
    2.0
    """
    return jnp.nanmax(ratios)


@pytree
class RRS(RelativeStability):
    r"""Largest relative change of the attribution over that of hidden activations, under noise.

    .. math:: \max_s
              \frac{\lVert (a - a_s) / a \rVert_2}{\max(\lVert (h - h_s) / h \rVert_2, \epsilon)}

    h are the concatenated activations of the layers. Zeros in a denominator are replaced by
    epsilon. They are common after a ReLU, where a unit that becomes active contributes
    1 / epsilon, so that epsilon dominates: with one such unit, the score is proportional to
    epsilon, and zeros of a make it proportional to 1 / epsilon (see `RIS` for numbers). Layers
    without zeros, such as those before an activation function, do not have this problem. Draws
    that change the predicted class are ignored; NaN if none remains. Lower is better.

    Args:
      layers: names of hidden layers, as returned by ``Model(hidden=...)``; None: all.
      radius: r, the noise is uniform on [-r, r], in units of the input.
      n_samples: number of draws.
      eps: epsilon.
      draws: the noise, [S, *x] or [N, S, *x].
      noise: a `jaxeval.Noise` that replaces `radius`, `n_samples` and `draws`.
      quantile: in (0, 1]: score this quantile of the draws instead of their maximum; None: the
        maximum, which grows with the number of draws.
      tolerance: of a quantile: ask as many draws as it needs to be this close to its limit; see
        `jaxeval.Tolerance`.

    Outcome: score []; error [], of a quantile.
    """

    family = "robustness"
    direction = "lower"
    asks = frozenset({"attribution", "output", "hidden"})
    reference = "Agarwal et al. 2022, Rethinking stability for attribution-based explanations"

    layers: tuple[str, ...] | None = static(None)

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.layers, str) or (self.layers is not None and not self.layers):
            raise TypeError(f"RRS(layers={self.layers!r}): layers must be names, or None for all")

    def hidden_layers(self) -> tuple[str, ...] | None:
        return self.layers

    def fit(self, model: Any, sample: Sample) -> None:
        x = jax.ShapeDtypeStruct((1, *sample.x.shape), sample.x.dtype)
        known = list(jax.eval_shape(model.hidden, model.params, x)[1])
        for name in self.layers or ():
            if name not in known:
                raise ValueError(
                    f"layers={self.layers!r}: the model shows no layer {name!r}, only "
                    f"{check.among(known, 'RRS(layers=None) takes all', name)}"
                    f"{check.did_you_mean(name, known)}"
                )

    def hidden(self, answer: Answer) -> Array:
        """The activations of the layers, flattened and concatenated."""
        names = sorted(answer.hidden) if self.layers is None else self.layers
        return jnp.concatenate([answer.hidden[name].ravel() for name in names])

    def distance(self, sample: Sample, reference: Answer, query: Query, answer: Answer) -> Any:
        return ops.relative_change(self.hidden(reference), self.hidden(answer), self.eps)

    def reduce(self, sample: Sample, reference: Answer, measured: Any, valid: Any) -> Outcome:
        return self.of_values(rrs, sample, measured, valid)


RelativeRepresentationStability = RRS
