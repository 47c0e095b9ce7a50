"""The verbs: `score` one metric, `evaluate` many metrics of many explainers, `attribute`."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .describe import describe
from .engine import inputs
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
    key: Any = 0,
    batch_size: int | None = None,
    mesh: Any = None,
    output: Any = "probability",
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
        key=key,
        batch_size=batch_size,
        mesh=mesh,
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
    key: Any = 0,
    batch_size: int | None = None,
    mesh: Any = None,
    output: Any = "probability",
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
      key: seed or JAX key of all randomness.
      batch_size: most model evaluations in flight on each device; None: the fastest of a few,
        measured, within memory. It does not change scores beyond float rounding.
      mesh: devices to spread the samples over; None: the default device.
      output: what a "score of the class" is: "probability", "logit", "log_probability" or a
        function ``(logits [K], y) -> value``. A metric's own `output` wins.
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
        key=key,
        batch_size=batch_size,
        mesh=mesh,
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
    key: Any = 0,
    batch_size: int | None = None,
    mesh: Any = None,
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
        {}, model, x, y, {"explainer": explainer}, index=index, key=key, batch_size=batch_size,
        mesh=mesh, precision=precision,
    )  # fmt: skip
    return jnp.asarray(run.attributions("explainer"))


def _prepared(
    metrics: Mapping[str, Metric],
    model: Any,
    x: Any,
    y: Any,
    explainers: Any,
    *,
    stored: Mapping[str, Any] | None = None,
    mask: Any = None,
    padding: Any = None,
    index: Any = None,
    extras: Any = None,
    key: Any,
    batch_size: Any,
    mesh: Any,
    precision: str,
    progress: bool = False,
    rows: int | None = None,
) -> Run:
    """The run, with everything that the caller gave checked."""
    data = inputs.read_data(x, y, mask, index, extras, padding)
    batch_size, mesh = inputs.read_batch_size(batch_size), inputs.read_mesh(mesh)
    key, precision = inputs.read_key(key), inputs.read_precision(precision)
    model = inputs.read_model(model, data.x, data.y)
    sources = inputs.read_sources(explainers, model, data, stored)
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
        progress=Bar() if progress else NoProgress(),
        rows=rows,
    )


def _run(
    model: Any, x: Any, y: Any, explainers: Any, metrics: Any, output: Any, **options: Any
) -> Results:
    began = time.perf_counter()
    metrics = inputs.read_metrics(metrics, output, options.get("mask") is not None)
    run = _prepared(metrics, model, x, y, explainers, **options)

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
            settings(run, output, options, time.perf_counter() - began),
        )

    try:
        return results(run())
    except (Exception, KeyboardInterrupt) as e:
        if isinstance(partial := getattr(e, "partial", None), Record):
            e.partial = results(partial)  # type: ignore[attr-defined]
        raise
    finally:
        run.progress.stop()


def settings(run: Run, output: Any, options: Mapping[str, Any], seconds: float) -> dict[str, Any]:
    """How a run was made, for whoever reads its results later; plain values only."""
    devices = list(run.mesh.devices.flat)
    return {
        "metrics": {m: describe(metric) for m, metric in run.metrics_given.items()},
        "explainers": {
            e: "stored attributions" if s.explainer is None else describe(s.explainer)
            for e, s in run.sources.items()
        },
        "points": run.points(),
        "output": describe(output),
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
