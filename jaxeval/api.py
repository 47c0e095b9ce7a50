"""The verbs: `score` one metric, `evaluate` many metrics of many explainers, `attribute`."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from . import check
from .describe import describe
from .engine import baselines, inputs
from .engine.pixels import as_given, to_pixels
from .engine.run import Record, Run
from .metric import Metric
from .progress import Bar, NoProgress
from .results import Results
from .types import Outcome
from .version import __version__


def score(
    metric: Metric,
    model: Any,
    x: Any,
    y: Any = None,
    a: Any = None,
    *,
    mask: Any = None,
    padding: Any = None,
    explainer: Any = None,
    index: Any = None,
    extras: Mapping[str, Any] | None = None,
    background: Any = None,
    reduce_channels: str | None = None,
    key: Any = 0,
    batch_size: int | None = None,
    mesh: Any = None,
    output: Any = None,
    outputs: str | None = None,
    precision: str = "highest",
    progress: bool = False,
) -> Outcome:
    """One metric over a data set.

    Args:
      metric: an instance, such as ``PixelFlipping(n_steps=64)``.
      a: attributions [N, ...]; their shape says what a feature is. None: `explainer` makes them.
      explainer: for metrics that explain changed inputs or models.

    The other arguments are those of `evaluate`.

    Returns:
      `Outcome` with a leading sample axis: score [N], curve [N, S] where the metric has one.

    >>> import jax.numpy as jnp, jaxeval as je
    >>> model = je.Model(lambda w, x: x @ w, jnp.eye(4))
    >>> x = jnp.arange(8.0).reshape(2, 4)
    >>> je.score(je.Sparseness(), model, x, a=x).score.shape
    (2,)
    """
    if not isinstance(metric, Metric):
        raise TypeError(f"metric must be an instance of a jaxeval metric, got {metric!r}")
    if a is None and explainer is None:
        raise ValueError("give a=, the attributions, or explainer=, which makes them")
    name = "a" if explainer is None else "explainer"
    results = _run(
        model,
        x,
        y,
        {name: a if explainer is None else explainer},
        {type(metric).__name__: metric},
        output,
        stored=None if explainer is None or a is None else {name: a},
        mask=mask,
        padding=padding,
        index=index,
        extras=extras,
        background=background,
        reduce_channels=reduce_channels,
        key=key,
        batch_size=batch_size,
        mesh=mesh,
        outputs=outputs,
        precision=precision,
        progress=progress,
    )
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
    index: Any = None,
    extras: Mapping[str, Any] | None = None,
    background: Any = None,
    reduce_channels: str | None = None,
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
      model: a `Model`, or any function x [N, ...] -> logits [N, K]; what JAX cannot trace is
        called on the host.
      x: inputs [N, ...], floating-point and finite.
      y: classes to explain [N]; None: the predicted ones.
      explainers: {name: explainer}; an explainer is one of `jaxeval.explain`, a function
        ``(model, x, y, keys) -> a`` on a batch, or an array of attributions [N, ...].
      metrics: {name: metric}.
      mask: where the object is, bool [N, ...], for localisation metrics.
      padding: where samples of different lengths are filled up, bool [N, ...] in the shape of x,
        with or without its channel axis: [N, T] for token embeddings x [N, T, E] of a model with
        channel_axis=-1. Padding is no feature: a padded sample has the score of the sample cut to
        its own length, if the model ignores padding, too, which it reads off x. Perturbations
        leave x as it is there; explainers see x as it is. A curve has as many points as the sample
        has steps, then NaN. Metrics that cannot leave padding out refuse it.
      index: ids of the samples [N], from which their randomness comes (default: positions); with
        ids a sample's scores do not depend on where in the data set it stands.
      extras: {name: array [N, ...]} for metrics that read them.
      background: samples like those of x, [B, ...], such as training data, to which the baselines
        "background mean" and "background" of metrics and explainers refer: their mean, and draws
        of them (each a whole sample), as often as another random baseline is drawn.
      reduce_channels: "sum", "mean" or "max": brings all maps, given ones and those of explainers,
        to one feature a pixel, so that explainers with a map for every entry can be compared with
        those that have one for every pixel. None: maps stay as they are.
      key: seed or JAX key of all randomness.
      batch_size: most model evaluations in flight on each device; None: the fastest of a few,
        measured, within memory. It does not change scores beyond float rounding.
      mesh: devices to spread the samples over; None: the default device.
      output: what a "score of the class" is: "probability", "logit", "log_probability",
        "log_odds", "value" (the model's own number) or a function ``(outputs [K], y) -> value``
        of the model's own outputs. None: "probability", and "value" of a model of values. A
        metric's own `output` wins.
      outputs: what a function given as the model answers with, as in `jaxeval.Model`, which says
        it itself.
      precision: "highest": float32 matrix products; "fast": the device's own choice (TF32, say).
      progress: show a progress bar.

    Raises:
      ValueError, TypeError: for what does not fit, before anything is compiled.
      EvaluationError: where an explainer or a host model failed. Any exception that stops a run
        on its way, `KeyboardInterrupt` included, has the `Results` until then as `partial`.

    >>> import jax.numpy as jnp, jaxeval as je
    >>> model = je.Model(lambda w, x: x @ w, jnp.eye(4))
    >>> x = jnp.arange(8.0).reshape(2, 4)
    >>> results = je.evaluate(
    ...     model, x, explainers={"x": x}, metrics={"sparse": je.Sparseness()}, progress=False
    ... )
    >>> results.to_dataframe().columns.tolist()
    ['explainer', 'metric', 'sample', 'score']
    """
    return _run(
        model,
        x,
        y,
        explainers,
        metrics,
        output,
        mask=mask,
        padding=padding,
        index=index,
        extras=extras,
        background=background,
        reduce_channels=reduce_channels,
        key=key,
        batch_size=batch_size,
        mesh=mesh,
        outputs=outputs,
        precision=precision,
        progress=progress,
    )


def attribute(
    explainer: Any,
    model: Any,
    x: Any,
    y: Any = None,
    *,
    index: Any = None,
    background: Any = None,
    key: Any = 0,
    batch_size: int | None = None,
    mesh: Any = None,
    outputs: str | None = None,
    precision: str = "highest",
) -> jax.Array:
    """The attributions [N, ...] of one explainer, the same that `evaluate` would score.

    Arguments as in `evaluate`. Maps of a layer have the layer's shape.

    >>> import jax.numpy as jnp, jaxeval as je
    >>> model = je.Model(lambda w, x: x @ w, 2 * jnp.eye(3))
    >>> print(je.attribute(je.explain.Gradient(), model, jnp.ones((1, 3)), [1]))
    [[0. 2. 0.]]
    """
    run = _prepared(
        {}, model, x, y, {"explainer": explainer}, index=index, background=background, key=key,
        batch_size=batch_size, mesh=mesh, outputs=outputs, precision=precision,
    )  # fmt: skip
    return jnp.asarray(run.attributions("explainer"))


def _prepared(
    metrics: Any,
    model: Any,
    x: Any,
    y: Any,
    explainers: Any,
    *,
    output: Any = None,
    stored: Mapping[str, Any] | None = None,
    mask: Any = None,
    padding: Any = None,
    index: Any = None,
    extras: Any = None,
    background: Any = None,
    reduce_channels: str | None = None,
    key: Any,
    batch_size: Any,
    mesh: Any,
    outputs: str | None = None,
    precision: str,
    progress: bool = False,
    rows: int | None = None,
) -> Run:
    """The run, with everything that the caller gave checked."""
    check.one_array(model, "model")
    data = inputs.read_data(x, y, mask, index, extras, padding)
    metrics = inputs.read_metrics(metrics, mask is not None) if metrics else {}
    explainers = inputs.named("explainers", explainers)
    samples = baselines.read_background(background, data.x)
    metrics, explainers = baselines.with_background(metrics, explainers, samples)
    baselines.warn_of_units(metrics, explainers, data.x.shape)
    batch_size, mesh = inputs.read_batch_size(batch_size), inputs.read_mesh(mesh)
    key, precision = inputs.read_key(key), inputs.read_precision(precision)
    model = inputs.read_model(model, data.x, data.y, outputs)
    output = inputs.read_output(output, model.outputs)
    one = jax.ShapeDtypeStruct(data.x.shape[1:], data.x.dtype)
    metrics = inputs.bind_all(metrics, output, model, one)
    sources = inputs.read_sources(explainers, model, data, stored)
    if reduce_channels is not None:
        axis = model.sample_channel_axis(data.x.ndim - 1)
        sources = to_pixels(sources, reduce_channels, axis, data.x.shape[1:])
    inputs.check_pairs(metrics, sources, model, data)
    return Run(
        model,
        data,
        sources,
        metrics,
        key=key,
        batch_size=batch_size,
        mesh=mesh,
        precision=precision,
        output=output,
        progress=Bar() if progress else NoProgress(),
        rows=rows,
    )


def _run(
    model: Any, x: Any, y: Any, explainers: Any, metrics: Any, output: Any, **options: Any
) -> Results:
    began = time.perf_counter()
    if not metrics:
        raise ValueError("metrics is empty")
    run = _prepared(metrics, model, x, y, explainers, output=output, **options)
    metrics = run.metrics_given

    def results(record: Record) -> Results:
        y = np.full(run.n, -1, np.int32) if run.data.y is None else run.data.y.copy()
        y[: len(record.y)] = record.y
        return Results(
            record.outcomes,
            {m: metric.direction for m, metric in metrics.items()},
            {m: metric.family for m, metric in metrics.items()},
            run.data.index.astype(np.int64),
            y,
            record.asked,
            settings(run, options, time.perf_counter() - began),
        )

    try:
        return results(run())
    except (Exception, KeyboardInterrupt) as e:
        if isinstance(partial := getattr(e, "partial", None), Record):
            e.partial = results(partial)  # type: ignore[attr-defined]
        raise
    finally:
        run.progress.stop()


def settings(run: Run, options: Mapping[str, Any], seconds: float) -> dict[str, Any]:
    """How a run was made, for whoever reads its results later; plain values only."""
    devices = list(run.mesh.devices.flat)
    return {
        "metrics": {m: describe(metric) for m, metric in run.metrics_given.items()},
        "explainers": {
            e: "stored attributions" if s.explainer is None else describe(as_given(s.explainer))
            for e, s in run.sources.items()
        },
        "features": {e: list(s.features) for e, s in run.sources.items() if s.features is not None},
        "points": run.points(),
        "model": {"outputs": run.asker.given.outputs, "host": run.asker.given.host},
        "output": describe(run.output),
        "reduce_channels": options.get("reduce_channels"),
        "precision": options["precision"],
        "key": np.asarray(jax.random.key_data(run.key)).tolist(),
        "batch_size": run.batch_size,
        "chunk_width": run.width,
        "samples": run.n,
        "input": [*run.data.x.shape[1:]],
        "devices": [f"{d.platform}: {d.device_kind}" for d in devices],
        "seconds": round(seconds, 3),
        "versions": {"jaxeval": __version__, "jax": jax.__version__, "numpy": np.__version__},
    }
