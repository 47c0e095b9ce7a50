"""Layers that only `Model.hidden` names, for explainers of layers."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from ..check import no_layer, warn
from ..cpu.rewrite import Rewritten, RewrittenOnCpus
from ..identity import shapes_of
from ..lifetime import remembered, weakly
from ..model import Model, in_columns
from ..trace import Graph
from ..trace.hidden_layers import Shown, hidden_layers, same_program

ROWS = 61
"""The number of rows for which the shape of a layer is found: unlikely to be the size of another
axis."""


def of_rows(model: Model, x: Any) -> tuple[Model, jax.ShapeDtypeStruct]:
    """The model and the shape of its input for `ROWS` rows like x [N, ...]."""

    def rows(v: Any) -> np.ndarray:
        return np.zeros((ROWS, *jnp.shape(v)[1:]), jnp.result_type(v))

    spec = jax.ShapeDtypeStruct((ROWS, *x.shape[1:]), x.dtype)
    return dataclasses.replace(model, inputs=jax.tree.map(rows, model.inputs)), spec


def own_function(fn: Any) -> Any:
    """The function behind its faster forms."""
    while isinstance(fn, (Rewritten, RewrittenOnCpus)):
        fn = fn.fn
    return fn


def own_hidden(model: Model) -> Any:
    """A `Model.hidden` that may name other layers than the traced model has; else None."""
    hidden = own_function(model.hidden)
    return None if model.host or getattr(hidden, "of_graph", False) else hidden


def shown(model: Model, x: Any, names: Sequence[str]) -> Model:
    """The model with these layers in its graphs, for inputs like x [N, ...].

    It is another one if its `hidden` names them and the traced model does not: then it is evaluated
    by `hidden`.

    Raises:
      ValueError: there is no such layer, or none that the outputs are computed from.
    """
    hidden = own_hidden(model) if names and model.tokens is None else None
    if hidden is None:
        return model
    traced, spec = of_rows(model, x)
    shapes = shapes_of((model.params, model.inputs, spec))
    known, of = remembered(model.apply), ("hidden", weakly(hidden), *shapes)
    if of not in known:
        known[of] = tuple(Graph(traced, spec).layers)
    layers = known[of]
    own = tuple(name for name in names if name not in layers)
    if not own:
        return model
    if (named := (*of, "named")) not in known:
        found = hidden_layers(hidden, *traced.given(spec))[1]
        known[named] = {name: v is not None for name, v in found.items()}
    more = known[named]
    for name in own:
        if name not in more:
            raise ValueError(no_layer(name, [*layers, *(n for n in more if n not in layers)]))
        if not more[name]:
            raise ValueError(
                f"Model(hidden=...) gives {name!r} as a value that its logits are not computed "
                "from: return the very value that the rest of the network takes, or name it in the "
                'model\'s code with jax.ad_checkpoint.checkpoint_name(value, "name")'
            )
    if len(own) < len(names):
        raise ValueError(
            f"{', '.join(map(repr, own))} is a name of Model(hidden=...) and others are not, of "
            f"{', '.join(map(repr, names))}: give names of one kind only"
        )
    same = (*of, "same")
    if same not in known and _same_logits(model, traced, spec, hidden):
        known[same] = True
    return dataclasses.replace(model, apply=Shown(hidden, own))


def _same_logits(model: Model, traced: Model, spec: Any, hidden: Any) -> bool:
    """Whether `hidden` gives the logits of the model, for which it stands; else a warning.

    Raises:
      ValueError: it gives others.
    """
    if same_program(own_function(model.apply), hidden, *traced.given(spec)):
        return True
    if any(isinstance(v, Tracer) for v in jax.tree.leaves((model.params, model.inputs))):
        warn(
            "Model(hidden=...) computes its logits by other operations than apply, and explainers "
            "of its layers follow hidden: make sure that both give the same logits"
        )
        return False
    x = np.random.default_rng(0).normal(size=spec.shape).astype(spec.dtype)
    given = traced.given(x)
    with jax.ensure_compile_time_eval():
        one, other = in_columns(model.apply(*given)), in_columns(hidden(*given)[0])
    # Far above the rounding of other operations; NaN of a model that has no number is NaN in both.
    near = max(1e-3, 4 * float(jnp.finfo(one.dtype).eps))
    one, other = np.asarray(one, np.float64), np.asarray(other, np.float64)
    apart = near * np.nanmax(np.abs(one), initial=0)
    if one.shape != other.shape or not np.allclose(one, other, near, apart, equal_nan=True):
        raise ValueError(
            "Model(hidden=...) gives other logits than apply: they must be the same, as explainers "
            "of its layers follow hidden in place of apply"
        )
    return True
