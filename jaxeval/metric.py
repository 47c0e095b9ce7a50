"""Base class of metrics: the questions to the model, and how answers become a score."""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from . import check, ops
from .registry import Registry, check_complete
from .shown import settings
from .tolerance import Tolerance, read
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
            f"{cls.__name__}: {what}: must be one of {', '.join(map(repr, options))}"
            f"{check.did_you_mean(name, options)}"
        )


class By:
    """An attribute, such as `direction`, that depends on a field; the default on the class."""

    def __init__(self, field: str, default: str, **values: str):
        self.field, self.default, self.values = field, default, values

    def __get__(self, owner: Any, cls: type) -> str:
        value = None if owner is None else getattr(owner, self.field)
        return self.values.get(str(value), self.default)


DirectionBy = By


@pytree
class Metric:
    """A metric. Its methods see ONE sample; the engine batches, shares and shards them.

    A metric lists its `questions()`; the engine asks each distinct question once and passes
    every answer to `measure`, which extracts a few numbers; `reduce` turns a sample's
    measurements into its `Outcome`. `finish` is for metrics that need the host, `aggregate` for
    metrics over a whole data set.

    Attributes:
      family: faithfulness, robustness, localisation, complexity, randomisation or axiomatic.
      direction: which scores are better, "higher" or "lower".
      asks: what it reads from the answers on the clean sample and on every query: a subset of
        {"output", "attribution", "hidden"}.
      needs: what the caller must provide besides x, y and a: a subset of {"mask"}.
      of_classes: whether it uses the predicted class or classes other than y. If True, it raises
        an error for models with ``outputs="values"``, which have no classes.
      of_signals: whether it measures images or series, whose neighbours are alike; True raises an
        error for tables x [N, F].
      of_ranks: whether `measure` compares ranks of the entries of maps: `sample.ranks` and
        `answer.ranks` then are their average ranks, computed once for each map. None where the
        metric is called by another one.
      takes_padding: whether it supports padding: the score of a padded sample is that of the
        sample without its padding. If False, padding raises an error.
      steps_are: what its steps are to a `tolerance`: "all" (a finite set, all asked), "curve" (the
        score is linear in the measurements of ordered steps, one number each, as areas are),
        "draws" (random ones, of which more give a better estimate and `Outcome.error`), or one of
        `REFUSED`. But for those in `FIXED`, the metric has a field `tolerance`
        (`metrics.bases.Limited`).
      reference: the paper.

    Args:
      normalise: how an attribution is scaled, per sample, before it is scored: "max" (by its
        largest magnitude), "negative" (positive and negative parts each by their largest
        magnitude), "second_moment" (by the root of its mean square) or None.
      absolute: whether to score magnitudes (taken after normalising).
      output: the model's score of class y: "probability", "logit", "log_probability", "log_odds",
        "value" (the model's own output: a logit or a probability, depending on the model), or a
        function ``(outputs [K], y) -> scalar`` of the model's own outputs; None: the `output` of
        the run.
    """

    family: ClassVar[str]
    direction: ClassVar[Any]
    asks: ClassVar[frozenset[str]] = frozenset()
    needs: ClassVar[frozenset[str]] = frozenset()
    of_classes: ClassVar[bool] = False
    of_signals: ClassVar[bool] = False
    of_ranks: ClassVar[Any] = False
    takes_padding: ClassVar[Any] = False
    steps_are: ClassVar[Any] = "all"
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

    @property
    def default_output(self) -> Any:
        """The class score where neither the metric's settings nor the run have one."""
        return type(self).__dataclass_fields__["output"].default

    def explainer(self, explainer: Any) -> Any:
        """Hook for metrics that score a modified explainer (SmoothMPRT); by default unchanged."""
        return explainer

    def hidden_layers(self) -> tuple[str, ...] | None:
        """The hidden layers it looks at, if it asks for them; None: all. Others are not kept."""
        return None

    def fit(self, model: Any, sample: Sample) -> None:
        """Check that the metric is defined for this model and sample, whose leaves are shapes.

        Called before anything is compiled.

        Raises:
          ValueError: it is not; the message says what was given and what is needed.
        """

    def fewest(self, sample: Sample) -> int:
        """The minimum number of features a sample must have, from shapes and settings alone."""
        return 1

    def questions(self) -> Perturbation | tuple[Perturbation, ...] | None:
        """The questions to ask the model: None, one perturbation, or a tuple of them."""
        return None

    def chosen(self, counts: np.ndarray, n_steps: int) -> np.ndarray | None:
        """Which steps of its only question it needs, bool [N, S]; None: all. On the host.

        The engine asks the others only if other metrics need them; `measured` is NaN there.

        Args:
          counts: the number of valid steps of each sample [N].
          n_steps: S.
        """
        return None

    def measure(self, sample: Sample, reference: Answer, query: Query, answer: Answer) -> Any:
        """A few numbers [...] from one answer; `reference` is the answer on the clean sample."""
        return self.value(answer, query.y)

    @abstractmethod  # no ABC: `check_class` refuses a class without it, and names the metric
    def reduce(self, sample: Sample, reference: Answer, measured: Any, valid: Any) -> Outcome:
        """The outcome from a sample's measurements [S, ...]; `valid` [S] marks the valid steps.

        Measurements of invalid steps, at the end, are NaN. Without padding all steps are valid,
        unless a perturbation has a `count`; ``sample.step_mask(valid)`` is None if all are.
        """
        raise NotImplementedError(f"{type(self).__name__}.reduce")

    def compiled(self) -> Metric:
        """The metric as compiled programs take it, without arrays that only `questions` reads."""
        return self

    def finish(self, outcome: Outcome) -> Outcome:
        """Complete a sample's outcome on the host, in NumPy, from what `reduce` recorded.

        For computations that cannot be compiled. Called as soon as a sample's block is reduced,
        so records need not be stored.
        """
        return outcome

    def aggregate(self, outcome: Outcome) -> Outcome:
        """The outcome [N] over a whole data set, from what `reduce` recorded for each sample."""
        return outcome

    def points(self, asked: tuple[Perturbation, ...]) -> tuple[str, ...] | None:
        """Names of the points of a curve, or None; `asked` are the bound questions."""
        return None

    def value(self, answer: Answer, y: Any) -> Any:
        """f(x): the score of class y."""
        return ops.value(answer.logits, y, self.output)

    def drop(self, reference: Answer, answer: Answer, y: Any) -> Any:
        """f(x) - f(x'), without cancellation for probabilities."""
        return ops.difference(reference.logits, answer.logits, y, self.output)

    def mass_and_drop(
        self, sample: Sample, reference: Answer, query: Query, answer: Answer
    ) -> jax.Array:
        """[2]: the attribution removed by the query (marked by `aux`), and f(x) - f(x')."""
        mass = jnp.where(query.aux, sample.a.ravel(), 0).sum()
        return jnp.stack([mass, self.drop(reference, answer, sample.y)])

    def prepare(self, a: Any, where: Any = None) -> Any:
        """The attribution to score: 0 at padding, normalised, then absolute."""
        return None if a is None else ops.prepare(a, self.normalise, self.absolute, where)

    def _repr_html_(self) -> str:
        better = f"{self.direction} is better" if self.direction in DIRECTIONS else ""
        about = ", ".join(filter(None, (self.family, better, self.reference)))
        return settings(self, f"{type(self).__name__}: {about}")

    def __call__(
        self, model: Any, x: Any, y: Any = None, a: Any = None, **kwargs: Any
    ) -> jax.Array:
        """The scores [N]; arguments as in `jaxeval.score`."""
        from .api import score  # the engine knows metrics, not the other way round

        return score(self, model, x, y, a, **kwargs).score


def bind(metric: M, output: Any, kind: str, n_outputs: int | None = None) -> M:
    """The metric for a model with outputs of this kind, with the run's `output` as its default.

    Raises:
      ValueError: this class score is not defined for the model.
    """
    output = metric.output if metric.output is not None else output
    if output == "logit" == metric.default_output and kind != "logits":
        output = "value"  # metrics on logits use a model's own outputs if it has no logits
    ops.check_output(output, kind, n_outputs)
    return dataclasses.replace(metric, output=ops.of_logits(output, kind))


def scores_plainly(metric: Metric) -> bool:
    """Whether the caller chose the model's own outputs as the class score."""
    plain = callable(metric.output) or metric.output in ("logit", "value")
    return plain and metric.output != metric.default_output


def check_class(metric: Metric | type[Metric]) -> None:
    """Check that the class, or that of an instance, defines everything a metric needs.

    Raises:
      TypeError: something is missing; the message names it and says what to do.
      ValueError: an instance has an unknown direction.
    """
    cls = metric if isinstance(metric, type) else type(metric)
    check_complete(cls)
    for name, wanted in (
        ("family", f"one of {', '.join(map(repr, FAMILIES))}"),
        ("direction", '"higher" or "lower": which scores are better'),
    ):
        if not hasattr(cls, name):
            raise TypeError(f"the class {cls.__name__} lacks {name} = ..., {wanted}")
    if cls.steps_are not in FIXED and not any(
        f.name == "tolerance" for f in dataclasses.fields(cls)
    ):
        raise TypeError(
            f"the class {cls.__name__} has steps_are = {cls.steps_are!r} without a field "
            "tolerance: make it a subclass of jaxeval.metrics.bases.Area or Drawn"
        )
    if not isinstance(metric, type) and metric.direction not in DIRECTIONS:
        raise ValueError(
            f'{cls.__name__}.direction must be "higher" or "lower", got {metric.direction!r}'
        )


METRICS = Registry("metric", Metric, check_class)
"""All metrics by class name; `jaxeval.register` adds one."""


STEPS = ("curve", "draws", "binary")
"""What may be asked to a tolerance, by `Metric.steps_are`."""
FIXED = ("all", "sizes", "replacements")
"""What metrics ask, by `Metric.steps_are`, that have no field `tolerance`."""
REFUSED = {
    "all": "all its questions are asked, so there is nothing left to estimate",
    "sizes": "its draws go from size to size, and the first ones say nothing of the other sizes: "
    "give a larger n_runs, see Outcome.error, or FaithfulnessCorrelation, which has a tolerance",
    "replacements": "every group has replacements of its own, and all groups are ranked together: "
    "give a larger n_samples, and see Outcome.error",
    "max": "a maximum over draws grows with their number and has no limit to be close to: give "
    "quantile=0.95, say, which has one",
    "shifts": "it is a maximum over the shifts that are asked, and none can be left out",
    "binary": "its curve is 0 or 1, and a few steps of a sample cannot tell where it changes: give "
    'Tolerance(..., per="mean"), for the mean over the samples',
    "information": "its curve is over the information shown, which every step has to measure: give "
    "fewer n_steps, or Insertion, which has a tolerance",
}
"""Why a metric takes no tolerance per sample, by `Metric.steps_are`, and what to do."""


def own_limit(metric: Metric) -> Tolerance | None:
    """The tolerance that a metric was given."""
    return None if metric.steps_are in FIXED else read(metric.tolerance)  # type: ignore


def limit_of(metric: Metric) -> Tolerance | None:
    """The metric's tolerance, if it is one that decides which steps are asked."""
    kind, limit = metric.steps_are, own_limit(metric)
    if limit is None or limit.per == "ranking":
        return None
    return None if kind in REFUSED and (kind, limit.per) != ("binary", "mean") else limit


def refusal(metric: Metric, limit: Tolerance) -> str | None:
    """Why the metric takes no such tolerance, or None if it does."""
    kind = metric.steps_are
    if limit.per == "ranking" or (kind, limit.per) in {("binary", "mean"), ("max", "mean")}:
        return None  # whole scores, and scores that are exact as they are defined
    if kind in REFUSED:
        return REFUSED[kind]
    if limit.relative is not None and not metric.positive:  # type: ignore[attr-defined]
        return "relative= needs scores that are never negative, far from 0: give absolute="
    if kind == "draws" and metric.draws_given:  # type: ignore[attr-defined]
        return "draws= are as many as they are: give one of them"
    return None


def needs_all(metric: Metric) -> str | None:
    """Why the metric can only be computed over the whole data set at once, or None."""
    if type(metric).aggregate is not Metric.aggregate:
        return "is computed over the whole data set at once"
    if (limit := own_limit(metric)) is not None and limit.per != "sample":
        return f"has a tolerance per={limit.per!r}, over all samples"
    return None


def asks_of(metric: Metric) -> tuple[Perturbation, ...]:
    """The metric's questions, always as a tuple."""
    q = metric.questions()
    return () if q is None else q if isinstance(q, tuple) else (q,)
