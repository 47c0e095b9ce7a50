"""Removal of entries of features at random, by their attribution; and of all of them."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np

from .. import ops
from ..ops import draw
from ..tokens import KEPT
from ..trace.embedding import embedding_size
from ..types import Answer, Query, Sample, pytree, static
from .base import Perturbation, RandomPerturbation, step_key


@pytree
class Zeroing(Perturbation):
    """Sets entries of x to zero; of token ids, entries of their embeddings [T, E].

    `width`: E, filled in by `bind`.
    """

    takes_padding: ClassVar[bool] = True
    takes_ids: ClassVar[bool] = True

    width: int | None = static(None)

    def bind(self, model: Any, sample: Sample) -> Any:
        if getattr(model, "tokens", None) is None:
            return self
        return dataclasses.replace(self, width=embedding_size(model, sample.x))

    def entries(self, sample: Sample) -> tuple[int, ...]:
        """The shape of what is set to zero."""
        return (*sample.x.shape, *(() if self.width is None else (self.width,)))

    def per_entry(self, sample: Sample, v: Any) -> Any:
        """v [features], broadcast to the entries."""
        v = sample.to_input(v)
        return jnp.broadcast_to(v if self.width is None else v[..., None], self.entries(sample))

    def keep(self, sample: Sample, kept: Any) -> Query:
        """The query with the entries `kept`; those that do not count stay."""
        if sample.valid is not None:
            kept = kept | ~self.per_entry(sample, sample.where)
        if self.width is None:
            return Query(x=jnp.where(kept, sample.x, 0), y=sample.y)
        return Query(x=sample.x, y=sample.y, inputs={KEPT: kept})


@pytree
class AllZero(Zeroing):
    """One step: every feature at zero."""

    reads: ClassVar[Any] = frozenset({"features"})

    def n_steps(self, sample: Sample) -> int:
        return 1

    def apply(self, sample: Sample, plan: Any, step: Any) -> Query:
        return self.keep(sample, jnp.zeros(self.entries(sample), bool))


@pytree
class SoftRemoval(Zeroing, RandomPerturbation):
    """Each step keeps each entry with a probability that follows from its feature's attribution.

    The probability is 1 - a', or a' with `keep_top`, for the map rescaled per sample to [0, 1]
    (min-max). `draws`: numbers u in [0, 1], [S, *x] or [N, S, *x] (of token ids, of embeddings
    [T, E]); an entry stays where u is below its probability.
    """

    reads: ClassVar[Any] = frozenset({"a"})

    keep_top: bool = static(False)
    n_samples: int = static(10)

    def bind(self, model: Any, sample: Sample) -> Any:
        bound = super().bind(model, sample)
        given = bound.width if self.draws is None else np.shape(self.draws)[-1]
        if bound.width not in (None, given):
            raise ValueError(
                f"draws have {given} numbers for each token, and embeddings have {bound.width}"
            )
        return bound

    def draw_shape(self, sample: Sample) -> tuple[int | None, ...]:
        ids = self.width is None and jnp.issubdtype(sample.x.dtype, jnp.integer)
        return (*self.entries(sample), None) if ids else self.entries(sample)  # until `bind`

    def n_draws(self, sample: Sample) -> int:
        return self.n_samples

    def plan(self, sample: Sample, reference: Answer) -> Any:
        share = ops.unit_range(sample.a, sample.where)
        return share if self.keep_top else 1 - share

    def apply(self, sample: Sample, plan: Any, step: Any) -> Query:
        u = sample.draw
        if u is None:
            bits = draw.bits(step_key(sample, step), self.entries(sample))
            u = (bits >> 8).astype(jnp.float32) * 2.0**-24
        return self.keep(sample, u < self.per_entry(sample, plan))
