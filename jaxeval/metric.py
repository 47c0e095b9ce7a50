"""The base of every metric: what it asks of the model, and how answers become a score."""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import jax
import jax.numpy as jnp

from . import check, ops
from .registry import Registry, check_complete
from .types import Answer, Outcome, Query, Sample, pytree, static

if TYPE_CHECKING:
    from .perturb import Perturbation

M = TypeVar("M", bound="Metric")


FAMILIES = (
    "faithfulness", "robustness", "localisation", "complexity", "randomisation", "axiomatic"
)  # fmt: skip
DIRECTIONS = ("higher", "lower")
ASKS = ("output", "attribution", "hidden")
NEEDS = ("mask",)


def _known(cls: type, what: str, name: Any, options: tuple[str, ...]) -> None:
    if name not in options:
        raise ValueError(
            f"{cls.__name__}: {what}: must be of {', '.join(map(repr, options))}"
            f"{check.did_you_mean(name, options)}"
        )


class DirectionBy:
    """A `direction` that follows a field: the class shows the default, an instance its own."""

    def __init__(self, field: str, default: str, **directions: str):
        self.field, self.default, self.directions = field, default, directions

    def __get__(self, owner: Any, cls: type) -> str:
        value = None if owner is None else getattr(owner, self.field)
        return self.directions.get(str(value), self.default)


@pytree
class Metric:
    """A metric. Its methods see ONE sample; the engine batches, shares and shards them.

    A metric names its `questions()`; the engine asks each distinct question once and hands
    every answer to `measure`, which makes a few numbers of it; `reduce` makes the `Outcome`
    of a sample's measurements. `finish` exists for metrics that need the host, `aggregate` for
    metrics over a whole data set.

    Attributes:
      family: faithfulness, robustness, localisation, complexity, randomisation or axiomatic.
      direction: "higher" or "lower": which scores are better.
      asks: what it needs of the clean sample and of every query: a subset of
        {"output", "attribution", "hidden"}.
      needs: what the caller must give beside x, y and a: a subset of {"mask"}.
      of_classes: whether it looks at the predicted class or at other classes than y, which a model
        of plain values does not have. Refused there where it is True.
      takes_padding: whether padding may be given, of which no feature counts: a padded sample
        then has the score of the sample without its padding. Refused where it is False.
      reference: the paper.

    Args:
      normalise: how an attribution is scaled, per sample, before it is scored: "max" (by its
        largest magnitude), "negative" (positive and negative parts each by their own),
        "second_moment" (by the root of its mean square) or None.
      absolute: whether magnitudes are scored (taken after normalising).
      output: what the model's "score of the class" is: "probability", "logit",
        "log_probability", "log_odds", "value" (the model's own number: the logit of a model of
        logits, the probability of one of probabilities), or a function ``(outputs [K], y) ->
        scalar`` of the model's own outputs; None follows the run.
    """

    family: ClassVar[str]
    direction: ClassVar[Any]
    asks: ClassVar[frozenset[str]] = frozenset()
    needs: ClassVar[frozenset[str]] = frozenset()
    of_classes: ClassVar[bool] = False
    takes_padding: ClassVar[Any] = False
    reference: ClassVar[str] = ""

    normalise: str | None = static("max")
    absolute: bool = static(False)
    output: Any = static(None)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        own = vars(cls)
        for name, known in (("asks", ASKS), ("needs", NEEDS)):
            given = own.get(name, frozenset())
            if isinstance(given, (set, frozenset, tuple, list)):
                for item in given:
                    _known(cls, f"{name}={set(given)!r}", item, known)
            elif not hasattr(given, "__get__"):
                raise TypeError(f"{cls.__name__}.{name} must be a set of names, got {given!r}")
        if not hasattr(family := own.get("family", FAMILIES[0]), "__get__"):
            _known(cls, f"family={family!r}", family, FAMILIES)
        if not hasattr(direction := own.get("direction", DIRECTIONS[0]), "__get__"):
            _known(cls, f"direction={direction!r}", direction, DIRECTIONS)

    def __post_init__(self) -> None:
        check.one_of(self, "normalise", (*ops.NORMALISE, None))
        check.one_of(self, "absolute", (True, False))
        if not callable(self.output):
            check.one_of(self, "output", (*ops.OUTPUTS, None))

    def explainer(self, explainer: Any) -> Any:
        """The explainer whose maps are scored, made of the given one; as a rule that itself."""
        return explainer

    def fit(self, model: Any, sample: Sample) -> None:
        """Whether it can be had of this model and shape of sample, whose leaves are shapes.

        Raises:
          ValueError: before anything is compiled, with what was given and what is wanted.
        """

    def fewest(self, sample: Sample) -> int:
        """How many features every sample must have, from shapes and settings alone."""
        return 1

    def questions(self) -> Perturbation | tuple[Perturbation, ...] | None:
        """What to ask the model: None, one perturbation, or a tuple of them."""
        return None

    def measure(self, sample: Sample, reference: Answer, query: Query, answer: Answer) -> Any:
        """A few numbers [...] of one answer; `reference` is the answer on the clean sample."""
        return self.value(answer, query.y)

    @abstractmethod  # no ABC: `check_class` refuses a class without it, and names the metric
    def reduce(self, sample: Sample, reference: Answer, measured: Any, valid: Any) -> Outcome:
        """The outcome of a sample's measurements [S, ...]; `valid` [S] marks the real steps.

        The others are NaN, at the end. Without padding all are real, unless a perturbation has
        a `count`; ``sample.step_mask(valid)`` is None then.
        """
        raise NotImplementedError(f"{type(self).__name__}.reduce")

    def finish(self, outcome: Outcome) -> Outcome:
        """The outcome of a sample completed on the host, in NumPy, of what `reduce` recorded.

        For what a compiled program cannot do. Called for each sample of a block as soon as it
        is reduced, so records are not kept.
        """
        return outcome

    def aggregate(self, outcome: Outcome) -> Outcome:
        """The outcome [N] over a whole data set, of what `reduce` recorded of each sample."""
        return outcome

    def points(self, asked: tuple[Perturbation, ...]) -> tuple[str, ...] | None:
        """Names of the points of a curve, where they have some; `asked` are bound questions."""
        return None

    def value(self, answer: Answer, y: Any) -> Any:
        """f: the scalar output for class y."""
        return ops.value(answer.logits, y, self.output)

    def drop(self, reference: Answer, answer: Answer, y: Any) -> Any:
        """f(x) - f(x'), without cancellation for probabilities."""
        return ops.difference(reference.logits, answer.logits, y, self.output)

    def mass_and_drop(
        self, sample: Sample, reference: Answer, query: Query, answer: Answer
    ) -> jax.Array:
        """[2]: the attribution that the query took away (`aux` marks it), and f(x) - f(x')."""
        mass = jnp.where(query.aux, sample.a.ravel(), 0).sum()
        return jnp.stack([mass, self.drop(reference, answer, sample.y)])

    def prepare(self, a: Any, where: Any = None) -> Any:
        """The attribution as it is scored: 0 at padding, normalised, then absolute."""
        return None if a is None else ops.prepare(a, self.normalise, self.absolute, where)

    def __call__(
        self, model: Any, x: Any, y: Any = None, a: Any = None, **kwargs: Any
    ) -> jax.Array:
        """The scores [N]; arguments as in `jaxeval.score`."""
        from .api import score  # the engine knows metrics, not the other way round

        return score(self, model, x, y, a, **kwargs).score


def bind(metric: M, output: Any, kind: str, n_outputs: int | None = None) -> M:
    """The metric for a model with outputs of this kind, with the run's `output` as its default.

    Raises:
      ValueError: the model has no such score of a class.
    """
    output = metric.output if metric.output is not None else output
    if output == "logit" == _default_output(metric) and kind != "logits":
        output = "value"  # metrics that score logits score what a model without them gives
    ops.check_output(output, kind, n_outputs)
    return dataclasses.replace(metric, output=ops.of_logits(output, kind))


def _default_output(metric: Metric) -> Any:
    return type(metric).__dataclass_fields__["output"].default


def scores_plainly(metric: Metric) -> bool:
    """Whether it was asked for the model's own numbers, whatever they are."""
    plain = callable(metric.output) or metric.output in ("logit", "value")
    return plain and metric.output != _default_output(metric)


def check_class(metric: Metric | type[Metric]) -> None:
    """The class, or that of an instance, has all that a metric needs.

    Raises:
      TypeError: with what is missing.
      ValueError: an instance has no such direction.
    """
    cls = metric if isinstance(metric, type) else type(metric)
    check_complete(cls)
    for name, wanted in (
        ("family", f"one of {', '.join(map(repr, FAMILIES))}"),
        ("direction", '"higher" or "lower": which scores are better'),
    ):
        if not hasattr(cls, name):
            raise TypeError(f"the class {cls.__name__} lacks {name} = ..., {wanted}")
    if not isinstance(metric, type) and metric.direction not in DIRECTIONS:
        raise ValueError(
            f'{cls.__name__}.direction must be "higher" or "lower", got {metric.direction!r}'
        )


METRICS = Registry("metric", Metric, check_class)
"""Every metric by the name of its class; `jaxeval.register` adds one."""


def asks_of(metric: Metric) -> tuple[Perturbation, ...]:
    """The metric's questions, always as a tuple."""
    q = metric.questions()
    return () if q is None else q if isinstance(q, tuple) else (q,)
