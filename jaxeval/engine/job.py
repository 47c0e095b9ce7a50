"""`Job`: the checked arguments of `score`, `evaluate`, `attribute` and sweeps."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax

from .. import check
from ..metric import STEPS, Metric, asks_of, bind, check_class, refusal
from ..model import Model
from ..tolerance import Tolerance
from .baselines import read_background, warn_of_units, with_background
from .data import Data, read_data
from .explainers import Attributor, read_explainers
from .models import read_model
from .options import Options, read_output
from .pixels import to_pixels, to_words
from .removal import with_removal
from .tables import check_width, read_frame, read_labels


@dataclasses.dataclass(frozen=True, eq=False)
class Job:
    """A model, a data set, and the metrics and explainers to evaluate on it.

    `metrics` are bound to the run's `output`, the score of a class. `only` are the (explainer,
    metric) to evaluate; None: all.
    """

    model: Model
    data: Data
    attributors: Mapping[str, Attributor]
    metrics: Mapping[str, Metric]
    output: Any
    options: Options
    only: frozenset[tuple[str, str]] | None = None

    @property
    def n(self) -> int:
        return len(self.data.x)

    @property
    def one(self) -> jax.ShapeDtypeStruct:
        """Shape and dtype of one sample."""
        return jax.ShapeDtypeStruct(self.data.x.shape[1:], self.data.x.dtype)


def read_job(
    model: Any,
    x: Any,
    y: Any,
    explainers: Any,
    metrics: Any,
    options: Options,
    *,
    stored: Mapping[str, Any] | None = None,
    mask: Any = None,
    padding: Any = None,
    index: Any = None,
    extras: Any = None,
    inputs: Any = None,
    features: Any = None,
) -> Job:
    """Check all arguments.

    Args:
      metrics: {} if only attributions are needed.
      stored: {explainer: its given maps of the clean samples}.

    Raises:
      ValueError, TypeError: invalid or incompatible arguments, before anything is compiled.
    """
    check.one_array(model, "model")
    tokens, names = getattr(model, "tokens", None), None
    if tokens is None:
        x, names = read_frame("x", x, getattr(model, "feature_names", None))
    labels = read_labels(y, model)
    data = read_data(x, labels, mask, index, extras, padding, inputs, tokens, names, features)
    metrics = read_metrics(metrics, mask is not None) if metrics else {}
    explainers = named("explainers", explainers)
    background = read_background(read_frame("background", options.background, names)[0], data.x)
    metrics, explainers = with_background(metrics, explainers, background)
    if tokens is None:
        warn_of_units(metrics, explainers, data.x)
    else:
        metrics = {name: with_removal(name, metric, tokens) for name, metric in metrics.items()}
    removals = {f"metric {k!r}": v for k, v in metrics.items()}
    removals |= {f"explainer {k!r}": v for k, v in explainers.items()}
    model = read_model(model, data, options.outputs, removals)
    if not model.host:
        check_width(y, model.n_classes(jax.ShapeDtypeStruct(data.x.shape[1:], data.x.dtype)))
    output = read_output(options.output, model.outputs)
    one = jax.ShapeDtypeStruct(data.x.shape[1:], data.x.dtype)
    metrics = with_tolerance(bind_all(metrics, output, model, one), options.tolerance)
    attributors = read_explainers(explainers, model, data, stored)
    if options.reduce_channels is not None:
        axis = model.sample_channel_axis(data.x.ndim - 1)
        attributors = to_pixels(attributors, options.reduce_channels, axis, one.shape)
    if data.of_words:
        attributors = to_words(attributors, data.inputs)
    check_pairs(metrics, attributors, model, data)
    return Job(model, data, attributors, metrics, output, options)


def bind_all(metrics: Mapping[str, Metric], output: Any, model: Model, x: Any) -> dict[str, Metric]:
    """The metrics for the model and the run's output."""
    n = None if model.host else model.traced(x).shape[-1]
    bound = {}
    for name, metric in metrics.items():
        if metric.of_classes and (model.outputs == "values" or (n == 1 == model.n_classes(x))):
            raise ValueError(
                f"metric {name!r} ({type(metric).__name__}) looks at the predicted class, and "
                + (
                    "a model of plain values predicts none"
                    if model.outputs == "values"
                    else 'the model has one output: give Model(outputs="binary") where it is the '
                    "logit of class 1"
                )
            )
        try:
            bound[name] = bind(metric, output, model.outputs, n)
        except ValueError as e:
            raise ValueError(f"metric {name!r}: {e}") from e
    return bound


def with_tolerance(metrics: Mapping[str, Metric], limit: Tolerance | None) -> Mapping[str, Metric]:
    """The metrics with the run's tolerance, where they take it and have none of their own."""
    if limit is None or limit.per == "ranking" or not metrics:
        return metrics
    reasons = {name: refusal(metric, limit) for name, metric in metrics.items()}
    takes = {m: metric.steps_are in STEPS and reasons[m] is None for m, metric in metrics.items()}
    if not any(takes.values()):
        given = f"tolerance={limit.absolute if limit.relative is None else limit}"
        why = "; ".join(f"{name!r}: {reason}" for name, reason in reasons.items())
        raise ValueError(f"{given}: none of the metrics takes it. {why}")
    own: dict[str, Any] = {m: v for m, v in metrics.items() if takes[m] and v.tolerance is None}  # type: ignore[attr-defined]
    return {**metrics, **{m: dataclasses.replace(v, tolerance=limit) for m, v in own.items()}}


def read_metrics(metrics: Any, masked: bool) -> dict[str, Metric]:
    """{name: metric}."""
    out = {}
    for name, metric in named("metrics", metrics).items():
        if isinstance(metric, type) and issubclass(metric, Metric):
            raise TypeError(
                f"metric {name!r} is the class {metric.__name__}: give an instance, "
                f"{metric.__name__}()"
            )
        if not isinstance(metric, Metric):
            raise TypeError(
                f"metric {name!r} must be a jaxeval metric, got {type(metric).__name__}"
            )
        if "mask" in metric.needs and not masked:
            raise ValueError(
                f"metric {name!r} compares attributions with where the object is: give mask=, "
                "bool [N, ...] in the attributions' shape"
            )
        try:
            check_class(metric)
        except (TypeError, ValueError) as e:
            raise type(e)(f"metric {name!r}: {e}") from e
        out[name] = metric
    return out


def named(what: str, given: Any) -> dict[str, Any]:
    """A mapping unchanged; a list as {class name: item}."""
    if isinstance(given, Mapping):
        given = dict(given)
    elif isinstance(given, (list, tuple)):
        names = [v.__name__ if isinstance(v, type) else type(v).__name__ for v in given]
        twice = sorted({n for n in names if names.count(n) > 1})
        if twice:
            raise ValueError(f"{what} has more than one {twice[0]}: give a dict with a name each")
        given = dict(zip(names, given, strict=True))
    else:
        raise TypeError(
            f"{what} must be a dict {{name: {what.rstrip('s')}}}, got {type(given).__name__}"
        )
    if not given:
        raise ValueError(f"{what} is empty")
    for name in given:
        _check_name(what, name)
    return given


def _check_name(what: str, name: Any) -> None:
    """Check that a name is text that a file can hold."""
    if not isinstance(name, str):
        raise TypeError(
            f"{what} must be named by text, which results are saved under, got the name {name!r} "
            f"({type(name).__name__}): give for example {str(name)!r}"
        )
    if not name.strip():
        raise ValueError(f"{what} has the empty name {name!r}: give it one")
    try:
        name.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{what} has the name {name!r}, which is no valid Unicode text") from None


def refuse_padding(name: str, metric: Metric) -> None:
    """Raise an error if a metric or one of its questions does not support padding."""
    for what in (metric, *asks_of(metric)):
        if not what.takes_padding:
            raise ValueError(
                f"metric {name!r} takes no padding: with these settings "
                f"{type(what).__name__} cannot leave it out, and would count it"
            )


def check_pairs(
    metrics: Mapping[str, Metric], attributors: Mapping[str, Attributor], model: Model, data: Data
) -> None:
    """Check each metric against each explainer, the model and the data set."""
    for m, metric in metrics.items():
        if data.padding is not None:
            refuse_padding(m, metric)
        if metric.of_signals and data.x.ndim == 2:
            raise ValueError(
                f"metric {m!r} ({type(metric).__name__}) compares the compressed sizes of images "
                f"or series, but x {list(data.x.shape)} is a table, whose columns have no order: "
                "use Insertion, which counts features. A series is [N, 1, T]"
            )
        if "hidden" in metric.asks and (model.host or model.hidden is None):
            raise ValueError(
                f"metric {m!r} looks at hidden layers: give Model(hidden=...), a function "
                "(params, x) -> (logits, {layer: activations})"
            )
        changes = any(p.changes_params for p in asks_of(metric))
        if changes and model.host:
            raise ValueError(
                f"metric {m!r} changes the model's parameters, which a host model does not show"
            )
        for e, attributor in attributors.items():
            if "attribution" in metric.asks and attributor.explainer is None:
                raise ValueError(
                    f"metric {m!r} explains changed inputs or models, but explainer {e!r} is an "
                    "array of attributions: give the explainer itself"
                )
            if changes and attributor.on_host:
                raise ValueError(
                    f"metric {m!r} changes the model's parameters, but explainer {e!r} is a host "
                    "callable, which may go on explaining the unchanged model: give a traceable "
                    "explainer"
                )
