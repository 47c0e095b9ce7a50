"""Base class and helpers of methods that add noise to the input."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .. import check
from ..model import Model
from ..ops import draw
from ..tokens import ATTENTION, IDS
from ..types import pytree, static
from .base import needs_keys
from .stepped import SteppedExplainer, rows


def share_of_range(share: Any, model: Model, x: jax.Array) -> jax.Array:
    """share · (max - min) of each sample of x [N, ...], as [N, 1, ...].

    The padding of texts, whose embeddings x are, does not count.
    """
    axes, most, least = tuple(range(1, x.ndim)), x, x
    if IDS in (model.inputs or {}):
        there = (model.inputs[ATTENTION] != 0)[:, :, None]
        most, least = jnp.where(there, x, -jnp.inf), jnp.where(there, x, jnp.inf)
    spread = most.max(axes, keepdims=True) - least.min(axes, keepdims=True)
    return jnp.asarray(share, x.dtype) * spread


def noisy_rows(x: jax.Array, spread: jax.Array, keys: Any, i: Any, noise: Any = None) -> jax.Array:
    """x as `rows`, plus the i-th draw of normal noise, or the given `noise`."""
    if noise is not None:
        return rows(x + spread * noise)

    def one(key: jax.Array) -> jax.Array:
        return draw.normal(draw.fold_in(key, i), (x[0].size,), x.dtype)

    return rows(x) + rows(spread) * jax.vmap(one)(keys)


@pytree
class NoisyExplainer(SteppedExplainer):
    """A method that explains S noisy copies ``x + σ ε_s`` of the input, one per step.

    ``ε_s ~ N(0, 1)`` and ``σ = noise_level · (max x - min x)`` per sample.

    Args:
      n_samples: S, the number of noisy copies.
      noise_level: standard deviation of the noise, as a fraction of the sample's range.
      draws: ε [S, ...], each with the shape of one sample, used for every sample instead of random
        draws; S is then ``len(draws)``, and no keys are needed.
    """

    n_samples: int = static(default=50)
    noise_level: Any = 0.15
    draws: Any = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check.integer(self, "n_samples")
        check.real(self, "noise_level", least=0)
        check.array(self, "draws")
        check.draws(self, "draws", self.draws)

    @property
    def n_draws(self) -> int:
        return self.n_samples if self.draws is None else len(self.draws)

    def steps(self, model: Model, x: jax.Array) -> int:
        return self.n_draws

    def prepare(self, model: Model, x: jax.Array, y: jax.Array, keys: Any) -> Any:
        return self.spread(model, x, keys)

    def ready(
        self, total: Any, model: Model, x: jax.Array, y: jax.Array, keys: Any, state: Any, i: Any
    ) -> Any:
        """The i-th noisy copy of each sample, as `rows`."""
        given = self.draws
        noise = None if given is None else jnp.asarray(given, x.dtype)[i]
        return noisy_rows(x, state, keys, i, noise)

    def spread(self, model: Model, x: jax.Array, keys: Any) -> jax.Array:
        """σ of each sample [N, 1, ...]; checks `draws` and `keys`."""
        if self.draws is None and keys is None:
            raise TypeError(needs_keys(self, "without draws", len(x)))
        if self.draws is not None and np.shape(self.draws)[1:] != x.shape[1:]:
            raise ValueError(
                f"{type(self).__name__}(draws=...) must have the shape "
                f"[S, {', '.join(map(str, x.shape[1:]))}] for samples of the shape {x.shape[1:]}, "
                f"got {np.shape(self.draws)}"
            )
        return share_of_range(self.noise_level, model, x)
