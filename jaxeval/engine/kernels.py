"""The compiled programs of a run. Only `forward` and `explain` contain the model.

Each is a function over a block of samples or a chunk of (sample, step) slots. `spread` runs it
on a mesh: arrays with a leading sample or slot axis are sharded, the rest replicated, and every
index is local to its device, so nothing is gathered across devices.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec as P

from .. import ops
from ..cpu import program
from ..metric import Metric
from ..model import Model, in_columns, with_inputs
from ..ops import draw
from ..perturb import Perturbation, RandomPerturbation
from ..tokens import KEPT
from ..trace.embedding import with_kept
from ..types import Answer, Sample
from .sample_view import (
    ask,
    explainer_key,
    measure_one,
    params_key,
    reduce_one,
    sample_key,
    unsound,
    view,
    view_reference,
)
from .slots import slots

TRACES: Counter[str] = Counter()
"""How often each program was traced in this process: one trace, one compilation."""


def spread(
    n_replicated: int, donate: tuple[int, ...] = (), effort: str = "most"
) -> Callable[[Any], Any]:
    """Decorator: ``fn(static, *replicated, *sharded)`` as ``run(mesh, static, ...)``, compiled.

    `static` is any hashable; `donate` counts from `static`. `effort`: how well it is compiled for
    CPUs, see `private_jax.EFFORT`.
    """

    def wrap(fn: Any) -> Any:
        def run(mesh: Any, fixed: Any, *args: Any) -> Any:
            TRACES[fn.__name__] += 1
            n = n_replicated
            body = functools.partial(fn, fixed)
            if mesh.devices.size == 1:
                return body(*args)
            specs = (P(),) * n + (P("data"),) * (len(args) - n)
            return jax.shard_map(
                body, mesh=mesh, in_specs=specs, out_specs=P("data"), check_vma=False
            )(*args)

        run.__name__ = fn.__name__
        donated = tuple(i + 1 for i in donate)
        return program(effort=effort, static_argnums=(0, 1), donate_argnums=donated)(run)

    return wrap


LANES = 128
"""Numbers side by side in a vector register of a TPU, to which a shorter last axis is padded."""


def take(tree: Any, i: Any) -> Any:
    """Row i of every leaf.

    On accelerators a short last axis, such as the channels of an image, is joined with the one
    before it: to gather rows of [224, 224, 3] moves 8 times the bytes on a TPU.
    """

    def plain(v: Any, i: Any) -> Any:
        return v[i]

    def joined(v: Any, i: Any) -> Any:
        rows = v.reshape(*v.shape[:-2], v.shape[-2] * v.shape[-1])
        return rows[i].reshape(*jnp.shape(i), *v.shape[1:])

    def leaf(v: Any) -> Any:
        if v.ndim < 4 or v.shape[-1] >= LANES or jnp.issubdtype(v.dtype, jax.dtypes.prng_key):
            return v[i]
        return jax.lax.platform_dependent(v, i, cpu=plain, default=joined)

    return jax.tree.map(leaf, tree)


def precise(precision: str) -> Any:
    """The matmul precision in which the model and the explainers run."""
    if precision == "highest":
        return jax.default_matmul_precision("highest")
    return contextlib.nullcontext()


Layers = bool | tuple[str, ...]
"""Which hidden layers are wanted: all, none, or those with these names."""


def layers_of(metrics: Iterable[Metric]) -> Layers:
    """The hidden layers that any of the metrics looks at."""
    wanted = [m.hidden_layers() for m in metrics if "hidden" in m.asks]
    names = tuple(sorted({name for layers in wanted for name in layers or ()}))
    return bool(wanted) if None in wanted or not names else names


def forward_rows(fixed: tuple[Layers, str], model: Model, x: Any, inputs: Any = None) -> Answer:
    """The logits of a batch, with the hidden layers wanted: fixed = (hidden, precision)."""
    hidden, precision = fixed
    layers = None
    with precise(precision):
        if KEPT in (inputs or {}):
            model, x = with_kept(model, x, inputs)
            given = model.given(x)
        else:
            given = with_inputs(model, inputs).given(x)
        if hidden:
            assert model.hidden is not None
            out, layers = model.hidden(*given)
            if hidden is not True:
                layers = {name: layers[name] for name in hidden}
        else:
            out = model.apply(*given)
    logits = ops.as_logits(in_columns(out), model.outputs)
    return Answer(logits=logits, hidden=layers, outputs=model.outputs)


def explain_rows(
    precision: str, explainer: Any, model: Model, x: Any, y: Any, keys: Any, inputs: Any = None
) -> Any:
    """The attributions of a batch; keys are the samples' own."""
    with precise(precision):
        model = with_inputs(model, inputs)
        return explainer(model, x, y, explainer_keys(keys))


@spread(1)
def forward(fixed: Any, model: Model, x: Any, inputs: Any = None) -> Answer:
    return forward_rows(fixed, model, x, inputs)


@spread(0, effort="less")
def as_logits(kind: str, outputs: Any) -> Any:
    """The logits from a host model's outputs."""
    return ops.as_logits(outputs, kind)


@spread(2)
def explain(
    fixed: Any, explainer: Any, model: Model, x: Any, y: Any, keys: Any, inputs: Any = None
) -> Any:
    return explain_rows(fixed, explainer, model, x, y, keys, inputs)


@spread(0, effort="less")
def resize(size: int, tree: Any) -> Any:
    """The tree with its leading axis cut, or padded with its last row, to `size` per device."""

    def leaf(v: Any) -> Any:
        n = len(v)
        return v[:size] if size <= n else v[jnp.minimum(jnp.arange(size), n - 1)]

    return jax.tree.map(leaf, tree)


@spread(0, effort="less")
def prepare(fixed: tuple[str | None, bool], s: Sample, i: Any) -> Any:
    """Maps as a metric with these settings scores them: fixed = (normalise, absolute).

    `s` has nothing but the maps and, where there is padding, `valid` and `owner`, of whose rows
    the maps are those at `i` (None: all).

    A separate program, used for clean samples and for queries, so that equal maps are prepared to
    equal bits: fused into other computations, its rounding would differ.
    """
    return jax.vmap(lambda s: ops.prepare(s.a, *fixed, s.where))(at_rows(s, i))


def at_rows(s: Sample, i: Any) -> Sample:
    """The samples with the padding at rows `i` (None: all)."""
    if i is None:
        return s
    return dataclasses.replace(s, valid=take(s.valid, i), owner=take(s.owner, i))


@spread(0)
def rank(fixed: None, s: Sample, i: Any) -> Any:
    """The average ranks of prepared maps, in their shape; `s` and `i` as for `prepare`."""

    def one(s: Sample) -> Any:
        where = None if s.where is None else s.where.ravel()
        return ops.average_ranks(s.a, where).reshape(s.a.shape)

    return jax.vmap(one)(at_rows(s, i))


@spread(2, effort="less")
def plan(once: bool, pert: Perturbation, shared: Any, s: Sample, ref: Answer, own: Any) -> Any:
    """(plan, number of steps, which are the `same`) of each sample.

    The number is None if it is the same for all; the last is None if nothing is known to be equal,
    or without `once`. Draws: `shared` by all samples, or `own` per sample.
    """

    def one(s: Sample, ref: Answer, own: Any) -> Any:
        if isinstance(pert, RandomPerturbation) and pert.draws_per == "sample":
            s = dataclasses.replace(s, draw=shared if own is None else own)
        seen = view(s, pert)
        made = pert.plan(seen, view_reference(ref, pert))
        count = pert.count(seen, made)
        fixed = isinstance(count, (int, np.integer))
        same = pert.same(seen, made) if once else None
        if same is not None and jnp.shape(same) != (pert.n_steps(seen),):
            raise ValueError(
                f"{type(pert).__name__}.same must give a label for each of the "
                f"{pert.n_steps(seen)} steps, got the shape {jnp.shape(same)}"
            )
        return made, None if fixed else jnp.asarray(count, jnp.int32), same

    return jax.vmap(one)(s, ref, own)


@spread(2)
def probe(
    width: int,
    pert: Perturbation,
    shared: Any,
    s: Sample,
    plans: Any,
    counts: tuple[Any, Any],
    order: Any,
    own: Any,
    place: Any,
) -> Any:
    """The queries of one chunk, with the keys, rows, steps and validity of its slots.

    The first steps of each sample are asked, of `order` [rows, S] if that is not None; `counts` are
    their numbers, see `slots`.
    `place` [1, 2] holds the index of its first slot and an offset added to every step (parameter
    steps are asked one at a time). Returns the place of the next chunk, too: sending a number from
    the host costs more than the rest of a chunk's dispatch.
    """
    start, first = place[0]
    i, step, real = slots(*counts, start, width)
    step = step + first if order is None else order[i, step]

    def one(i: Any, step: Any) -> Any:
        row = take(s, i)
        if isinstance(pert, RandomPerturbation) and pert.draws_per == "step":
            draw = None if shared is None else shared[step]
            row = dataclasses.replace(row, draw=draw if own is None else own[i, step])
        return ask(pert, view(row, pert), take(plans, i), step)

    return jax.vmap(one)(i, step), s.key[i], i, step, real, place.at[0, 0].add(width)


@spread(1, donate=(12,))
def measure(
    fixed: tuple[int, ...],
    metrics: tuple[Metric, ...],
    s: Sample,
    maps: tuple[Any, ...],
    ranks: tuple[Any, ...],
    ref: Answer,
    query: Any,
    answer: Answer,
    answered: tuple[Answer, ...],
    i: Any,
    step: Any,
    real: Any,
    buffers: tuple[Any, ...],
) -> tuple[Any, ...]:
    """Each metric's measurements of one chunk, written into its buffer [n, S, ...].

    `maps` are the distinct prepared attributions, with their `ranks` or None, and `answered` those
    of the queries, prepared the same way; `fixed` says which one each metric scores. With each
    buffer comes what was `unsound` [n, 2] in the answers that the metric asks for.
    """
    s, ref = take(s, i), take(ref, i)
    prepared, ranked = take((maps, ranks), i)
    out = []
    for metric, which, (buffer, flags) in zip(metrics, fixed, buffers, strict=True):
        own = ranked[which] if metric.of_ranks else None
        rows, reply = dataclasses.replace(s, a=prepared[which], ranks=own), answered[which]
        reply = dataclasses.replace(answer, attribution=reply.attribution, ranks=reply.ranks)
        got = jax.vmap(functools.partial(measure_one, metric))(rows, ref, query, reply)
        at = jnp.where(real, i, len(buffer))  # indices out of range are dropped
        bad = jax.vmap(functools.partial(unsound, metric.asks))(reply)
        out.append(
            (
                buffer.at[at, step].set(got.astype(buffer.dtype), mode="drop"),
                flags.at[at].max(bad, mode="drop"),
            )
        )
    return tuple(out)


@spread(1, effort="less")
def reduce(
    fixed: tuple[int, ...],
    metrics: tuple[Metric, ...],
    s: Sample,
    maps: tuple[Any, ...],
    ref: Answer,
    measured: tuple[Any, ...],
    valid: tuple[Any, ...],
    source: tuple[Any, ...],
) -> tuple[Any, ...]:
    """The outcomes [n] of several metrics for one explainer, in one program.

    `source` [n, S] are the steps whose measurements are used, None: all. Each outcome comes with
    what was `unsound` [n, 2] in the clean map and answer.
    """
    found = []
    for metric, which, got, ok, use in zip(metrics, fixed, measured, valid, source, strict=True):
        scored = dataclasses.replace(s, a=maps[which])
        got = tuple(
            v if at is None else jax.vmap(take)(v, at) for v, at in zip(got, use, strict=True)
        )
        outcome = jax.vmap(functools.partial(reduce_one, metric))(scored, ref, got, ok)
        clean = dataclasses.replace(ref, attribution=maps[which])
        asks = metric.asks | {"attribution"}
        found.append((outcome, jax.vmap(functools.partial(unsound, asks))(clean)))
    return tuple(found)


@spread(1, effort="less")
def weights(
    fixed: None,
    metrics: tuple[Metric],
    s: Sample,
    maps: tuple[Any, ...],
    ref: Answer,
    valid: tuple[Any, ...],
) -> tuple[Any, tuple[Any, ...]]:
    """A score that is linear in the measurements: (that of zeros [n], each one's weight [n, S])."""
    (metric,), (a,) = metrics, maps

    def one(s: Sample, ref: Answer, valid: tuple[Any, ...]) -> Any:
        def score(measured: tuple[Any, ...]) -> Any:
            return reduce_one(metric, s, ref, measured, valid).score.astype(jnp.float32)

        return jax.value_and_grad(score)(tuple(jnp.zeros(v.shape) for v in valid))

    return jax.vmap(one)(dataclasses.replace(s, a=a), ref, valid)


@spread(0, effort="less")
def predicted(fixed: None, logits: Any) -> Any:
    return logits.argmax(-1).astype(jnp.int32)


def keys_of(key: Any, index: np.ndarray) -> Any:
    """`sample_key` of each index [n]; on the host, where a program for it would take .2 s to
    compile.
    """
    if str(jax.random.key_impl(key)) != draw.THREEFRY:
        return jax.vmap(sample_key, (None, 0))(key, index)
    zero = np.zeros(1, np.uint32)
    run = np.asarray(jax.random.key_data(key))
    run = np.concatenate(draw.threefry(run, zero, zero))
    words = draw.threefry(run, np.zeros_like(index), index)
    return jax.random.wrap_key_data(jnp.asarray(np.stack(words, -1)), impl=draw.THREEFRY)


@jax.jit
def explainer_keys(keys: Any) -> Any:
    """The explainer's keys [n], derived from the samples' keys [n]."""
    return jax.vmap(explainer_key)(keys)


@program(effort="less")
def new_model(pert: Perturbation, model: Model, key: Any, step: Any) -> Model:
    """The model of one step."""
    return pert.model(model, params_key(key), step)
