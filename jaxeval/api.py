"""The verbs: `score` one metric, `evaluate` many metrics of many explainers, `attribute`."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from .by_name import explainers_by_name, metrics_by_name, one_by_name
from .describe import describe
from .engine.collect import Record, nothing_scored
from .engine.evaluator import evaluator_of
from .engine.job import Job, read_job
from .engine.options import Options
from .engine.pixels import as_given
from .engine.plan import EvalPlan, make_plan
from .engine.racing import check_race, race, ranked
from .engine.removal import named
from .engine.run import attributions, run
from .metric import Metric
from .progress import Bar, NoProgress
from .several import is_several, join_inputs
from .tolerance import Tolerance, read
from .types import Outcome
from .version import __version__

if TYPE_CHECKING:
    from .results import Results


def score(
    metric: Metric,
    model: Any,
    x: Any,
    y: Any = None,
    a: Any = None,
    *,
    mask: Any = None,
    padding: Any = None,
    inputs: Mapping[str, Any] | None = None,
    features: Any = None,
    explainer: Any = None,
    index: Any = None,
    extras: Mapping[str, Any] | None = None,
    background: Any = None,
    reduce_channels: str | None = None,
    tolerance: float | Tolerance | None = None,
    key: Any = 0,
    batch_size: int | None = None,
    mesh: Any = None,
    output: Any = None,
    outputs: str | None = None,
    precision: str = "highest",
    progress: bool = False,
    rows: int | None = None,
) -> Outcome:
    """One metric over a data set.

    Args:
      metric: an instance, such as ``PixelFlipping(n_steps=64)``, or a name.
      a: attributions [N, ...]; their shape defines what a feature is. None: `explainer` computes
        them.
      explainer: required by metrics that explain perturbed inputs or models.
      rows: compile for this many samples, if there are fewer: sets of several sizes then share
        programs.

    The other arguments are those of `evaluate`.

    Returns:
      `Outcome` with a leading sample axis: score [N], curve [N, S] where the metric has one.

    >>> import jax.numpy as jnp, jaxeval as je
    >>> model = je.Model(lambda w, x: x @ w, jnp.eye(4))
    >>> x = jnp.arange(8.0).reshape(2, 4)
    >>> je.score(je.Sparseness(), model, x, a=x).score.shape
    (2,)
    """
    metric = one_by_name(metric, metrics_by_name)
    explainer = one_by_name(explainer, explainers_by_name)
    if not isinstance(metric, Metric):
        raise TypeError(f"metric must be an instance of a jaxeval metric, got {metric!r}")
    if a is None and explainer is None:
        raise ValueError("give a=, the attributions, or explainer=, which makes them")
    if _several(model, x):
        joined = join_inputs(model, x)
        model, x, background = joined.model, joined.x, joined.background(background)
        a = joined.explainers({"a": a})["a"]
    name = "a" if explainer is None else "explainer"
    options = Options(
        key=key, batch_size=batch_size, mesh=mesh, output=output, outputs=outputs,
        precision=precision, background=background, reduce_channels=reduce_channels,
        tolerance=read(tolerance), rows=rows,
    )  # fmt: skip
    job = read_job(
        model,
        x,
        y,
        {name: a if explainer is None else explainer},
        {type(metric).__name__: metric},
        options,
        stored=None if explainer is None or a is None else {name: a},
        mask=mask,
        padding=padding,
        index=index,
        extras=extras,
        inputs=inputs,
        features=features,
    )
    results = evaluate_job(job, progress)
    return jax.tree.map(jnp.asarray, results[name, type(metric).__name__])


def evaluate(
    model: Any,
    x: Any,
    y: Any = None,
    *,
    explainers: Any,
    metrics: Any,
    mask: Any = None,
    padding: Any = None,
    inputs: Mapping[str, Any] | None = None,
    features: Any = None,
    index: Any = None,
    extras: Mapping[str, Any] | None = None,
    background: Any = None,
    reduce_channels: str | None = None,
    tolerance: float | Tolerance | None = None,
    per: str = "sample",
    confidence: float = 0.95,
    budget: int | None = 4096,
    key: Any = 0,
    batch_size: int | None = None,
    mesh: Any = None,
    output: Any = None,
    outputs: str | None = None,
    precision: str = "highest",
    progress: bool = True,
) -> Results:
    """Many metrics of many explainers in one pass: each distinct question is asked once.

    Args:
      model: a `Model`, or any function x [N, ...] -> logits [N, K]. A function that JAX cannot
        trace is called on the host.
      x: inputs [N, ...], floating-point and finite; token ids [N, T] for a model with `tokens`; a
        data frame, whose columns name the features; or a tuple or dict of arrays for a model of
        several inputs, whose entries are all features (see `join_inputs`).
      y: classes to explain [N]; None: the predicted ones. Numbers, one-hot rows [N, K], or the
        labels in `Model.classes`.
      explainers: {name: explainer}; an explainer is one of `jaxeval.explain`, its name or
        ``("name", {setting: value})``, a function ``(model, x, y, keys) -> a`` or
        ``(model, inputs, targets, **kwargs) -> a`` on a batch, or attributions: an array [N, ...],
        one for each class ([N, ..., K] or a list of K arrays), or a `shap.Explanation`. Or a list
        of explainers, which have the names of their classes.
      metrics: {name: metric}, or a list; a metric is an instance, its name or ``("name", {setting:
        value})``.
      mask: ground-truth location of the object, bool [N, ...], for localisation metrics.
      padding: True at padding, for samples of different lengths: bool [N, ...] in the shape of x,
        with or without its channel axis, such as [N, T] for token embeddings x [N, T, E] of a
        model with channel_axis=-1. Padding is not a feature and is never perturbed: a padded
        sample scores the same as the sample without its padding, provided that the model ignores
        padding (it sees x only). Explainers see x unchanged. Curves are NaN after the sample's
        last step. Metrics that cannot exclude padding raise an error. Of texts, padding and special
        tokens never count; `padding` adds to them.
      inputs: {name: array [N, ...]} of what the model reads with x and is not explained: it is
        called as ``apply(params, x, inputs)``. They travel with their samples, and no perturbation
        changes them; where tokens are deleted, those with an axis T [N, T, ...] move along.
      features: for texts, the word of each token, int [N, T], -1 for tokens that never count:
        `jaxeval.words` of what a tokenizer returns. The pieces of a word are then one feature: they
        are removed together, their attributions are summed and stand at the first of them (0 at
        the others), and `mask` marks a word that has a marked piece. A word is a run of tokens.
      index: integer ids of the samples [N], which seed their random draws (default: positions).
        With ids, a sample's scores do not depend on its position in the data set.
      extras: {name: array [N, ...]} for metrics and perturbations that read them.
      background: reference samples [B, ...] shaped like those of x, such as training data, for the
        baselines "background mean" (their mean) and "background" (a whole sample, drawn anew
        whenever a random baseline is drawn) of metrics and explainers.
      reduce_channels: "sum", "mean" or "max" over the channel axis of all maps, given and computed
        ones, so that maps with a value per entry can be compared with maps with a value per
        pixel. None: maps stay as they are.
      tolerance: how far scores may be from those that they estimate, in their unit, or a
        `jaxeval.Tolerance`. Areas under curves then ask fewer steps (``n_steps=None``: of all
        features), scores from random draws as many as it takes. A metric's own `tolerance` takes
        precedence; metrics that take none are not affected. None: all steps are asked, and as
        many draws as the metrics say. See docs/tolerance.md.
      per, confidence, budget: those of `jaxeval.Tolerance`, where `tolerance` is a number: what
        should be as sure as that, every "sample", the "mean" of each explainer or the "ranking" of
        the explainers; the coverage of intervals; most draws of a sample.
      key: seed or JAX key of all randomness.
      batch_size: most model evaluations in flight on each device; None: chosen from the size of
        the job, the model's activations and the machine, within memory. It does not change scores
        beyond float rounding.
      mesh: devices over which the samples are sharded; None: the default device.
      output: the scalar that metrics use as the score of a class: "probability", "logit",
        "log_probability", "log_odds", "value" (the model's own output) or a function ``(outputs
        [K], y) -> value`` of the model's own outputs. Default: "probability", or "value" for a
        model with outputs="values". A metric's own `output` takes precedence.
      outputs: what the outputs of a function given as the model are (see `jaxeval.Model`, which
        has a field for it).
      precision: "highest": float32 matrix products; "fast": the device's own choice (TF32, say).
      progress: show a progress bar.

    Raises:
      ValueError, TypeError: for invalid arguments, before anything is compiled.
      EvaluationError: an explainer or a host model failed. Any exception during the run,
        `KeyboardInterrupt` included, carries the `Results` so far as its attribute `partial`.

    >>> import jax.numpy as jnp, jaxeval as je
    >>> model = je.Model(lambda w, x: x @ w, jnp.eye(4))
    >>> x = jnp.arange(8.0).reshape(2, 4)
    >>> results = je.evaluate(
    ...     model, x, explainers={"x": x}, metrics={"sparse": je.Sparseness()}, progress=False
    ... )
    >>> results.to_dataframe().columns.tolist()
    ['explainer', 'metric', 'sample', 'score', 'error', 'effective', 'asked', 'status']
    """
    if not metrics:
        raise ValueError("metrics is empty")
    if _several(model, x):
        joined = join_inputs(model, x)
        model, x, background = joined.model, joined.x, joined.background(background)
        explainers = joined.explainers(explainers)
    options = Options(
        key=key, batch_size=batch_size, mesh=mesh, output=output, outputs=outputs,
        precision=precision, background=background, reduce_channels=reduce_channels,
        tolerance=read(tolerance, per, confidence, budget),
    )  # fmt: skip
    metrics, explainers = metrics_by_name(metrics), explainers_by_name(explainers)
    given = {
        "mask": mask, "padding": padding, "inputs": inputs, "features": features, "index": index,
        "extras": extras,
    }  # fmt: skip
    return evaluate_job(read_job(model, x, y, explainers, metrics, options, **given), progress)


def attribute(
    explainer: Any,
    model: Any,
    x: Any,
    y: Any = None,
    *,
    padding: Any = None,
    inputs: Mapping[str, Any] | None = None,
    features: Any = None,
    index: Any = None,
    background: Any = None,
    key: Any = 0,
    batch_size: int | None = None,
    mesh: Any = None,
    outputs: str | None = None,
    precision: str = "highest",
) -> Any:
    """The attributions [N, ...] of one explainer, equal to those that `evaluate` would score.

    Arguments as in `evaluate`. Attributions of a layer have the layer's shape; those of several
    inputs are a tuple or dict, as x is.

    >>> import jax.numpy as jnp, jaxeval as je
    >>> model = je.Model(lambda w, x: x @ w, 2 * jnp.eye(3))
    >>> print(je.attribute(je.explain.Gradient(), model, jnp.ones((1, 3)), [1]))
    [[0. 2. 0.]]
    """
    joined = join_inputs(model, x) if _several(model, x) else None
    if joined is not None:
        model, x, background = joined.model, joined.x, joined.background(background)
    options = Options(
        key=key, batch_size=batch_size, mesh=mesh, outputs=outputs, precision=precision,
        background=background,
    )  # fmt: skip
    explainer = one_by_name(explainer, explainers_by_name)
    given = {"padding": padding, "inputs": inputs, "features": features, "index": index}
    job = read_job(model, x, y, {"explainer": explainer}, {}, options, **given)
    evaluator = evaluator_of(job)
    a = jnp.asarray(attributions(make_plan(job, evaluator), evaluator, "explainer"))
    return a if joined is None or a.shape[1:] != joined.x.shape[1:] else joined.split(a)


def _several(model: Any, x: Any) -> bool:
    """Whether x are several inputs that are explained together; those of a text are not."""
    return getattr(model, "tokens", None) is None and is_several(x)


def evaluate_job(job: Job, progress: bool = False) -> Results:
    """The results of a checked job; sweeps call it for each of their shards."""
    from .results import Results  # loaded when there are some: a tenth of the import

    began = time.perf_counter()
    evaluator, plan = evaluator_of(job), None
    bar = Bar() if progress else NoProgress()

    def results(record: Record, **more: Any) -> Results:
        y = np.full(job.n, -1, np.int32) if job.data.y is None else job.data.y.copy()
        y[: len(record.y)] = record.y
        return Results(
            record.outcomes,
            {m: metric.direction for m, metric in job.metrics.items()},
            {m: metric.family for m, metric in job.metrics.items()},
            job.data.index.astype(np.int64),
            y,
            record.asked,
            settings(job, record.plan or plan, time.perf_counter() - began) | more,
        )

    try:
        if limits := ranked(job.metrics, job.options.tolerance):
            check_race(job, limits)
            record, decided = race(job, evaluator, limits, bar)
            return results(record, decided=decided)
        plan = make_plan(job, evaluator)
        return results(run(plan, evaluator, bar))
    except (Exception, KeyboardInterrupt) as e:
        partial = getattr(e, "partial", None)
        if plan is None and any(evaluator.asked.values()):  # a host explainer's first answer
            partial = nothing_scored(evaluator)
        if isinstance(partial, Record):
            e.partial = results(partial)  # type: ignore[attr-defined]
        raise
    finally:
        bar.stop()


def settings(job: Job, plan: EvalPlan | None, seconds: float) -> dict[str, Any]:
    """How a run was made, for whoever reads its results later; plain values only.

    Args:
      plan: None where the run stopped before there was one.
    """
    options, attributors = job.options, job.attributors if plan is None else plan.attributors
    found = {
        "metrics": {m: describe(metric) for m, metric in job.metrics.items()},
        "explainers": {
            e: "stored attributions" if a.explainer is None else describe(as_given(a.explainer))
            for e, a in attributors.items()
        },
        "features": {e: list(a.features) for e, a in attributors.items() if a.features is not None},
        "model": {"outputs": job.model.outputs, "host": job.model.host},
        "output": describe(job.output),
        "reduce_channels": options.reduce_channels,
        "tolerance": describe(options.tolerance),
        "precision": options.precision,
        "key": np.asarray(jax.random.key_data(options.key)).tolist(),
        "batch_size": options.batch_size if plan is None else plan.batch_size,
        "samples": job.n,
        "input": [*job.one.shape],
        "devices": [f"{d.platform}: {d.device_kind}" for d in options.mesh.devices.flat],
        "seconds": round(seconds, 3),
        "versions": {"jaxeval": __version__, "jax": jax.__version__, "numpy": np.__version__},
    }
    if (tokens := job.model.tokens) is not None:
        found["metrics"] = named(found["metrics"], tokens)
        found["model"]["tokens"] = str(tokens)
        found["words"] = job.data.of_words
    if job.data.names is not None:
        found["feature_names"] = [*job.data.names]
    if job.model.classes is not None:
        found["classes"] = [*job.model.classes]
    if plan is not None:
        found |= {"points": plan.points(), "chunk_width": plan.output_width}
        found |= {"too_large": [*plan.too_large]} if plan.too_large else {}
    return found
