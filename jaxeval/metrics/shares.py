"""Base classes of metrics that remove, keep or show shares of the top-ranked features."""

from __future__ import annotations

from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .. import check, ops
from ..metric import Metric
from ..perturb import AllZero, RankedDeletion, SoftRemoval
from ..perturb.base import at_count, feature_counts
from ..types import Answer, Outcome, Query, Sample, pytree, static
from .bases import Limited, Ranked, of_draws

BINS = (0.01, 0.05, 0.1, 0.2, 0.5)
"""The shares of features of ERASER."""


def share_of(share: float, n: Any) -> np.ndarray:
    """ceil(share n), at least 1, on the host; rounding of the product does not count."""
    return np.maximum(np.ceil(share * np.asarray(n, float) - 1e-9), 1).astype(np.int32)


@pytree
class TopShares(Metric):
    """Evaluates the model without, or with only, some shares of the top-ranked features."""

    inserts: ClassVar[bool] = False

    bins: tuple[float, ...] = static(BINS)
    baseline: Any = "black"

    def __post_init__(self) -> None:
        super().__post_init__()
        check.reals(self, "bins", above=0, most=1)
        object.__setattr__(self, "bins", tuple(float(b) for b in self.bins))
        check.baseline(self, "baseline", ops.BASELINES)

    def questions(self) -> RankedDeletion:
        return RankedDeletion(steps=None, insert=self.inserts, baseline=self.baseline)

    def chosen(self, counts: np.ndarray, n_steps: int) -> np.ndarray:
        at = np.stack([share_of(b, counts) for b in self.bins], 1) - (not self.inserts)
        return (at[:, :, None] == np.arange(n_steps)).any(1)

    def measure(self, sample: Sample, reference: Answer, query: Query, answer: Answer) -> Any:
        return self.drop(reference, answer, sample.y)

    def at_bins(self, sample: Sample, measured: Any) -> Float[Array, " B"]:
        """The drops at k = ceil(b F) features, for each bin b."""
        k = jnp.stack([at_count(sample, share_of(b, feature_counts(sample))) for b in self.bins])
        if not self.inserts:
            return measured[k - 1]
        # All features are the clean sample, which is no step.
        return jnp.where(k < sample.n_valid, measured[jnp.minimum(k, len(measured) - 1)], 0)


@pytree
class SoftRemovalMetric(Metric):
    """Evaluates the model while entries of the features are set to zero, by their attribution."""

    keeps_top: ClassVar[bool] = False

    n_samples: int = static(10)
    draws: Any = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check.integer(self, "n_samples")

    def questions(self) -> tuple[SoftRemoval, AllZero]:
        soft = SoftRemoval(keep_top=self.keeps_top, n_samples=self.n_samples, draws=self.draws)
        return soft, AllZero()

    def points(self, asked: Any) -> tuple[str, ...]:
        return ("erased",)

    def measure(self, sample: Sample, reference: Answer, query: Query, answer: Answer) -> Any:
        return jnp.maximum(self.drop(reference, answer, sample.y), 0)

    def share(self, drops: Float[Array, " S"], most: Float[Array, ""]) -> Float[Array, " S"]:
        """What each draw contributes, given its drop and that of the input without features."""
        raise NotImplementedError(f"{type(self).__name__}.share")

    def reduce(self, sample: Sample, reference: Answer, measured: Any, valid: Any) -> Outcome:
        drops, most = measured[0], measured[1][0]
        a, where = sample.a, sample.where
        least, largest = a.min(where=where, initial=jnp.inf), a.max(where=where, initial=-jnp.inf)
        shares = self.share(drops, jnp.where(most > 0, most, 1))
        defined = (most > 0) & (largest > least)
        score = jnp.where(defined, shares.mean(), jnp.nan)
        kept = ops.unit_range(a, where).mean(where=where)
        erased = 1 - kept if self.keeps_top else kept
        return of_draws(score, shares - shares.mean(), curve=erased[None])


@pytree
class InformationCurve(Limited, Ranked):
    """The area under an output as a function of the information shown, from blurred to sharp."""

    of_signals: ClassVar[bool] = True
    steps_are: ClassVar[Any] = "information"

    baseline: Any = "blur"

    def questions(self) -> RankedDeletion:
        return self.ranked(insert=True)

    def shown(self, sample: Sample, reference: Answer, answer: Answer) -> Any:
        """The output [] for a partly shown image."""
        raise NotImplementedError(f"{type(self).__name__}.shown")

    def area(
        self, outputs: Float[Array, " S+1"], sizes: Float[Array, " S+1"]
    ) -> tuple[Float[Array, ""], Float[Array, " S+1"]]:
        """(area, curve) of the outputs over the information, given compressed sizes."""
        raise NotImplementedError(f"{type(self).__name__}.area")

    def measure(self, sample: Sample, reference: Answer, query: Query, answer: Answer) -> Any:
        bits = ops.code_length(query.x, sample.x.min(), sample.x.max(), sample.channel_axis)
        return jnp.stack([self.shown(sample, reference, answer).astype(bits.dtype), bits])

    def reduce(self, sample: Sample, reference: Answer, measured: Any, valid: Any) -> Outcome:
        query = Query(x=sample.x, y=sample.y)
        whole = self.measure(sample, reference, query, reference)
        outputs, sizes = jnp.concatenate([measured, whole[None]]).T
        score, curve = self.area(outputs, sizes)
        return Outcome(score=score, curve=curve)
