"""Base class of methods that fit a linear surrogate model."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .. import check
from ..model import Model
from ..ops import draw
from ..types import pytree, static
from .base import needs_keys
from .grouped import Grouped, Shared

LARGEST = 2**30
"""Bytes of one sample's matrix of the regression."""


@pytree
class Surrogate(Grouped):
    """A weighted linear regression of the score on the presence of features.

    Each step evaluates one random set of features per sample. Only the sum of ``w v vᵀ`` with
    ``v = (present, 1, score)`` is kept, from which the regression is solved.
    """

    n_samples: int = static(default=200)
    draws: Any = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check.integer(self, "n_samples")
        check.array(self, "draws")
        if self.draws is not None and (np.ndim(self.draws) != 2 or np.shape(self.draws)[0] < 1):
            raise ValueError(
                f"{type(self).__name__}(draws=...) must be an array [S, F] of S sets of F "
                f"features, got the shape {np.shape(self.draws)}"
            )

    @property
    def n_sets(self) -> int:
        return self.n_samples if self.draws is None else len(self.draws)

    def steps(self, model: Model, x: jax.Array) -> int:
        return self.n_sets

    def prepare(self, model: Model, x: jax.Array, y: jax.Array, keys: Any) -> Any:
        n = self.count(model, x)
        if (size := 4 * (n + 2) ** 2) > LARGEST:
            raise ValueError(
                f"{type(self).__name__} with {n} features needs {size / 2**30:,.1f} GiB for each "
                "sample: group them with patch= (such as patch=16 for images of 224 pixels) or "
                f"features=, to {int((LARGEST / 4) ** 0.5) - 2} at most"
            )
        if self.draws is None and keys is None:
            raise TypeError(needs_keys(self, "without draws", len(x)))
        if self.draws is not None and np.shape(self.draws)[1] != n:
            raise ValueError(
                f"{type(self).__name__}(draws=...) must have the shape [S, {n}] for {n} features, "
                f"got {np.shape(self.draws)}"
            )
        return super().prepare(model, x, y, keys)

    @abstractmethod
    def draw(self, key: jax.Array, n: int, own: Any) -> jax.Array:
        """A random subset of n features, bool [F]; of the first `own` if that is not None."""

    def drawn(self, keys: Any, n: int, i: Any, own: Any) -> jax.Array:
        if self.draws is not None:
            given = jnp.asarray(self.draws)[i] != 0
            return given if own is None else given & (jnp.arange(n) < own[:, None])
        keys = jax.vmap(lambda key: draw.fold_in(key, i))(keys)
        return jax.vmap(lambda key, own: self.draw(key, n, own))(keys, own)

    def present(self, drawn: Any, shape: tuple[int, int], i: Any) -> jax.Array:
        return jnp.broadcast_to(drawn, shape)

    def weights(self, present: jax.Array, shared: Shared) -> jax.Array:
        """The weight of each sample's score in the regression, [N]."""
        return jnp.ones(len(present))

    def contribution(
        self, drawn: Any, present: jax.Array, z: jax.Array, y: jax.Array, shared: Shared, i: Any
    ) -> jax.Array:
        score = self.change(z, shared.baseline_logits, y)[:, None]
        v = jnp.concatenate([present.astype(score.dtype), jnp.ones_like(score), score], 1)
        w = self.weights(present, shared).astype(score.dtype)
        return w[:, None, None] * v[:, :, None] * v[:, None, :]

    def contribution_shape(self, n: int) -> tuple[int, ...]:
        return (n + 2, n + 2)

    @abstractmethod
    def solve(self, n: int, total: jax.Array, whole: jax.Array, own: Any) -> jax.Array:
        """The coefficients [N, F] from the sums of the contributions; `whole` is f(x) - f(b), [N].

        `own`: the numbers of their n features, which are the first [N]; None: all.
        """

    def finish(
        self, model: Model, x: jax.Array, y: jax.Array, keys: Any, state: Any, total: jax.Array
    ) -> jax.Array:
        whole = self.change(state.logits, state.baseline_logits, y)
        coefficients = self.solve(self.count(model, x), total, whole, state.own)
        return self.spread(coefficients, state, x)
