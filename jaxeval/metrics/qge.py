"""QGE: the gap between a metric's score of a map and its score of the inverse of that map."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from .. import check
from ..metric import Metric, asks_of, own_limit
from ..perturb import Perturbation
from ..types import Answer, Outcome, Query, Sample, pytree, static

INVERSES = ("swap", "sign")


def swapped(a: jax.Array, where: Any = None) -> jax.Array:
    """The map with its ranking reversed: the k-th largest value goes where the k-th smallest was.

    Args:
      a: the map, of any shape.
      where: which features are not padding; the others stay as they are. None: all.

    >>> swapped(jnp.array([3.0, 1.0, 2.0, 5.0])).tolist()
    [2.0, 5.0, 3.0, 1.0]
    """
    flat = a.ravel()
    valid = jnp.ones(flat.shape, bool) if where is None else jnp.ravel(where)
    order = jnp.argsort(jnp.where(valid, flat, jnp.inf), stable=True)
    at, n = jnp.arange(flat.size), valid.sum()
    partner = order[jnp.where(at < n, n - 1 - at, at)]
    return jnp.zeros_like(flat).at[order].set(flat[partner]).reshape(a.shape)


def inverse(how: str, a: jax.Array, where: Any = None) -> jax.Array:
    """The inverse of a map: its ranking reversed ("swap"), or its sign changed ("sign")."""
    return -a if how == "sign" else swapped(a, where)


def inverted(sample: Sample, how: str) -> Sample:
    """The sample with the inverse of its map."""
    return dataclasses.replace(sample, a=inverse(how, sample.a, sample.where))


class _Inverted:
    """Mixin: a question about the inverse of the map."""

    how = ""

    def plan(self, sample: Sample, reference: Answer) -> Any:
        return super().plan(inverted(sample, self.how), reference)  # type: ignore[misc]

    def count(self, sample: Sample, plan: Any) -> Any:
        return super().count(inverted(sample, self.how), plan)  # type: ignore[misc]

    def apply(self, sample: Sample, plan: Any, step: Any) -> Query:
        return super().apply(inverted(sample, self.how), plan, step)  # type: ignore[misc]


@functools.cache
def _inverted_class(cls: type, how: str) -> type:
    return pytree(type(f"Inverse{cls.__name__}", (_Inverted, cls), {"how": how}))


def about_inverse(pert: Perturbation, how: str) -> Perturbation:
    """The same question about the inverse of the map."""
    made = object.__new__(_inverted_class(type(pert), how))
    for field in dataclasses.fields(pert):
        object.__setattr__(made, field.name, getattr(pert, field.name))
    return made


class Of:
    """A class attribute that the wrapped metric decides; on the class it is the default."""

    def __init__(self, name: str, default: Any):
        self.name, self.default = name, default

    def __get__(self, owner: Any, cls: type) -> Any:
        return self.default if owner is None else getattr(owner.metric, self.name)


@pytree
class QGE(Metric):
    r"""Quality gap estimate: the score of a map minus the score of its inverse.

    .. math:: \text{QGE}(a) = \Psi(a) - \Psi(a^{-1})

    for any metric Ψ with a score for each sample. It says how much better a map is than what may be
    seen as its opposite, which makes scores of different samples and models comparable. The
    direction is that of Ψ. Questions that do not read the map are asked once for both. NaN where
    either score is.

    Reference: Eiras-Franco et al. 2025, "Evaluate with the inverse: efficient approximation of
    latent explanation quality distribution", AAAI.

    Args:
      metric: Ψ. Its normalisation comes first: the inverse is that of the normalised map. Metrics
        over a whole data set, and those finished on the host, are refused.
      inverse: "swap": the ranking is reversed, and the k-th largest value goes where the k-th
        smallest was; "sign": -a. A metric that looks at magnitudes or at the distribution of values
        alone cannot tell a map from one of these, and has a gap of 0.

    Outcome: score []; the difference of the curves, for metrics with curves.

    >>> import jaxeval as je
    >>> model = je.Model(lambda w, x: x @ w, jnp.eye(3), channel_axis=None)
    >>> x = jnp.array([[3.0, 2.0, 1.0]])
    >>> gap = je.QGE(metric=je.PixelFlipping(n_steps=3, baseline=0.0))
    >>> gap.direction, bool(gap(model, x, a=x)[0] < 0)
    ('lower', True)
    """

    family: ClassVar[Any] = Of("family", "faithfulness")  # type: ignore[assignment]
    direction: ClassVar[Any] = Of("direction", "higher")
    asks: ClassVar[Any] = Of("asks", frozenset())  # type: ignore[assignment]
    needs: ClassVar[Any] = Of("needs", frozenset())  # type: ignore[assignment]
    of_classes: ClassVar[Any] = Of("of_classes", False)  # type: ignore[assignment]
    takes_padding: ClassVar[Any] = Of("takes_padding", False)
    reference = "Eiras-Franco et al. 2025, Evaluate with the inverse, AAAI"

    metric: Any = None
    inverse: str = static("swap")

    def __post_init__(self) -> None:
        if not isinstance(self.metric, Metric):
            raise TypeError(
                f"QGE(metric=...) must be a jaxeval metric, such as je.PixelFlipping(), got "
                f"{self.metric!r}"
            )
        kind = type(self.metric)
        if kind.aggregate is not Metric.aggregate or kind.finish is not Metric.finish:
            raise ValueError(
                f"QGE(metric={kind.__name__}(...)): this metric is not computed from one sample on "
                "the device, so there is no gap for each sample: give another metric"
            )
        if own_limit(self.metric) is not None:
            raise ValueError("QGE(metric=...): a gap has no tolerance: give a metric without one")
        check.one_of(self, "inverse", INVERSES)
        # The engine prepares maps as a metric's fields say.
        for name in ("normalise", "absolute"):
            object.__setattr__(self, name, getattr(self.metric, name))
        if self.output is None:
            object.__setattr__(self, "output", self.metric.output)
        super().__post_init__()

    @property
    def default_output(self) -> Any:
        return self.metric.default_output

    @property
    def inner(self) -> Metric:
        """Ψ with the class score of this metric, which the run may have set."""
        made = object.__new__(type(self.metric))  # no checks: its leaves may be tracers
        vars(made).update(vars(self.metric))
        vars(made)["output"] = self.output
        return made

    def explainer(self, explainer: Any) -> Any:
        return self.metric.explainer(explainer)

    def fit(self, model: Any, sample: Sample) -> None:
        self.inner.fit(model, sample)

    def fewest(self, sample: Sample) -> int:
        return self.inner.fewest(sample)

    def questions(self) -> tuple[Perturbation, ...]:
        own = asks_of(self.inner)
        return (*own, *(about_inverse(p, self.inverse) for p in own if "a" in p.reads))

    def points(self, asked: tuple[Perturbation, ...]) -> tuple[str, ...] | None:
        return self.inner.points(asked[: len(asks_of(self.inner))])

    def sides(self, sample: Sample) -> tuple[Sample, Sample]:
        """The sample with its map, and with the inverse of it."""
        return sample, inverted(sample, self.inverse)

    def measure(self, sample: Sample, reference: Answer, query: Query, answer: Answer) -> Any:
        """What Ψ measures of the map and of its inverse [2, ...]; `reduce` knows which counts."""
        answers = [answer, answer]
        if "attribution" in self.asks:
            turned = inverse(self.inverse, answer.attribution, sample.where)
            answers[1] = dataclasses.replace(answer, attribution=turned)
        measured = [
            self.inner.measure(side, reference, query, own)
            for side, own in zip(self.sides(sample), answers, strict=True)
        ]
        return jnp.stack([jnp.asarray(v) for v in measured])

    def reduce(self, sample: Sample, reference: Answer, measured: Any, valid: Any) -> Outcome:
        own = asks_of(self.inner)
        measured, valid = list(measured), list(valid)
        later = iter(range(len(own), len(measured)))
        second = [next(later) if "a" in p.reads else i for i, p in enumerate(own)]
        several = isinstance(self.inner.questions(), tuple)
        outcomes = []
        for k, (side, at) in enumerate(
            zip(self.sides(sample), (range(len(own)), second), strict=True)
        ):
            got, ok = tuple(measured[i][:, k] for i in at), tuple(valid[i] for i in at)
            if not several:
                got, ok = (got[0], ok[0]) if own else (None, None)
            outcomes.append(self.inner.reduce(side, reference, got, ok))
        first, other = outcomes
        curve = None if first.curve is None else first.curve - other.curve
        return Outcome(score=first.score - other.score, curve=curve)
