"""Smooth MPRT: the model parameter randomisation test with denoised explanations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jaxtyping import Array, Float

from ... import check
from ...types import pytree, static
from ..bases import LayerRandomisation

if TYPE_CHECKING:
    from ...explain import Smoothed


def smooth_mprt(similarities: Float[Array, "seeds L"], score: str = "mean") -> Float[Array, ""]:
    """Like `mprt`, for similarities of smoothed maps.

    >>> import jax.numpy as jnp
    >>> float(smooth_mprt(jnp.array([[1.0, 0.5], [0.0, 0.5]]), "mean"))
    0.5
    """
    return similarities.mean() if score == "mean" else similarities[:, -1].mean()


@pytree
class SmoothMPRT(LayerRandomisation):
    r"""MPRT with the mean map over noisy inputs, which reduces the effect of gradient shattering.

    .. math:: \frac{1}{L} \sum_{l=1}^{L} \operatorname{sim}\big(
              \bar\phi(x; \theta), \bar\phi(x; \theta^{(l)})\big), \quad
              \bar\phi(x; \theta) = \frac{1}{S} \sum_{s=1}^{S} \phi(x + \sigma \epsilon_s; \theta)

    The clean map is smoothed with the same noise as the others (precomputed maps are not used).
    Lower is better. NaN where a similarity is undefined (a constant map).

    Args:
      order, randomise, n_seeds, similarity, score, layers: as for `MPRT`.
      n_samples: S, the number of noisy inputs per map; costs S explanations per layer, seed and
        sample.
      noise_level: sigma as a fraction of the sample's range max x - min x.
      draws: a dict with "params" (random parameters, a pytree like the model's with a leading axis
        [n_seeds]), "noise" (epsilon [S, *x] for all samples; S is then its length), or both.

    Outcome: score []; curve [L] and curve_std [L] as for `MPRT`.
    """

    family = "randomisation"
    direction = "lower"
    asks = frozenset({"attribution"})
    reference = "Hedström et al. 2023, Sanity checks revisited, XAI in Action (NeurIPS workshop)"

    n_samples: int = static(50)
    noise_level: Any = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        check.integer(self, "n_samples")
        check.real(self, "noise_level", least=0)
        if self.draws is not None and not (
            isinstance(self.draws, dict) and self.draws.keys() <= {"params", "noise"}
        ):
            raise ValueError('SmoothMPRT(draws=...) must be a dict with "params", "noise" or both')
        check.draws(self, "draws['noise']", (self.draws or {}).get("noise"))

    def explainer(self, explainer: Any) -> Smoothed:
        from ...explain import Smoothed

        noise = (self.draws or {}).get("noise")
        n_samples, level = self.n_samples, self.noise_level
        return Smoothed(explainer=explainer, n_samples=n_samples, noise_level=level, draws=noise)

    def params(self) -> Any:
        return (self.draws or {}).get("params")

    def summary(self, similarities: Any) -> Any:
        return smooth_mprt(similarities, self.score)
