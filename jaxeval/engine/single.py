"""One metric on ONE sample as a pure function, for jit, vmap and grad."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from .. import check, classes, ops
from ..cpu import suited
from ..metric import Metric, asks_of, bind, limit_of
from ..model import TRACED_ROWS, Model, with_inputs
from ..perturb import Perturbation, RandomPerturbation
from ..tokens import COUNTED, FIRST, IDS
from ..trace.embedding import check_ids, check_removal, vocabulary
from ..types import Answer, Outcome, Query, Sample, canonical
from ..words import check_features, first_pieces, read_features, summed
from . import kernels
from .answers import check_shape
from .baselines import with_background
from .explainers import Host, Traced
from .job import refuse_padding
from .options import read_output, read_precision
from .removal import with_removal
from .sample_view import ask as ask_of
from .sample_view import (
    measure_one,
    needs_output,
    params_key,
    reduce_one,
    sample_key,
    undefined,
    unsound,
    view,
    view_reference,
)
from .shapes import check_padded, fit_padding


def as_function(
    metric: Metric,
    model: Model,
    explainer: Any = None,
    *,
    output: Any = None,
    background: Any = None,
    batch_size: int = 1,
    precision: str = "highest",
) -> Callable[..., Outcome]:
    """The metric as a pure function of one sample.

    ``f(x, y, a, key, index=0, mask=None, extras=None, padding=None, inputs=None, features=None)``
    returns the `Outcome` of ONE sample, x [...], y [], a [features], and may be jitted, vmapped
    over samples and differentiated with respect to inputs on which the metric depends smoothly.
    `a` may be None if there is an `explainer`; it is not used if the metric scores a modified
    explainer (`SmoothMPRT`). `padding` and `features` are the sample's, as for `jaxeval.evaluate`;
    whether they leave enough features for the settings, and whether traced words are runs of
    tokens, is not checked. With the same key, index and a, it
    returns what `score` returns for the sample with that index.

    Args:
      batch_size: number of steps evaluated together.
      output: as in `jaxeval.evaluate`; `background`, `precision`: likewise.

    Raises:
      ValueError: by f, for a class y that the model does not have, where y is not traced.
      TypeError: for a host model or explainer, and for a metric over a whole data set or one
        that the host finishes.
    """
    if not isinstance(model, Model):
        what = check.foreign(model) or type(model).__name__
        raise TypeError(f"as_function: model must be a jaxeval.Model, got {what}")
    check.one_array(model, "as_function")
    if model.host or isinstance(explainer, Host):
        raise TypeError("as_function: a host callable cannot be part of a traced function")
    if type(metric).aggregate is not Metric.aggregate:
        raise TypeError(f"as_function: {type(metric).__name__} is defined over a whole data set")
    if type(metric).finish is not Metric.finish:
        raise TypeError(f"as_function: {type(metric).__name__} is finished on the host")
    if limit_of(metric) is not None:
        raise TypeError(
            f"as_function: {type(metric).__name__}(tolerance=...) chooses its steps on the host; "
            "use evaluate or score"
        )
    if "attribution" in metric.asks and explainer is None:
        raise TypeError(f"as_function: {type(metric).__name__} explains anew: give explainer=")
    read_precision(precision)
    if metric.of_classes and model.outputs == "values":
        raise TypeError(f"as_function: {type(metric).__name__} needs a model that predicts classes")
    rows = None if background is None else np.asarray(background)
    name = type(metric).__name__
    metrics, given = with_background({name: metric}, {"given": explainer}, rows)
    metric, explainer = metrics[name], given["given"]
    if model.tokens is not None:
        metric = with_removal(name, metric, model.tokens)
    output = read_output(output, model.outputs)
    metric, original = bind(metric, output, model.outputs), model
    if explainer is not None and jax.tree_util.all_leaves((explainer,)):
        explainer = Traced(fn=explainer)
    made = None if explainer is None else metric.explainer(explainer)
    given, explainer = made is explainer, made
    hidden = kernels.layers_of([metric])

    def explain(model: Model, query: Query, key: Any) -> Any:
        x, y, keys, inputs = jax.tree.map(lambda v: v[None], (query.x, query.y, key, query.inputs))
        a = kernels.explain_rows(precision, explainer, model, x, y, keys, inputs)
        return a[0] if FIRST not in (inputs or {}) else summed(a, inputs[FIRST])[0]

    def ask(model: Model, query: Query, key: Any, output: bool, attribution: bool) -> Answer:
        answer = Answer()
        if output:
            rows = jax.tree.map(lambda v: v[None], (query.x, query.inputs))
            answer = kernels.take(kernels.forward_rows((hidden, precision), model, *rows), 0)
        if attribution:
            answer = dataclasses.replace(answer, attribution=explain(model, query, key))
        return answer

    def f(
        x: Any,
        y: Any,
        a: Any,
        key: Any,
        index: Any = 0,
        mask: Any = None,
        extras: Any = None,
        padding: Any = None,
        inputs: Any = None,
        features: Any = None,
    ) -> Outcome:
        labels = classes.concrete(y)
        if original.tokens is not None and not isinstance(x, Tracer):
            check_ids(np.asarray(x)[None], None)
        x = jnp.asarray(x)
        inputs = None if inputs is None else {k: jnp.asarray(v) for k, v in inputs.items()}
        if original.tokens is not None:
            x, rows = x.astype(jnp.int32), jax.tree.map(lambda v: v[None], inputs or {})
            padding = None if padding is None else jnp.asarray(padding, bool)[None]
            counted = original.tokens.counted(x[None], rows, padding)
            words = {}
            if features is not None:
                features = jnp.asarray(read_features(features, x))[None]
                check_features(features, counted)
                counted = counted & (features >= 0)
                words = {FIRST: first_pieces(features, counted)[0]}
            inputs = {**(inputs or {}), IDS: x, COUNTED: counted[0], **words}
            padding = ~counted[0]
        elif features is not None:
            raise ValueError("as_function: features= is for models of tokens")
        first = (inputs or {}).get(FIRST)
        if labels is not None:
            row = jax.ShapeDtypeStruct((1, *x.shape), x.dtype)
            classes.check_classes(labels, classes.classes_of(original, row), "as_function")
        y = jnp.asarray(y, jnp.int32)
        key = jax.random.key(key) if isinstance(key, (int, np.integer)) else key
        own = sample_key(key, index)
        own_inputs = jax.tree.map(lambda v: v[None], inputs)
        model = suited(with_inputs(original, own_inputs), x, jax.default_backend())
        if original.tokens is not None:
            size = vocabulary(model, x)
            check_removal(name, metric, size, original.tokens)
            check_removal("explainer", explainer, size, original.tokens)
            if not isinstance(x, Tracer):
                check_ids(x[None], size)
        out = model.traced(x)
        check_shape(out, TRACED_ROWS, model.outputs)
        ops.check_output(metric.output, model.outputs, out.shape[-1])
        clean = Query(x=x, y=y, inputs=inputs)
        reference = ask(model, clean, own, needs_output(metric), False)
        if a is None or not given:
            if explainer is None:
                raise TypeError("a is None: give the attribution, or as_function an explainer")
            a = explain(model, clean, own)
        a = jnp.asarray(a)
        if first is not None:
            a = summed(a[None], first[None])[0]
            if mask is not None:
                mask = summed(jnp.asarray(mask, jnp.int32)[None] * counted, first[None])[0] > 0
        sample = Sample(
            x=x,
            y=y,
            key=own,
            position=jnp.asarray(index),
            mask=mask,
            extras=extras or {},
            inputs=inputs,
            owner=first,
            features=a.shape,
            channel_axis=model.sample_channel_axis(x.ndim),
        )
        if padding is not None:
            refuse_padding(type(metric).__name__, metric)
            valid = ~jnp.asarray(fit_padding(jnp.asarray(padding, bool)[None], sample))[0]
            sample = dataclasses.replace(sample, valid=valid)
            check_padded("given", sample)
            if mask is not None:
                sample = dataclasses.replace(sample, mask=mask & sample.where)
        sample = dataclasses.replace(sample, a=metric.prepare(a, sample.where))
        metric.fit(model, sample)
        for pert in asks_of(metric):
            missing = sorted(set(pert.host_extras()) - set(sample.extras))
            if missing:
                raise TypeError(
                    f"as_function: {type(metric).__name__} needs extras={{{missing[0]!r}: ...}}, "
                    "which the host computes elsewhere and a traced function cannot"
                )
        got = [
            _ask_all(
                metric, model, pert.bind(original, sample), sample, reference, key, ask, batch_size
            )
            for pert in asks_of(metric)
        ]
        outcome = reduce_one(
            metric, sample, reference, tuple(m for m, _, _ in got), tuple(v for _, v, _ in got)
        )
        whole = dataclasses.replace(reference, attribution=sample.a)
        flags = [unsound(metric.asks | {"attribution"}, whole), *(bad for _, _, bad in got)]
        return undefined(outcome, jnp.stack(flags).any())

    return f


def _ask_all(
    metric: Metric,
    model: Model,
    pert: Perturbation,
    sample: Sample,
    reference: Answer,
    key: Any,
    ask: Callable[..., Answer],
    batch_size: int,
) -> tuple[Any, Any, Any]:
    """(measurements [S, ...], which are valid [S], what was `unsound` [2]) of one question."""
    n_steps, pert, draw = pert.n_steps(sample), *_draws(pert, sample)
    once = isinstance(pert, RandomPerturbation) and pert.draws_per == "sample"
    seen = view(dataclasses.replace(sample, draw=draw) if once else sample, pert)
    plan = pert.plan(seen, view_reference(reference, pert))
    output = bool(metric.asks & {"output", "hidden"})

    def step(t: Any) -> Any:
        asked = model
        if pert.changes_params:
            asked = pert.model(model, params_key(key), t)
        row = seen
        if draw is not None and not once:
            row = dataclasses.replace(seen, draw=draw[t])
        query = ask_of(pert, row, plan, t)
        attribution = "attribution" in metric.asks
        answer = ask(asked, query, sample.key, output, attribution)
        map_ = metric.prepare(answer.attribution, sample.where)
        answer = dataclasses.replace(answer, attribution=map_)
        return measure_one(metric, sample, reference, query, answer), unsound(metric.asks, answer)

    size = 1 if pert.changes_params else min(batch_size, n_steps)
    steps = jnp.arange(n_steps)
    measured, bad = jax.lax.map(step, steps, batch_size=size if size > 1 else None)
    valid = steps < pert.count(seen, plan)
    if sample.valid is not None:
        done = valid.reshape(-1, *(1,) * (measured.ndim - 1))
        measured = jnp.where(done, measured, jnp.nan)
    return measured, valid, jnp.where(valid[:, None], bad, 0).max(0)


def _draws(pert: Perturbation, sample: Sample) -> tuple[Perturbation, Any]:
    """The perturbation without given draws, and this sample's draws."""
    if not isinstance(pert, RandomPerturbation) or pert.draws is None:
        return canonical(pert), None
    draws = jnp.asarray(pert.draws)
    draws = draws[sample.position] if pert.draws_lead(sample) else draws
    return canonical(dataclasses.replace(pert, draws=None)), draws
