"""Removal of features in the order of their attribution."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from .. import ops
from ..types import Answer, Query, Sample, pytree, static
from .base import RandomPerturbation, check_baseline, one_baseline, places

ORDERS = ("morf", "lerf", "random")


@pytree
class RankedDeletion(RandomPerturbation):
    """Step s sets the k_s first features in the order of `a` to the baseline, s = 1..S.

    k_s = floor(F s / S) with `n_steps` = S (at most F), or min(m s, F) with
    `features_in_step` = m. "morf": the most relevant first, "lerf": the least, "random": any
    order (blind to `a`; `draws=` gives the order, [F] or [N, F] feature indices).
    With `insert` step s = 0..S-1 starts from the baseline and puts the first k_s features of x
    back.
    The clean x itself is never a step. A random baseline is drawn once per sample. Of a sample
    with padding F is the number of its own features, and so S may be smaller.
    """

    draws_per: ClassVar[str] = "sample"
    takes_padding: ClassVar[bool] = True

    order: str = static("morf")
    steps: int | None = static(32)
    features_in_step: int | None = static(None)
    insert: bool = static(False)
    baseline: Any = "black"

    @property
    def reads(self) -> frozenset[str]:
        return frozenset({"features" if self.order == "random" else "a"})

    def bind(self, model: Any, sample: Sample) -> RankedDeletion:
        check_baseline(self.baseline, sample)
        n, m = sample.n_features, self.features_in_step
        if m and (n % m or sample.valid is not None):
            return self
        # Two ways to say one thing are one question.
        steps = n // m if m else min(self.steps or n, n)
        return dataclasses.replace(self, steps=steps, features_in_step=None)

    def sizes(self, sample: Sample) -> np.ndarray:
        """k_0..k_S. On the host: F s overflows int32 on the device at F = S = 150,528."""
        n, m = sample.n_features, self.features_in_step
        s = np.arange((-(-n // m) if m else min(self.steps or n, n)) + 1)
        return np.minimum(m * s, n) if m else n * s // s[-1]

    def own_steps(self, sample: Sample) -> Any:
        """S, of the features that are no padding."""
        n, m = sample.n_valid, self.features_in_step
        return -(-n // m) if m else jnp.minimum(self.steps or n, n)

    def size(self, sample: Sample, s: Any) -> Any:
        """k_s of this sample."""
        if sample.valid is None:
            return jnp.asarray(self.sizes(sample), jnp.int32)[s]
        n, m = sample.n_valid, self.features_in_step
        if m:
            return jnp.minimum(m * s, n)
        return ops.portion(n, s, self.own_steps(sample), self.n_steps(sample))

    def draw_shape(self, sample: Sample) -> tuple[int | None, ...]:
        return (sample.n_features,)

    def draw_range(self, sample: Sample) -> tuple[Any, Any]:
        return 0, sample.n_features - 1

    def check_draws(self, sample: Sample, n: int) -> None:
        if self.draws is not None and self.order != "random":
            raise ValueError(
                f'draws= give the order of removal, which needs order="random", not {self.order!r}'
            )
        super().check_draws(sample, n)
        if self.draws is not None and (np.diff(np.sort(self.draws, -1)) == 0).any():
            raise ValueError(
                "draws must be an order of all features, but one names a feature twice"
            )

    def n_draws(self, sample: Sample) -> int:
        return len(self.sizes(sample)) - 1

    def plan(self, sample: Sample, reference: Answer) -> Any:
        if self.order == "random":
            order = sample.draw
            if order is None:
                order = jax.random.permutation(sample.key, sample.n_features)
            place = ops.places(order)
            if sample.valid is not None:
                behind = jnp.where(sample.where.ravel(), place, sample.n_features)
                place = ops.places(ops.ascending(behind))
        else:
            place = places(sample, self.order)
        b = one_baseline(sample, self.baseline, jax.random.fold_in(sample.key, 2))
        return {"place": place, "baseline": b}

    def count(self, sample: Sample, plan: Any) -> Any:
        return self.n_steps(sample) if sample.valid is None else self.own_steps(sample)

    def apply(self, sample: Sample, plan: Any, step: Any) -> Query:
        place = plan["place"]
        if self.insert:
            gone = place >= self.size(sample, step)
        else:
            gone = place < self.size(sample, step + 1)
        return Query(x=sample.replace_features(gone, plan["baseline"]), y=sample.y)
